"""Many processes migrate the same folder at once: every row goes in once, and nobody fails."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.operations.verify import VerifyOptions, verify
from sgdb.settings import Settings
from tests.cli.conftest import clean_environment
from tests.legacy import write_legacy
from tests.preloaded import start
from tests.steps import ask, count


def _folder(folder: Path) -> Path:
    """Files of one set, larger and smaller ones, with bots in common; other sets with these bots and that
    config; one content under two names; results for games that are not listed; and a file to be refused."""
    folder.mkdir()
    write_legacy(folder / "1.pkl", num_games=60, bots=("A", "B"))
    write_legacy(folder / "2.pkl", num_games=90, bots=("B", "C"))
    write_legacy(folder / "3.pkl", num_games=30, bots=("C", "A", "D"))
    write_legacy(folder / "4.pkl", base_seed=4, num_games=40, bots=("D", "C", "B", "A"))
    write_legacy(
        folder / "5.pkl", base_seed=5, config=(3, 3, 3), num_games=5, num_results=45, bots=("A", "E")
    )
    (folder / "6.pkl").write_bytes((folder / "5.pkl").read_bytes())
    write_legacy(folder / "7.pkl", base_seed=6, config=(3, 3, 3), num_games=20, bots=("E", "B"))
    write_legacy(folder / "8.pkl", spoil_bytes=lambda raw: raw[:-9])
    return folder


ROWS = {"games": 90 + 40 + 45 + 20, "game_results": 60 + 90 + 90 + 30 + 4 * 40 + 2 * 45 + 2 * 20,
        "benchmark_sets": 4, "bots": 5, "game_configs": 2, "archives": 6}  # fmt: skip


def _together(number: int, folder: Path, database_url: str) -> list[dict[str, Any]]:
    """What each of so many processes reports, none of which may fail or say more than it should. Every second
    one takes the files from behind."""
    backwards = sorted(map(str, folder.iterdir()), reverse=True)
    environment = clean_environment(SGDB_DATABASE_URL=database_url)
    commands = [
        start(folder.parent, ["migrate-pickles", "--format", "json", *paths], environment)
        for paths in [[str(folder)], backwards] * (number // 2)
    ]
    documents = []
    for command in commands:
        code, out, err = (ended := command.end(300)).returncode, ended.stdout, ended.stderr
        assert code == 1, err  # one file is refused
        for line in err.splitlines():
            known = ("waiting for another command", "error: rejected 8.pkl", "trying again (")
            assert line.startswith(known), err
        documents.append(json.loads(out))
    return documents


def _inserted(document: dict[str, Any], kind: str) -> int:
    return int(document["totals"][kind]["inserted"]) + int(document["totals"][kind].get("regenerated", 0))


@pytest.mark.parametrize(
    "number", [8, pytest.param(32, marks=pytest.mark.survival)], ids=lambda number: f"{number} processes"
)
def test_each_row_goes_in_once_whoever_brings_it(
    settings: Settings, engine: Engine, database_url: str, tmp_path: Path, number: int
) -> None:
    """No row is lost or doubled, nobody meets a deadlock, and the sums of all reports are what is there."""
    folder = _folder(tmp_path / "pickles")
    documents = _together(number, folder, database_url)
    assert {table: count(engine, table) for table in ROWS} == ROWS
    assert sum(_inserted(document, "games") for document in documents) == ROWS["games"]
    assert sum(_inserted(document, "results") for document in documents) == ROWS["game_results"]
    assert ask(engine, "SELECT num_games FROM benchmark_sets ORDER BY base_seed") == [
        (40,),
        (5,),
        (20,),
        (90,),
    ]
    for document in documents:
        statuses = Counter(file["status"] for file in document["files"])
        assert (statuses["rejected"], len(document["files"])) == (1, 8)
    runs = {document["run_id"] for document in documents} - {None}
    assert {row[0] for row in ask(engine, "SELECT id FROM runs WHERE status = 'done'")} == runs
    assert count(engine, "runs") == len(runs)
    for result in (verify(VerifyOptions((folder,)), settings), verify(VerifyOptions(), settings)):
        assert [verdict.status for verdict in result.files if verdict.status != "equal"] in (
            [],
            ["unreadable"],
        )
        assert all(check.ok for check in result.checks)
