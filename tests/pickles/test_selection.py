"""Which of the named files are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sgdb.errors import NotAPickleError, NotFoundError
from sgdb.pickles.selection import select_files
from tests.legacy import write_legacy


def test_a_folder_is_sorted_by_content_not_by_name(tmp_path: Path) -> None:
    """Pickles are taken whatever they are called; the rest is skipped with the reason."""
    write_legacy(tmp_path / "no_extension", num_games=2)
    (tmp_path / "notes.pkl").write_text("not really")
    (tmp_path / "empty.pkl").write_bytes(b"")
    selection = select_files([tmp_path], recursive=False, only=None)
    assert [path.name for path in selection.files] == ["no_extension"]
    assert {path.name: reason for path, reason in selection.skipped} == {
        "empty.pkl": "empty file",
        "notes.pkl": "text, not a pickle",
    }
    assert not selection.refused
    assert not selection.single


def test_a_file_that_was_named_itself_is_refused_not_skipped(tmp_path: Path) -> None:
    """Somebody asked for it, so silence would be wrong."""
    path = tmp_path / "notes.txt"
    path.write_text("not a pickle")
    selection = select_files([path], recursive=False, only=None)
    assert selection.single
    assert isinstance(selection.refused[0][1], NotAPickleError)


def test_recursion_globs_and_repeats(tmp_path: Path) -> None:
    """Folders below are only entered when asked for; a file reached twice is taken once."""
    (tmp_path / "below").mkdir()
    write_legacy(tmp_path / "a.pkl", num_games=2)
    write_legacy(tmp_path / "below" / "b.pkl", num_games=2)
    flat = select_files([tmp_path], recursive=False, only=None)
    assert [path.name for path in flat.files] == ["a.pkl"]
    deep = select_files([tmp_path, tmp_path / "a.pkl"], recursive=True, only=None)
    assert [path.name for path in deep.files] == ["a.pkl", "b.pkl"]
    some = select_files([tmp_path], recursive=True, only="b*")
    assert [path.name for path in some.files] == ["b.pkl"]


def test_a_pipe_is_never_opened_for_reading(tmp_path: Path) -> None:
    """A FIFO without a writer would block for ever; it is skipped."""
    os.mkfifo(tmp_path / "pipe")
    selection = select_files([tmp_path], recursive=False, only=None)
    assert selection.skipped == [(tmp_path / "pipe", "not a regular file")]


def test_a_missing_path_is_a_usage_error(tmp_path: Path) -> None:
    """A typo is not an empty folder."""
    with pytest.raises(NotFoundError, match="nowhere"):
        select_files([tmp_path / "nowhere"], recursive=False, only=None)


def test_a_broken_link_does_not_stop_the_others(tmp_path: Path) -> None:
    """It is refused by name, and the folder's other files are taken."""
    file = write_legacy(tmp_path / "a.pkl")
    (tmp_path / "b.pkl").symlink_to(tmp_path / "gone")
    found = select_files([tmp_path], recursive=False, only=None)
    assert found.files == [file]
    assert [path.name for path, _ in found.refused] == ["b.pkl"]
