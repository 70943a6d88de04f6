"""`migrate-pickles` struck in the middle: whole files or none of each, and a rerun completes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import URL

from sgdb.database.engine import make_engine
from sgdb.operations.verify import VerifyOptions, verify
from tests.preloaded import Command, start
from tests.steps import ask, migrate
from tests.survival.child_server import ChildServer, environment_for, settings_for
from tests.survival.conftest import DAMAGED
from tests.survival.contents import Contents, contents
from tests.survival.killing import FEW, Round, Survivor, many, survivors


@pytest.fixture(scope="session")
def stages(_child_server: ChildServer, folder: Path) -> list[Contents]:
    """What the database holds after no file, the first, the first two, and so on."""
    with _child_server.database() as url:
        engine = make_engine(url)
        found = [contents(engine)]
        for path in sorted(folder.iterdir()):
            migrate(settings_for(url), path)
            found.append(contents(engine))
        engine.dispose()
    return found


def _survive(server: ChildServer, folder: Path, stages: list[Contents], rounds: list[Round]) -> None:
    def begin(url: URL) -> Command:
        return start(folder, ["migrate-pickles", "."], environment_for(url))

    for survivor in survivors(server, rounds, begin):
        _require_whole_files(survivor, stages)
        _require_completion(survivor, folder, stages[-1])


def _require_whole_files(survivor: Survivor, stages: list[Contents]) -> None:
    """As many files as the command spoke of, or more, and each of them whole."""
    found = contents(survivor.engine)
    assert found in stages
    files = max(number for number, stage in enumerate(stages) if stage == found)
    said = re.search(r"(\d+) of \d+ files were done before", survivor.ended.stderr)
    assert said is None or files >= int(said[1])
    left = verify(VerifyOptions(), settings_for(survivor.url))
    assert left.equal, left


def _require_completion(survivor: Survivor, folder: Path, complete: Contents) -> None:
    """A rerun brings the rest, as if nothing had happened."""
    again = migrate(settings_for(survivor.url), folder)
    assert [report.path.name for report in again.files if report.status == "rejected"] == [DAMAGED]
    assert contents(survivor.engine) == complete
    verdicts = verify(VerifyOptions((folder,)), settings_for(survivor.url)).files
    assert {Path(verdict.path).name: verdict.status for verdict in verdicts if verdict.status != "equal"} == {
        DAMAGED: "unreadable"
    }
    if again.run_id is not None:
        assert ask(survivor.engine, "SELECT status FROM runs ORDER BY id DESC LIMIT 1") == [("done",)]


def test_a_few_blows(child_server: ChildServer, folder: Path, stages: list[Contents]) -> None:
    """The database holds whole files or none of each, sums add up, a rerun completes, `verify` is equal."""
    _survive(child_server, folder, stages, FEW)


@pytest.mark.survival
@many(300, others=60)
def test_at_every_moment(
    child_server: ChildServer, folder: Path, stages: list[Contents], rounds: list[Round]
) -> None:
    """The same hundreds of times."""
    _survive(child_server, folder, stages, rounds)
