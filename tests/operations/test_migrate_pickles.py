"""Pickles into the database: each file whole or not at all, and the sums add up."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from sgdb.database.archives import write_archive
from sgdb.errors import BusyError, ConfigError, DatabaseUnreachableError, NotFoundError, SchemaError
from sgdb.game.boards import draw_board
from sgdb.operations.migrate_pickles import MigratePicklesOptions, migrate_pickles
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.pickles import legacy
from sgdb.records import GameConfig
from sgdb.settings import Settings, load_settings
from tests.legacy import benchmark, write_legacy
from tests.steps import Listener, ask, count, database_state, migrate, tamper

DATA_TABLES = (
    "game_configs",
    "benchmark_sets",
    "games",
    "bots",
    "game_results",
    "archives",
    "archive_chunks",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for pickles."""
    path = tmp_path / "pickles"
    path.mkdir()
    return path


def _impatient(settings: Settings) -> Settings:
    return settings.model_copy(update={"lock_timeout": 0.3})


# -- what goes in ---------------------------------------------------------------------------------


def test_a_file_goes_in_and_every_row_names_it(settings: Settings, engine: Engine, folder: Path) -> None:
    """Set, config, bots, games and results are there for another connection, each with its source file."""
    path = write_legacy(folder / "a.pkl", bots=("LargestGroupBot", "my agent_20250102_030405_0a1b2c3d"))
    result = migrate(settings, path)
    (report,) = result.files
    assert (result.exit_code, report.status, result.run_id) == (0, "migrated", 1)
    assert report.to_json()["config"] == {"num_rows": 5, "num_cols": 5, "num_colors": 3}
    assert ask(engine, "SELECT name, num_games, base_seed FROM benchmark_sets") == [("5x5x3 seed 42", 10, 42)]
    for table, rows in (("games", 10), ("game_results", 20), ("bots", 2), ("game_configs", 1)):
        assert ask(engine, f"SELECT DISTINCT source_file_id FROM {table}") == [(1,)]
        assert count(engine, table) == rows
    assert ask(engine, "SELECT name, bot_type, metadata ->> 'weights_hash' FROM bots ORDER BY id") == [
        ("LargestGroupBot", "rule_based", None),
        ("my agent_20250102_030405_0a1b2c3d", "dqn", "0a1b2c3d"),
    ]
    assert ask(engine, "SELECT status, finished_at >= started_at, sgdb_version <> '' FROM runs") == [
        ("done", True, True)
    ]
    assert ask(engine, "SELECT path, sha256, status, counts -> 'games' ->> 'inserted' FROM source_files") == [
        (str(path), report.sha256, "migrated", "10")
    ]


def test_values_arrive_as_they_were(settings: Settings, engine: Engine, folder: Path) -> None:
    """Every board, seed and number of the file stands in the row of its game."""
    data = benchmark("B", (4, 6, 5), 7, base_seed=-3)
    write_legacy(folder / "b", spoil=lambda _: data)
    migrate(settings, folder)
    rows = ask(
        engine,
        "SELECT game_index, board_state, seed, tiles_cleared, singles_remaining, moves_made, completed "
        "FROM games g JOIN game_results r ON r.game_id = g.id ORDER BY game_index",
    )
    results = data["results"]["LargestGroupBot"]
    assert rows == [
        (g.game_id, g.board, g.seed, r.tiles_cleared, r.singles_remaining, r.moves_made, r.completed)
        for g, r in zip(data["games"], results, strict=True)
    ]


def _results_first(data: dict[str, Any]) -> dict[str, Any]:
    return {"results": data["results"], **data}


def _duplicates(data: dict[str, Any]) -> None:
    data["games"] += copy.deepcopy(data["games"][2:4])
    rows = data["results"]["LargestGroupBot"]
    rows.insert(0, copy.deepcopy(rows[5]))


def _reversed(data: dict[str, Any]) -> None:
    data["games"].reverse()
    data["results"]["LargestGroupBot"].reverse()


def _empty_list(data: dict[str, Any]) -> None:
    data["results"]["NobodyBot"] = []


@pytest.mark.parametrize(
    ("spoil", "games", "results", "bots"),
    [
        (_results_first, (10, 10, 0), (10, 10, 0), 1),
        (_duplicates, (12, 10, 2), (11, 10, 1), 1),
        (_reversed, (10, 10, 0), (10, 10, 0), 1),
        (_empty_list, (10, 10, 0), (10, 10, 0), 2),
    ],
)
def test_oddities_are_counted_and_kept(
    settings: Settings,
    engine: Engine,
    folder: Path,
    spoil: Callable[[dict[str, Any]], Any],
    games: tuple[int, int, int],
    results: tuple[int, int, int],
    bots: int,
) -> None:
    """Order, repeats, results before games and empty lists change no row, and a rerun is identical."""
    write_legacy(folder / "odd.pkl", spoil=spoil)
    (report,) = migrate(settings, folder).files
    assert tuple(report.games[name] for name in ("read", "inserted", "identical")) == games
    assert tuple(report.results[name] for name in ("read", "inserted", "identical")) == results
    assert (count(engine, "games"), count(engine, "game_results"), count(engine, "bots")) == (10, 10, bots)
    again = migrate(settings, folder)
    assert (again.files[0].status, again.run_id) == ("identical", None)


def test_the_original_is_kept_to_the_byte_and_once(settings: Settings, engine: Engine, folder: Path) -> None:
    """The archive gives the file's bytes back; the same content under another name is not stored again."""
    path = write_legacy(folder / "a.pkl", num_games=300)
    (folder / "copy of a").write_bytes(path.read_bytes())
    result = migrate(settings, folder)
    assert [report.status for report in result.files] == ["migrated", "identical"]
    assert (count(engine, "archives"), count(engine, "source_files")) == (1, 1)
    out = io.BytesIO()
    with engine.connect() as connection:
        write_archive(connection, 1, out)
    assert out.getvalue() == path.read_bytes()


def test_without_archive_no_bytes_are_stored_until_they_are_asked_for(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """--no-archive stores rows only; a later run with archive adds the original, and nothing else."""
    write_legacy(folder / "a.pkl")
    migrate(settings, folder, archive=False)
    assert count(engine, "archives") == 0
    again = migrate(settings, folder, archive=False)
    assert again.run_id is None
    with_archive = migrate(settings, folder)
    assert with_archive.files[0].status == "identical"
    assert (count(engine, "archives"), count(engine, "games")) == (1, 10)
    assert migrate(settings, folder).run_id is None


def test_a_name_that_is_no_utf8_is_no_obstacle(settings: Settings, engine: Engine, folder: Path) -> None:
    """Neither when the file goes in nor when it is rejected."""
    good, bad = (Path(os.fsdecode(os.fsencode(folder) + name)) for name in (b"/a\xff.pkl", b"/b\xfe.pkl"))
    write_legacy(good)
    write_legacy(bad, spoil_bytes=lambda raw: raw[:-5])
    result = migrate(settings, good, bad)
    assert [report.status for report in result.files] == ["migrated", "rejected"]
    assert [path.isascii() for (path,) in ask(engine, "SELECT path FROM source_files")] == [True, True]


# -- dry run --------------------------------------------------------------------------------------


def _mixed_folder(folder: Path) -> None:
    """Small and larger files of one set, bad ones between, other sets, and something that is no pickle."""
    write_legacy(folder / "1.pkl", num_games=20)
    write_legacy(folder / "2.pkl", num_games=50, spoil_bytes=lambda raw: raw[:-20])
    write_legacy(folder / "3.pkl", num_games=50, bots=("LargestGroupBot", "RandomBot"))
    write_legacy(folder / "4.pkl", num_games=10, num_results=60)

    def other_cell(data: dict[str, Any]) -> None:
        data["games"][3].board[0][0] = 0

    write_legacy(folder / "5.pkl", num_games=70, spoil=other_cell)
    write_legacy(folder / "6.pkl", config=(3, 4, 4), base_seed=7, bots=("NewBot",))
    write_legacy(folder / "7.pkl", config=(3, 4, 4), base_seed=8, bots=("NewBot",), num_results=4)
    (folder / "notes.txt").write_text("no pickle")


@pytest.mark.parametrize("before", ["empty", "filled"])
def test_a_dry_run_says_what_the_real_run_does_and_touches_nothing(
    settings: Settings, engine: Engine, folder: Path, before: str
) -> None:
    """Same numbers, statuses and errors; every table and every sequence stays as it was."""
    _mixed_folder(folder)
    if before == "filled":
        migrate(settings, folder / "1.pkl", folder / "6.pkl")
    state = database_state(engine)
    dry = migrate(settings, folder, dry_run=True)
    assert database_state(engine) == state
    assert dry.run_id is None
    real = migrate(settings, folder)
    assert [report.status for report in real.files].count("rejected") == 2
    assert dry.exit_code == real.exit_code == 1

    def comparable(result: Any) -> dict[str, Any]:
        document = result.to_json()
        for report in document["files"]:
            del report["benchmark_set_id"]  # a set that will never have been has none
        return {**document, "run_id": None, "seconds": 0, "dry_run": None}

    assert comparable(dry) == comparable(real)


def test_a_dry_run_does_not_wait_in_a_circle(settings: Settings, engine: Engine, folder: Path) -> None:
    """It starts when no other writer is at work, and gives up with BusyError after the configured time."""
    write_legacy(folder / "a.pkl")
    state = database_state(engine)

    def dry_run_beside(calls: int) -> None:
        if calls == 2:
            listener = Listener()
            with pytest.raises(BusyError):
                migrate(_impatient(settings), folder, dry_run=True, progress=listener)
            assert "waiting" in listener.notices[0]

    migrate(settings, folder, progress=Listener(dry_run_beside))
    assert database_state(engine) != state


# -- again ----------------------------------------------------------------------------------------


def test_a_second_run_changes_nothing(settings: Settings, engine: Engine, folder: Path) -> None:
    """All identical: no row is written, no sequence moves, a refusal is recorded once, no run is made."""
    _mixed_folder(folder)
    migrate(settings, folder)
    state = database_state(engine)
    again = migrate(settings, folder)
    assert database_state(engine) == state
    assert again.run_id is None
    assert again.totals["files"] == {"migrated": 0, "identical": 5, "rejected": 2}
    assert again.totals["games"]["inserted"] == again.totals["results"]["inserted"] == 0


@pytest.mark.parametrize("order", [(50, 100), (100, 50)])
def test_a_common_prefix_extends_the_set(
    settings: Settings, engine: Engine, folder: Path, order: tuple[int, int]
) -> None:
    """A larger file adds what is missing, a smaller one nothing; num_games is the larger one's."""
    inserted = []
    for number in order:
        path = write_legacy(folder / f"{number}.pkl", num_games=number)
        (report,) = migrate(settings, path).files
        inserted.append((report.games["inserted"], report.games["identical"], report.results["inserted"]))
    assert inserted == ([(50, 0, 50), (50, 50, 50)] if order == (50, 100) else [(100, 0, 100), (0, 50, 0)])
    assert ask(engine, "SELECT num_games FROM benchmark_sets") == [(100,)]
    expected = [(1, 50), (2, 50)] if order == (50, 100) else [(1, 100)]
    for table in ("games", "game_results"):
        query = f"SELECT source_file_id, count(*) FROM {table} GROUP BY 1 ORDER BY 1"
        assert ask(engine, query) == expected


def test_a_later_file_adds_another_bot(settings: Settings, engine: Engine, folder: Path) -> None:
    """The games are identical, the new bot's results are inserted on them."""
    migrate(settings, write_legacy(folder / "a.pkl"))
    (report,) = migrate(settings, write_legacy(folder / "b.pkl", bots=("Second", "LargestGroupBot"))).files
    assert report.status == "migrated"
    assert report.games["identical"] == 10
    assert (report.results["inserted"], report.results["identical"]) == (10, 10)
    assert ask(engine, "SELECT source_file_id FROM bots ORDER BY id") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("statement", "games", "results"),
    [
        ("DELETE FROM game_results WHERE id = 4", 0, 1),
        ("DELETE FROM games WHERE game_index IN (0, 3, 9)", 3, 3),
        ("WITH gone AS (DELETE FROM game_results) DELETE FROM games", 10, 10),
    ],
)
def test_a_deleted_row_comes_back(
    settings: Settings, engine: Engine, folder: Path, statement: str, games: int, results: int
) -> None:
    """What is missing is decided by looking at the rows, not at a record of the file."""
    write_legacy(folder / "a.pkl")
    migrate(settings, folder)
    tamper(engine, statement)
    (report,) = migrate(settings, folder).files
    assert (report.status, report.games["inserted"], report.results["inserted"]) == (
        "migrated",
        games,
        results,
    )
    assert (count(engine, "games"), count(engine, "game_results")) == (10, 10)
    assert migrate(settings, folder).run_id is None


def test_a_deleted_bot_without_results_comes_back(settings: Settings, engine: Engine, folder: Path) -> None:
    """A key with an empty list is a bot too, and the file that brings it back is recorded whole."""
    write_legacy(folder / "a.pkl", spoil=_empty_list)
    migrate(settings, folder)
    tamper(engine, "DELETE FROM bots WHERE name = 'NobodyBot'")
    assert migrate(settings, folder).files[0].status == "migrated"
    assert count(engine, "bots") == 2
    assert count(engine, "source_files WHERE benchmark_set_id IS NULL OR contents IS NULL") == 0


# -- conflicts and refusals -----------------------------------------------------------------------


def _cell(data: dict[str, Any]) -> None:
    board = data["games"][7].board
    board[4][2] = 3 - board[4][2]


def _seed(data: dict[str, Any]) -> None:
    data["games"][7].seed += 1


def _metric(data: dict[str, Any]) -> None:
    data["results"]["LargestGroupBot"][7].moves_made += 1000


def _completed(data: dict[str, Any]) -> None:
    row = data["results"]["LargestGroupBot"][7]
    row.completed = not row.completed


def _bot_name(data: dict[str, Any]) -> None:
    data["results"]["LargestGroupBot"][7].bot_name = "Somebody"


def _attribute(data: dict[str, Any]) -> None:
    data["results"]["LargestGroupBot"][7].note = 1


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_cell, ["game 7", "board[4][2]"]),
        (_seed, ["game 7", "field seed"]),
        (_metric, ["game 7", "bot 'LargestGroupBot'", "field moves_made"]),
        (_completed, ["game 7", "bot 'LargestGroupBot'", "field completed", "True", "False"]),
        (_bot_name, ["game 7", "bot 'LargestGroupBot'", "field bot_name", "'Somebody'"]),
        (_attribute, ["game 7", "bot 'LargestGroupBot'", "field metadata", "'note'"]),
    ],
)
def test_another_value_is_a_conflict_that_writes_nothing(
    settings: Settings, engine: Engine, folder: Path, spoil: Callable[[dict[str, Any]], Any], says: list[str]
) -> None:
    """The file is rejected with game, bot, field and both values; no row of the set is touched or added."""
    migrate(settings, write_legacy(folder / "a.pkl"))
    state = database_state(engine)
    result = migrate(
        settings, write_legacy(folder / "b.pkl", num_games=30, bots=("Zed", "LargestGroupBot"), spoil=spoil)
    )
    (report,) = result.files
    assert (result.exit_code, report.status, report.benchmark_set_id) == (1, "rejected", None)
    assert report.error is not None
    for words in ["b.pkl", "file ", "database ", *says]:
        assert words in report.error
    after = database_state(engine)
    assert {table: after[table] for table in DATA_TABLES} == {table: state[table] for table in DATA_TABLES}
    assert ask(engine, "SELECT error FROM source_files WHERE status = 'rejected'") == [(report.error,)]


def test_a_refused_value_in_the_last_row_leaves_nothing_behind(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """However much had been copied before it: no set, config, bot, game, result or archive stays."""

    def last_row(data: dict[str, Any]) -> None:
        data["results"]["LargestGroupBot"][-1].moves_made = -1

    result = migrate(settings, write_legacy(folder / "big.pkl", num_games=4000, spoil=last_row))
    assert result.exit_code == 4
    assert result.files[0].error is not None
    assert "game 3999, field moves_made: -1" in result.files[0].error
    assert result.files[0].games == {
        "read": 4000, "inserted": 0, "identical": 0, "rejected": 4000, "regenerated": 0,
    }  # fmt: skip
    assert [count(engine, table) for table in DATA_TABLES] == [0] * len(DATA_TABLES)
    assert ask(engine, "SELECT status FROM source_files") == [("rejected",)]


def test_one_bad_file_never_stops_the_others_unless_asked(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """Files after a bad one go in; with --fail-fast they don't, and what came before stays."""
    write_legacy(folder / "1.pkl", num_games=5)
    write_legacy(folder / "2.pkl", spoil_bytes=lambda raw: raw + b"more")
    write_legacy(folder / "3.pkl", base_seed=1)
    fast = migrate(settings, folder, fail_fast=True)
    assert [report.status for report in fast.files] == ["migrated", "rejected"]
    assert count(engine, "benchmark_sets") == 1
    result = migrate(settings, folder)
    assert [report.status for report in result.files] == ["identical", "rejected", "migrated"]
    assert (result.exit_code, count(engine, "benchmark_sets")) == (1, 2)


def test_a_single_file_that_is_no_pickle_has_its_own_exit_code(settings: Settings, folder: Path) -> None:
    """Asked for by name it is refused, in a folder it is skipped with the reason."""
    (folder / "notes").write_text("hello")
    alone = migrate(settings, folder / "notes")
    assert (alone.exit_code, alone.totals["files"]["rejected"]) == (4, 1)
    inside = migrate(settings, folder)
    assert (inside.exit_code, inside.files) == (0, [])
    assert inside.to_json()["skipped"] == [{"path": str(folder / "notes"), "reason": "text, not a pickle"}]
    with pytest.raises(NotFoundError):
        migrate(settings, folder / "nowhere")


def test_a_file_that_vanishes_or_changes_meanwhile_is_rejected(
    settings: Settings, engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between being found and being read, or between the first reading and the second, if there is one."""
    monkeypatch.setattr(legacy, "_MOST_KEPT", 0)
    gone, changing, fine = (write_legacy(folder / name, base_seed=n) for n, name in enumerate("abc"))
    result = migrate(settings, folder, progress=Listener(on_start=gone.unlink))
    assert [report.status for report in result.files] == ["rejected", "migrated", "migrated"]
    assert "no such file" in (result.files[0].error or "")

    changing.unlink()

    def change(calls: int) -> None:
        if calls == 1:
            write_legacy(folder / "new", base_seed=77, num_games=11).replace(changing)

    write_legacy(changing, base_seed=77)
    result = migrate(settings, changing, progress=Listener(change))
    assert (result.exit_code, result.files[0].status) == (4, "rejected")
    assert "changed while it was read" in (result.files[0].error or "")
    assert count(engine, "benchmark_sets WHERE base_seed = 77") == 0
    assert fine.exists()


def test_a_config_of_the_same_name_with_other_numbers_is_a_conflict(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """A row that somebody else has made is not worked around silently."""
    tamper(
        engine, "INSERT INTO game_configs (name, num_rows, num_cols, num_colors) VALUES ('5x5x3', 9, 9, 9)"
    )
    result = migrate(settings, write_legacy(folder / "a.pkl"))
    assert (result.exit_code, count(engine, "games")) == (1, 0)
    assert "5x5x3" in (result.files[0].error or "")


# -- boards that follow from the seeds ------------------------------------------------------------


def test_missing_boards_are_generated_for_results(settings: Settings, engine: Engine, folder: Path) -> None:
    """The boards are those of the seeds, bear their origin, and are identical when listed later."""
    (report,) = migrate(settings, write_legacy(folder / "a.pkl", num_games=3, num_results=12)).files
    assert report.games == {"read": 3, "inserted": 3, "identical": 0, "rejected": 0, "regenerated": 9}
    assert report.results["inserted"] == 12
    assert ask(engine, "SELECT num_games FROM benchmark_sets") == [(3,)]
    made = ask(
        engine, "SELECT game_index, board_state, seed FROM games WHERE metadata->>'origin' = 'regenerated'"
    )
    assert len(made) == 9
    for _, board, seed in made:
        assert board == draw_board(GameConfig(5, 5, 3), seed)
    larger = write_legacy(folder / "b.pkl", num_games=12)
    (report,) = migrate(settings, larger).files
    assert (report.games["identical"], report.results["identical"]) == (12, 12)
    assert ask(engine, "SELECT num_games FROM benchmark_sets") == [(12,)]
    state = database_state(engine)
    assert {report.status for report in migrate(settings, folder).files} == {"identical"}
    assert database_state(engine) == state


def test_boards_that_do_not_reproduce_are_not_invented(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """A file whose listed games break the rule is rejected when it would need generated ones, else kept."""
    (report,) = migrate(settings, write_legacy(folder / "a.pkl", num_results=12, spoil=_cell)).files
    assert report.status == "rejected"
    assert "listed game 7 does not follow from base seed 42" in (report.error or "")
    assert count(engine, "games") == 0
    (report,) = migrate(settings, write_legacy(folder / "b.pkl", spoil=_cell)).files
    assert report.status == "migrated"


# -- base seed ------------------------------------------------------------------------------------


def _strange_seeds(data: dict[str, Any]) -> None:
    for number, game in enumerate(data["games"]):
        game.seed = 5 * number


def test_an_unknown_base_seed_has_to_be_given(settings: Settings, engine: Engine, folder: Path) -> None:
    """It is never guessed; given on the command line it is used, and noted."""
    path = write_legacy(folder / "old", layout="A", spoil=_strange_seeds)
    refused = migrate(settings, path)
    assert refused.exit_code == 4
    assert refused.files[0].refusal is not None
    assert "--set-base-seed" in (refused.files[0].refusal.hint or "")
    given = migrate(settings, path, set_base_seed=2**40)
    assert (given.files[0].status, given.files[0].base_seed) == ("migrated", 2**40)
    assert any("as given" in note for note in given.files[0].notes)
    assert ask(engine, "SELECT base_seed FROM benchmark_sets") == [(2**40,)]
    assert "as given" in ask(engine, "SELECT notes::text FROM source_files WHERE status = 'migrated'")[0][0]


def test_the_oldest_layout_finds_its_base_seed(settings: Settings, folder: Path) -> None:
    """Seeds that follow from a small number, or from one in the name, prove it."""
    (report,) = migrate(
        settings, write_legacy(folder / "any name 123456", layout="A", base_seed=123456)
    ).files
    assert (report.status, report.base_seed, report.num_games) == ("migrated", 123456, 10)


# -- the pickle folder of the settings ------------------------------------------------------------


def test_without_paths_the_configured_folder_is_taken(
    database_url: str, folder: Path, tmp_path: Path
) -> None:
    """And said so; without one that is configured it is a usage error."""
    write_legacy(folder / "a.pkl")
    bare = load_settings({"database_url": database_url, "home": tmp_path / "h"})
    with pytest.raises(ConfigError):
        migrate(bare)
    listener = Listener()
    configured = bare.model_copy(update={"pickle_dir": folder})
    assert migrate(configured, progress=listener).totals["files"]["migrated"] == 1
    assert str(folder) in listener.notices[0]


def test_a_database_without_tables_is_no_place_to_write(empty_database: str, folder: Path) -> None:
    """The schema is asked for first."""
    write_legacy(folder / "a.pkl")
    with pytest.raises(SchemaError):
        migrate(load_settings({"database_url": empty_database}), folder)


# -- several at once, and ends in the middle ------------------------------------------------------

_SCRIPT = (
    "import sys; from pathlib import Path\n"
    "from sgdb.operations.migrate_pickles import MigratePicklesOptions, migrate_pickles\n"
    "from sgdb.settings import load_settings\n"
    "options = MigratePicklesOptions(tuple(map(Path, sys.argv[2:])))\n"
    "sys.exit(migrate_pickles(options, load_settings({'database_url': sys.argv[1]})).exit_code)\n"
)


def _together(database_url: str, *commands: tuple[Path, ...]) -> Iterator[int]:
    processes = [
        subprocess.Popen([sys.executable, "-c", _SCRIPT, database_url, *map(str, paths)])
        for paths in commands
    ]
    return (process.wait(timeout=120) for process in processes)


def test_two_processes_on_the_same_folder(database_url: str, engine: Engine, folder: Path) -> None:
    """Each row goes in once, and neither fails."""
    for seed in range(4):
        write_legacy(folder / f"{seed}.pkl", num_games=200, base_seed=seed, bots=("A", "B"))
    backwards = tuple(sorted(folder.iterdir(), reverse=True))
    assert list(_together(database_url, (folder,), backwards)) == [0, 0]
    assert (count(engine, "games"), count(engine, "game_results"), count(engine, "bots")) == (800, 1600, 2)
    assert count(engine, "runs WHERE status <> 'done'") == 0


@pytest.mark.slow
def test_eight_processes_on_files_of_one_set(database_url: str, engine: Engine, folder: Path) -> None:
    """They take turns; the set ends up as large as its largest file, with every row once."""
    paths = [write_legacy(folder / f"{n}.pkl", num_games=50 * n, bots=("A", f"B{n}")) for n in range(1, 9)]
    assert list(_together(database_url, *((path,) for path in paths))) == [0] * 8
    assert ask(engine, "SELECT num_games FROM benchmark_sets") == [(400,)]
    assert (count(engine, "games"), count(engine, "game_results")) == (400, 400 + 50 * 36)
    assert count(engine, "bots") == 9


def test_a_set_that_is_locked_too_long_is_busy(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path
) -> None:
    """The wait is announced, ends after the configured time, and leaves nothing; earlier files are kept."""
    write_legacy(folder / "1.pkl", base_seed=1)
    write_legacy(folder / "2.pkl", base_seed=2, num_games=20)
    migrate(settings, write_legacy(tmp_path / "first.pkl", base_seed=2))
    inner = Listener()

    def migrate_beside(calls: int) -> None:
        if calls == 2:  # the file has been read once, and its transaction holds the set
            with pytest.raises(BusyError, match=r"0\.3 seconds"):
                migrate(_impatient(settings), folder, progress=inner)

    migrate(settings, folder / "2.pkl", progress=Listener(migrate_beside))
    assert any("waiting" in notice for notice in inner.notices)
    assert any("1 of 2 files were done before" in notice for notice in inner.notices)
    assert ask(engine, "SELECT base_seed FROM benchmark_sets ORDER BY 1") == [(1,), (2,)]
    assert ask(engine, "SELECT status FROM runs ORDER BY 1") == [("done",), ("done",), ("failed",)]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_deadlock_with_another_program_is_survived(
    settings: Settings, engine: Engine, folder: Path, dry_run: bool
) -> None:
    """The file is taken a second time from its beginning, which is said; rows, sums and original are right,
    and no byte is reported twice."""
    path = write_legacy(folder / "1.pkl", num_games=5000)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    reported: list[int] = []

    with ThreadPoolExecutor() as threads, engine.connect() as other:
        # It never gives up itself, and holds what the migration needs last.
        other.execute(text("SET deadlock_timeout = '1h'"))
        pid = other.execute(text("SELECT pg_backend_pid()")).scalar_one()
        archive = "INSERT INTO archives (sha256, size_bytes, compression, stored_bytes)"
        other.execute(text(f"{archive} VALUES ('{sha256}', 1, 'zlib', 1)"))
        config = "INSERT INTO game_configs (name, num_rows, num_cols, num_colors) VALUES ('5x5x3', 5, 5, 3)"
        waiting: list[Future[Any]] = []

        def cross(_: int) -> None:
            """Once the migration holds what the other needs, the other begins to wait for it."""
            in_copy = "query LIKE 'COPY games%' AND datname = current_database()"
            if waiting or not ask(engine, f"SELECT 1 FROM pg_stat_activity WHERE {in_copy}"):
                return
            waiting.append(threads.submit(other.execute, text(config)))
            while not ask(engine, "SELECT 1 FROM pg_locks WHERE pid = :pid AND NOT granted", pid=pid):
                pass

        class Counting(Listener):
            def advance(self, amount: int, label: str | None = None) -> None:
                reported.append(amount)
                super().advance(amount, label)

        def let_go(message: str) -> None:
            said.append(message)
            waiting[0].result()
            other.rollback()

        listener, said = Counting(cross), list[str]()
        listener.notice = let_go  # type: ignore[method-assign]
        result = migrate(settings, path, progress=listener, dry_run=dry_run)
    assert len(said) == 1
    assert "trying again (1 of 7)" in said[0]
    assert "deadlock" in said[0]
    assert (result.exit_code, result.files[0].status) == (0, "migrated")
    assert result.files[0].games["inserted"] == result.files[0].results["inserted"] == 5000
    assert sum(reported) == 2 * path.stat().st_size
    assert (count(engine, "games"), count(engine, "game_results")) == ((0, 0) if dry_run else (5000, 5000))
    if not dry_run:
        assert ask(engine, "SELECT DISTINCT source_file_id IN (SELECT id FROM source_files) FROM games") == [
            (True,)
        ]
        assert verify(VerifyOptions(), settings).equal


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_connection_that_is_lost_in_the_middle(
    settings: Settings, engine: Engine, folder: Path, dry_run: bool
) -> None:
    """Exit code 3, nothing half-written, earlier files kept, and the run is on record as failed."""
    write_legacy(folder / "1.pkl", base_seed=1)
    write_legacy(folder / "2.pkl", num_games=20_000, config=(9, 9, 5))

    def terminate(calls: int) -> None:
        if calls > 3:  # in the middle of the second file
            ask(
                engine,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY games%'",
            )

    with pytest.raises(DatabaseUnreachableError) as caught:
        migrate(settings, folder, progress=Listener(terminate), dry_run=dry_run)
    assert caught.value.exit_code == 3
    engine.dispose()
    assert ask(engine, "SELECT base_seed FROM benchmark_sets") == ([] if dry_run else [(1,)])
    assert ask(engine, "SELECT status FROM runs") == ([] if dry_run else [("failed",)])
    assert count(engine, "source_files") == (0 if dry_run else 1)


@pytest.mark.parametrize("dry_run", [False, True])
def test_ctrl_c_in_the_middle(settings: Settings, engine: Engine, folder: Path, dry_run: bool) -> None:
    """The current file is rolled back, even inside COPY; the result says so, and earlier files are kept."""
    write_legacy(folder / "1.pkl", base_seed=1)
    write_legacy(folder / "2.pkl", num_games=20_000, config=(9, 9, 5))

    def interrupt(calls: int) -> None:
        if calls > 3 and ask(engine, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY games%'"):
            raise KeyboardInterrupt

    result = migrate(settings, folder, progress=Listener(interrupt), dry_run=dry_run)
    assert (result.interrupted, result.exit_code) == (True, 130)
    assert [report.path.name for report in result.files] == ["1.pkl"]
    assert ask(engine, "SELECT base_seed FROM benchmark_sets") == ([] if dry_run else [(1,)])
    assert ask(engine, "SELECT status FROM runs") == ([] if dry_run else [("interrupted",)])
    assert migrate(settings, folder).totals["files"]["rejected"] == 0


# -- real files -----------------------------------------------------------------------------------


def test_the_real_files(
    settings: Settings, engine: Engine, shared_pickles: Path | None, folder: Path
) -> None:
    """Where the real files are at hand, they go in with the numbers they are known for, and only once."""
    if shared_pickles is None:  # the same oddities in small
        write_legacy(folder / "reopened.pkl", num_games=3, num_results=1000)
        assert migrate(settings, folder).totals["games"]["regenerated"] == 997
        return
    dry = migrate(settings, shared_pickles, dry_run=True)
    result = migrate(settings, shared_pickles)
    assert dry.totals == result.totals
    assert result.totals["files"] == {"migrated": 6, "identical": 0, "rejected": 0}
    assert len(result.selection.skipped) == 2
    games, results = result.totals["games"], result.totals["results"]
    assert (games["read"], games["inserted"], games["regenerated"]) == (12_103, 12_103, 9_997)
    assert (results["read"], results["inserted"]) == (42_109, 42_109)
    state = database_state(engine)
    again = migrate(settings, shared_pickles)
    assert again.totals["files"] == {"migrated": 0, "identical": 6, "rejected": 0}
    assert (again.run_id, database_state(engine)) == (None, state)


def test_one_set_has_one_value_for_an_entry(settings: Settings, tmp_path: Path) -> None:
    """Two files of a set with different further entries, or attributes of the config, are a conflict."""
    folder = tmp_path / "pickles"
    folder.mkdir()

    def spoil(note: str, flavour: int) -> Any:
        def change(data: dict[str, Any]) -> dict[str, Any]:
            data["config"].flavour = flavour
            return {**data, "note": note}

        return change

    write_legacy(folder / "a", spoil=spoil("first", 1))
    write_legacy(folder / "b", num_games=12, spoil=spoil("first", 1))
    write_legacy(folder / "c", num_games=14, spoil=spoil("second", 1))
    write_legacy(folder / "d", num_games=14, spoil=spoil("first", 2))
    result = migrate_pickles(MigratePicklesOptions((folder,)), settings)
    assert [report.status for report in result.files] == ["migrated", "migrated", "rejected", "rejected"]
    assert "top-level entry 'note': file 'second', database 'first'" in str(result.files[2].error)
    assert "attribute of the config 'flavour': file 2, database 1" in str(result.files[3].error)


def test_a_refusal_comes_before_boards_are_made(settings: Settings, tmp_path: Path) -> None:
    """A bad result refuses the file although millions of cells would have been drawn before it."""

    def spoil(data: dict[str, Any]) -> dict[str, Any]:
        data["results"]["LargestGroupBot"][-1].moves_made = -1
        return {**data, "games": []}

    path = write_legacy(tmp_path / "x", config=(100, 100, 9), num_games=0, num_results=2000, spoil=spoil)
    result = migrate_pickles(MigratePicklesOptions((path,)), settings)
    assert "moves_made: -1" in str(result.files[0].error)
    assert result.exit_code == 4
