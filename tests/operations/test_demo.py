"""The demo's folder and its clean-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgdb.errors import AlreadyExistsError
from sgdb.operations.demo import DemoOptions, demo, write_demo_pickles
from sgdb.pickles.files import FileSource
from sgdb.pickles.legacy import LegacyFile
from sgdb.pickles.selection import select_files


def test_the_pickles_are_of_several_layouts_with_known_warts(tmp_path: Path) -> None:
    """Layouts A, B and C; a set enlarged later, results without boards, a key that is not the rows' name."""
    folder = tmp_path / "pickles"
    folder.mkdir()
    write_demo_pickles(folder)
    selection = select_files([folder], recursive=False, only=None)
    files = [LegacyFile.read(FileSource(path)) for path in selection.files]
    assert sorted(file.contents.layout for file in files) == ["A", "B", "C", "C"]
    assert any(len(file.missing) for file in files)
    for file in files:
        assert sum(len(part.rows) for part in file.rows())
    assert any("MyFirstBot" in note for file in files for note in file.notes)
    assert [path.name for path, _ in selection.skipped] == ["notes.txt"]


def test_a_temporary_demo_leaves_nothing() -> None:
    """The folder is gone afterwards, also when a command failed."""
    with pytest.raises(ZeroDivisionError), demo(DemoOptions()) as prepared:
        assert (prepared.folder / "pickles").is_dir()
        assert prepared.environment["SGDB_HOME"].startswith(str(prepared.folder))
        raise ZeroDivisionError
    assert not prepared.folder.exists()


def test_somebody_elses_folder_is_not_taken(tmp_path: Path) -> None:
    """A folder with something in it could hold the user's own pickles."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "benchmark.pkl").write_bytes(b"precious")
    with pytest.raises(AlreadyExistsError), demo(DemoOptions(keep=tmp_path / "mine")):
        raise AssertionError
    assert (tmp_path / "mine" / "benchmark.pkl").read_bytes() == b"precious"
