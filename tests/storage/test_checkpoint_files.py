"""Bytes of checkpoints on their way into files, and the files themselves."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdb.errors import NotFoundError, UsageError, ValueRefusedError
from sgdb.storage.checkpoint_files import CheckpointFiles
from sgdb.storage.contents import Contents


@pytest.fixture
def files(tmp_path: Path) -> CheckpointFiles:
    """A folder that does not exist yet."""
    return CheckpointFiles(tmp_path / "checkpoints" / "database")


@given(st.binary(max_size=300))
def test_bytes_and_files_are_known_by_the_same_hash(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """However the bytes are handed in, they are the same contents, down to none at all."""
    path = tmp_path_factory.mktemp("given") / "weights"
    path.write_bytes(data)
    for value in (data, bytearray(data), memoryview(data), path, str(path)):
        found = Contents.given(value, "weights")
        assert (found.sha256, found.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert found.read() == data


def test_what_is_neither_bytes_nor_a_file(tmp_path: Path) -> None:
    """Each is named, with what to give instead."""
    os.mkfifo(tmp_path / "pipe")
    for value, error in (
        (object(), UsageError),
        ("", ValueRefusedError),
        (tmp_path / "absent", NotFoundError),
        (tmp_path, ValueRefusedError),
        (tmp_path / "pipe", ValueRefusedError),
        ("a\0b", ValueRefusedError),
    ):
        with pytest.raises(error, match=r"weights|no path"):
            Contents.given(value, "weights")


def test_a_file_that_changes_in_between_is_refused(tmp_path: Path) -> None:
    """What is stored is what was hashed, or nothing."""
    path = tmp_path / "weights"
    for other in (b"other bytes", b"some", b""):
        path.write_bytes(b"some bytes!")
        found = Contents.given(path, "weights")
        path.write_bytes(other)
        with pytest.raises(ValueRefusedError, match="has changed"):
            found.read()


def test_the_same_bytes_are_one_file(files: CheckpointFiles) -> None:
    """Under their hash, which nobody can write to by mistake."""
    path = files.keep(Contents.given(b"weights", "w"))
    assert files.keep(Contents.given(b"weights", "w")) == path
    assert path.read_bytes() == b"weights"
    assert path.relative_to(files.folder).parts == (path.name[:2], hashlib.sha256(b"weights").hexdigest())
    assert path.stat().st_mode & 0o222 == 0
    assert list(files.hashes()) == [path.name]


def test_damage_is_put_right_by_whoever_has_the_bytes(files: CheckpointFiles) -> None:
    """A file that was damaged, shortened or emptied is written anew by the next save of the same bytes."""
    contents = Contents.given(b"weights", "w")
    path = files.keep(contents)
    for damage in (b"weightz", b"w", b""):
        path.chmod(0o644)
        path.write_bytes(damage)
        assert not files.is_sound(path, contents.sha256, 7)
        assert files.keep(contents) == path
        assert path.read_bytes() == b"weights"


def test_only_files_of_our_own_are_listed(files: CheckpointFiles) -> None:
    """Whatever else lies in the folder is nobody's business."""
    path = files.keep(Contents.given(b"weights", "w"))
    (files.folder / "notes.txt").write_text("x")
    (path.parent / "notes.txt").write_text("x")
    (files.folder / "zz").mkdir()
    (files.folder / "zz" / path.name).write_text("in the wrong folder")
    assert list(files.hashes()) == [path.name]
    files.remove(path.name)
    files.remove(path.name)
    assert list(files.hashes()) == []
    assert (path.parent / "notes.txt").exists()


def test_a_file_is_found_where_the_row_remembers_it(files: CheckpointFiles, tmp_path: Path) -> None:
    """After the folder has moved, or in a copy of the database; one of another size is none."""
    path = files.keep(Contents.given(b"weights", "w"))
    elsewhere = CheckpointFiles(tmp_path / "elsewhere")
    assert elsewhere.find(path.name, 7, str(path)) == path
    assert elsewhere.find(path.name, 8, str(path)) is None
    assert elsewhere.find(path.name, 7, None) is None
    assert elsewhere.find(path.name, 7, "a\0b") is None
