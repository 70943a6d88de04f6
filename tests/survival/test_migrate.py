"""`migrate-pickles` struck in the middle: whole files or none of each, and a rerun completes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import URL

from sgdb.database.engine import make_engine
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.settings import Settings, load_settings
from tests.cli.conftest import clean_environment
from tests.legacy import write_legacy
from tests.preloaded import Command, start
from tests.steps import ask, migrate
from tests.survival.child_server import ChildServer
from tests.survival.contents import Contents, contents
from tests.survival.killing import FEW, Blow, Round, Survivor, chunks, survivors

DAMAGED = "5.pkl"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of two sets: boards to be drawn from seeds, two bots, another bot for the same set, more games
    for it, a file that is refused, and one content under two names."""
    path = tmp_path_factory.mktemp("pickles")
    write_legacy(path / "1.pkl", num_games=200, num_results=500, base_seed=7)
    write_legacy(path / "2.pkl", layout="A", config=(6, 6, 4), num_games=600, bots=("One", "Two"))
    write_legacy(path / "3.pkl", layout="B", config=(6, 6, 4), num_games=300, bots=("Three",))
    write_legacy(path / "4.pkl", config=(6, 6, 4), num_games=900, bots=("One", "Four"))
    write_legacy(path / DAMAGED, num_games=300, spoil_bytes=lambda raw: raw[:-9])
    for name in ("6.pkl", "7.pkl"):
        write_legacy(path / name, layout="D", config=(3, 3, 3), num_games=300)
    return path


@pytest.fixture(scope="session")
def stages(_child_server: ChildServer, folder: Path) -> list[Contents]:
    """What the database holds after no file, the first, the first two, and so on."""
    with _child_server.database() as url:
        engine = make_engine(url)
        found = [contents(engine)]
        for path in sorted(folder.iterdir()):
            migrate(_settings(url), path)
            found.append(contents(engine))
        engine.dispose()
    return found


def _settings(url: URL) -> Settings:
    return load_settings({"database_url": url.render_as_string(hide_password=False), "lock_timeout": 5})


def _survive(server: ChildServer, folder: Path, stages: list[Contents], rounds: list[Round]) -> None:
    def begin(url: URL) -> Command:
        environment = clean_environment(SGDB_DATABASE_URL=url.render_as_string(hide_password=False))
        return start(folder, ["migrate-pickles", "."], environment)

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
    left = verify(VerifyOptions(), _settings(survivor.url))
    assert left.equal, left


def _require_completion(survivor: Survivor, folder: Path, complete: Contents) -> None:
    """A rerun brings the rest, as if nothing had happened."""
    again = migrate(_settings(survivor.url), folder)
    assert [report.path.name for report in again.files if report.status == "rejected"] == [DAMAGED]
    assert contents(survivor.engine) == complete
    verdicts = verify(VerifyOptions((folder,)), _settings(survivor.url)).files
    assert {Path(verdict.path).name: verdict.status for verdict in verdicts if verdict.status != "equal"} == {
        DAMAGED: "unreadable"
    }
    if again.run_id is not None:
        assert ask(survivor.engine, "SELECT status FROM runs ORDER BY id DESC LIMIT 1") == [("done",)]


def test_a_few_blows(child_server: ChildServer, folder: Path, stages: list[Contents]) -> None:
    """The database holds whole files or none of each, sums add up, a rerun completes, `verify` is equal."""
    _survive(child_server, folder, stages, FEW)


@pytest.mark.survival
@pytest.mark.parametrize(
    "rounds",
    [chunk for blow in Blow for chunk in chunks(blow, 300 if blow is Blow.COMMAND else 100)],
    ids=lambda rounds: rounds[0].blow.name.lower(),
)
def test_at_every_moment(
    child_server: ChildServer, folder: Path, stages: list[Contents], rounds: list[Round]
) -> None:
    """The same hundreds of times."""
    _survive(child_server, folder, stages, rounds)
