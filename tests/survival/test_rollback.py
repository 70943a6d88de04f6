"""`rollback` struck in the middle: the whole run is there or none of it, and no file is lost with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import URL

from sgdb.database.engine import make_engine
from sgdb.errors import UsageError
from sgdb.operations.rollback import RollbackOptions, rollback
from sgdb.operations.verify import VerifyOptions, verify
from tests.preloaded import Command, start
from tests.steps import ask, migrate
from tests.survival.child_server import ChildServer, environment_for, settings_for
from tests.survival.contents import Contents, contents
from tests.survival.killing import Round, Survivor, many, survivors

_DATABASE = "survival_two_runs"
_FIRST, _SECOND = ("1.pkl", "2.pkl"), ("3.pkl", "4.pkl", "6.pkl")


class _Runs(NamedTuple):
    """Two runs in a database to copy, the second of which is taken back. `files` are those of the second,
    gone from disk: their last copies are in the database."""

    second: int
    files: dict[str, bytes]
    before: Contents
    after: Contents


@pytest.fixture(scope="session")
def runs(_child_server: ChildServer, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> _Runs:
    """See `_Runs`."""
    moved = tmp_path_factory.mktemp("moved")
    with _child_server.template(_DATABASE) as url:
        for names in (_FIRST, _SECOND):
            for name in names:
                shutil.copy(folder / name, moved)
            second = migrate(settings_for(url), *(moved / name for name in names)).run_id
    assert second is not None
    files = {name: (moved / name).read_bytes() for name in _SECOND}
    for name in _SECOND:
        (moved / name).unlink()
    before = _contents(_child_server.url(_DATABASE))
    with _child_server.database(_DATABASE) as url:
        rollback(RollbackOptions(second, discard_originals=True), settings_for(url))
        after = _contents(url)
    return _Runs(second, files, before, after)


def _contents(url: URL) -> Contents:
    engine = make_engine(url)
    try:
        return contents(engine)
    finally:
        engine.dispose()


def _survive(server: ChildServer, runs: _Runs, rounds: list[Round], folder: Path) -> None:
    originals = folder / "originals"

    def begin(url: URL) -> Command:
        shutil.rmtree(originals, ignore_errors=True)
        command = ["rollback", str(runs.second), "--yes", "--originals", str(originals)]
        return start(folder, command, environment_for(url))

    for survivor in survivors(server, rounds, begin, template=_DATABASE):
        _require_all_or_nothing(survivor, runs, originals)
        options = RollbackOptions(runs.second, originals=originals)
        if contents(survivor.engine) == runs.before:
            rollback(options, settings_for(survivor.url))
        else:
            with pytest.raises(UsageError, match="taken back"):
                rollback(options, settings_for(survivor.url))
        assert contents(survivor.engine) == runs.after
        assert _files(originals) == runs.files
        _require_return(survivor, runs, originals)


def _require_all_or_nothing(survivor: Survivor, runs: _Runs, originals: Path) -> None:
    """Before the rows go, every file is where it was asked to be; what bears a file's name is whole."""
    found = contents(survivor.engine)
    assert _files(originals).items() <= runs.files.items()
    if found != runs.before:
        assert found == runs.after
        assert _files(originals) == runs.files
    taken_back = ask(survivor.engine, "SELECT status FROM runs WHERE kind = 'rollback'")
    assert taken_back == ([] if found == runs.before else [("done",)])
    assert verify(VerifyOptions(), settings_for(survivor.url)).equal


def _require_return(survivor: Survivor, runs: _Runs, originals: Path) -> None:
    """The originals bring back what was taken."""
    settings = settings_for(survivor.url)
    assert migrate(settings, originals).totals["files"]["rejected"] == 0
    again = contents(survivor.engine)
    assert {table: again[table][0] for table in ("games", "game_results")} == {
        table: runs.before[table][0] for table in ("games", "game_results")
    }
    assert verify(VerifyOptions((originals,)), settings).equal


def _files(folder: Path) -> dict[str, bytes]:
    """The files that have got their names."""
    paths = folder.iterdir() if folder.exists() else ()
    return {path.name: path.read_bytes() for path in paths if path.suffix == ".pkl"}


@pytest.mark.survival
@many(100, others=20)
def test_at_every_moment(child_server: ChildServer, runs: _Runs, tmp_path: Path, rounds: list[Round]) -> None:
    """The run is there as it was, or gone with every original written; the next `rollback` completes."""
    _survive(child_server, runs, rounds, tmp_path)
