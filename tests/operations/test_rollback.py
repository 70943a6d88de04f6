"""Taking a run back: exactly what it brought goes, or nothing at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from sgdb.database.engine import make_engine, transaction
from sgdb.database.ids import SequenceIds
from sgdb.database.locks import lock_set
from sgdb.database.models import Base
from sgdb.database.provenance import complete_source_file, make_saved_source, remember_files
from sgdb.errors import (
    AlreadyExistsError,
    ArchiveError,
    BusyError,
    DependentRowsError,
    LastCopyError,
    NotFoundError,
    UsageError,
)
from sgdb.operations.query import run_files, runs
from sgdb.operations.rollback import RollbackOptions, RollbackResult, rollback
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.records import GameConfig
from sgdb.settings import Settings
from sgdb.storage.postgres import PostgresStorage
from tests.legacy import write_legacy
from tests.steps import Listener, ask, count, database_state, migrate, tamper
from tests.totals import assert_true

BOOKKEEPING = ("runs", "source_files")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for pickles."""
    path = tmp_path / "pickles"
    path.mkdir()
    return path


@pytest.fixture
def elsewhere(engine: Engine) -> Iterator[Engine]:
    """Another program on the same database."""
    elsewhere = make_engine(engine.url)
    yield elsewhere
    elsewhere.dispose()


def _rollback(
    settings: Settings, run_id: int | None = None, progress: Listener | None = None, **options: Any
) -> RollbackResult:
    return rollback(RollbackOptions(run_id, **options), settings, progress)


def _rows(engine: Engine, *but_of_runs: int | None) -> dict[str, list[str]]:
    """Every row of every table as text; of the bookkeeping, not that of these runs. Totals without their
    revisions, which never come again."""
    rows = {}
    for table in Base.metadata.tables:
        where = ""
        if table in BOOKKEEPING:
            column = "id" if table == "runs" else "run_id"
            listed = ", ".join(str(run_id) for run_id in but_of_runs if run_id is not None)
            where = f" WHERE {column} NOT IN ({listed})" if listed else ""
        rows[table] = sorted(
            line for (line,) in ask(engine, f"SELECT (to_jsonb(t) - 'revision')::text FROM {table} t{where}")
        )
    return rows


# The same whatever numbers the rows have got, and when: what there is, and which file it came from.
_CONTENT = {
    "configs": "SELECT c.num_rows, c.num_cols, c.num_colors, c.name, f.path FROM game_configs c "
    "LEFT JOIN source_files f ON f.id = c.source_file_id",
    "bots": "SELECT b.name, b.bot_type, b.version, b.metadata::text, f.path FROM bots b "
    "LEFT JOIN source_files f ON f.id = b.source_file_id",
    "sets": "SELECT c.name, s.name, s.base_seed, s.num_games, f.path FROM benchmark_sets s "
    "JOIN game_configs c ON c.id = s.config_id LEFT JOIN source_files f ON f.id = s.source_file_id",
    "games": "SELECT s.name, game_index, board_state::text, seed, g.metadata::text, f.path FROM games g "
    "JOIN benchmark_sets s ON s.id = benchmark_set_id LEFT JOIN source_files f ON f.id = g.source_file_id",
    "results": "SELECT s.name, game_index, b.name, tiles_cleared, singles_remaining, moves_made, completed, "
    "r.metadata::text, f.path FROM game_results r JOIN bots b ON b.id = bot_id "
    "JOIN games g ON g.id = game_id "
    "JOIN benchmark_sets s ON s.id = benchmark_set_id LEFT JOIN source_files f ON f.id = r.source_file_id",
    "archives": "SELECT sha256, size_bytes, (SELECT md5(string_agg(data, '' ORDER BY chunk_index)) "
    "FROM archive_chunks WHERE archive_id = a.id) FROM archives a",
    "files": "SELECT path, sha256, status, error, s.name, archive_id IS NULL, contents::text, "
    "counts -> 'games', counts -> 'results' FROM source_files f "
    "LEFT JOIN benchmark_sets s ON s.id = f.benchmark_set_id "
    "WHERE f.status IN ('migrated', 'identical')",
}  # fmt: skip


def _content(engine: Engine) -> dict[str, list[str]]:
    return {name: sorted(map(repr, ask(engine, query))) for name, query in _CONTENT.items()}


# -- exactly what the run brought -----------------------------------------------------------------


def _base(folder: Path, settings: Settings, engine: Engine) -> None:
    """A run, and rows that no file brought, among them some that hang on the run's."""
    write_legacy(folder / "a", num_games=10, bots=("LargestGroupBot", "Early"))
    write_legacy(folder / "b", config=(2, 3, 4), base_seed=7, num_results=20)
    migrate(settings, folder)
    tamper(
        engine,
        "INSERT INTO training_sessions (bot_id, config_id, hyperparameters, start_time) "
        "VALUES (1, 1, '{}', now())",
    )
    tamper(engine, "INSERT INTO game_histories (game_id, bot_id, move_sequence) VALUES (1, 1, '[[0, 1]]')")
    tamper(engine, "INSERT INTO bots (name, version) VALUES ('By hand', '2.0')")
    tamper(
        engine,
        "INSERT INTO game_results (game_id, bot_id, tiles_cleared, singles_remaining, moves_made, completed) "
        "SELECT 1, id, 1, 1, 1, false FROM bots WHERE name = 'By hand'",
    )


def _second(folder: Path) -> tuple[Path, ...]:
    """A second run's files: they extend a set, add bots to it, add sets with and without a new config; one is
    identical, one refused, one goes to a set that a file before it has made."""
    second = folder / "second"
    second.mkdir()
    write_legacy(second / "1", num_games=30, bots=("LargestGroupBot", "By hand", "Late"), spoil=_without_one)
    write_legacy(second / "2", num_games=5, bots=("Early",))
    write_legacy(second / "3", spoil_bytes=lambda raw: raw[:-7])
    write_legacy(second / "4", config=(3, 3, 3), base_seed=1, num_games=3, num_results=12)
    write_legacy(second / "5", config=(3, 3, 3), base_seed=1, num_games=15, bots=("Other",))
    write_legacy(second / "6", base_seed=2, bots=("Late", "Early"))
    return tuple(sorted(second.iterdir()))


def _without_one(data: dict[str, Any]) -> None:
    """One result of the base set's first game is by hand and another one."""
    del data["results"]["By hand"][0]
    data["results"]["Nobody"] = []


def test_the_database_is_as_it_was_before(settings: Settings, engine: Engine, folder: Path) -> None:
    """Every row of every table, bit for bit, but for what is on record of the run itself."""
    _base(folder, settings, engine)
    before = _rows(engine)
    run = migrate(settings, *_second(folder))
    assert [report.status for report in run.files] == ["migrated", "identical", "rejected", *["migrated"] * 3]
    assert _rows(engine) != before
    result = _rollback(settings)
    assert (result.run_id, result.dry_run) == (run.run_id, False)
    assert _rows(engine, run.run_id, result.rollback_run_id) == before
    assert_true(engine)
    totals = run.totals
    assert result.removed == {
        "games": totals["games"]["inserted"] + totals["games"]["regenerated"],
        "results": totals["results"]["inserted"],
        "sets": 2,
        "bots": 3,
        "configs": 1,
        "originals": 5,
    }
    assert [(file.games, file.results) for file in result.files] == [
        (report.games["inserted"] + report.games["regenerated"], report.results["inserted"])
        for report in run.files
        if report.status != "rejected"
    ]


def test_it_is_on_record_and_the_files_are_no_sources_any_more(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """Run and files are marked, the refused file stays refused, and the taking back is a run of its own."""
    _base(folder, settings, engine)
    run = migrate(settings, *_second(folder))
    assert run.run_id is not None
    result = _rollback(settings)
    listed = {row["id"]: row for row in runs(settings)}
    assert listed[run.run_id]["status"] == "rolled-back"
    assert (listed[run.run_id]["rolled_back"], listed[run.run_id]["rejected"]) == (5, 1)
    assert listed[run.run_id]["results_inserted"] == run.totals["results"]["inserted"]
    assert result.rollback_run_id is not None
    taking_back = listed[result.rollback_run_id]
    assert (taking_back["kind"], taking_back["status"]) == ("rollback", "done")
    assert taking_back["options"] == {"run": run.run_id, "was": "done"}
    assert {file["status"] for file in run_files(run.run_id, settings)} == {"rolled-back", "rejected"}
    left = "benchmark_set_id IS NOT NULL OR archive_id IS NOT NULL OR contents IS NOT NULL"
    assert count(engine, f"source_files WHERE status = 'rolled-back' AND ({left})") == 0
    assert verify(VerifyOptions((folder / "b",)), settings).equal
    assert verify(VerifyOptions((folder / "second" / "4",)), settings).files[0].status == "missing"


def test_migrating_again_brings_everything_back(settings: Settings, engine: Engine, folder: Path) -> None:
    """The same sums as the first time, and every value is there."""
    paths = _second(folder)
    first = migrate(settings, *paths)
    content = _content(engine)
    _rollback(settings)
    assert all(count(engine, table) == 0 for table in _rows(engine) if table not in BOOKKEEPING)
    second = migrate(settings, *paths)
    assert second.totals == first.totals
    assert _content(engine) == content
    assert verify(VerifyOptions(), settings).equal
    again = _rollback(settings)
    assert again.run_id == second.run_id


def test_others_that_came_later_stay(settings: Settings, engine: Engine, folder: Path) -> None:
    """A later run on other sets stays whole. The bots and the config that it shares with the run are its own
    from then on, as if the run had never been."""
    write_legacy(folder / "1", bots=("A", "B"))
    write_legacy(folder / "2", base_seed=9, bots=("B", "C"), spoil=lambda data: data["results"].update(A=[]))
    run, later = (migrate(settings, folder / name) for name in "12")
    result = _rollback(settings, run.run_id)
    assert (result.removed["bots"], result.removed["configs"]) == (0, 0)
    assert result.kept == {"bots": 2, "configs": 1}
    content = _content(engine)
    assert verify(VerifyOptions(), settings).equal
    assert _rollback(settings).run_id == later.run_id
    assert count(engine, "bots") == count(engine, "game_configs") == 0
    migrate(settings, folder / "2")
    assert _content(engine) == content


def test_a_file_that_came_earlier_is_no_dependent(settings: Settings, engine: Engine, folder: Path) -> None:
    """Rows that somebody had deleted and the run brought back were not there before it, and go again."""
    path = write_legacy(folder / "a")
    migrate(settings, path)
    tamper(engine, "DELETE FROM game_results WHERE id IN (3, 4)")
    tamper(engine, "DELETE FROM games WHERE game_index = 7")
    before = _rows(engine)
    run = migrate(settings, path)
    path.unlink()
    result = _rollback(settings)
    assert [(file.games, file.results, file.original) for file in result.files] == [(1, 3, "kept")]
    assert _rows(engine, run.run_id, result.rollback_run_id) == before


# -- the declared size of a set -------------------------------------------------------------------


def _num_games(engine: Engine) -> list[int]:
    return [number for (number,) in ask(engine, "SELECT num_games FROM benchmark_sets ORDER BY id")]


def _ten_games(data: dict[str, Any]) -> None:
    del data["games"][10:]


def test_a_set_that_a_run_extended_declares_what_the_others_say(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """Whichever of several runs goes first; and where it is not on record what was declared before."""
    for number in (10, 20, 30):
        write_legacy(
            folder / str(number), num_games=number, num_results=10, bots=(f"B{number}",), spoil=_ten_games
        )
    first, second, third = (migrate(settings, folder / name).run_id for name in ("10", "20", "30"))
    _rollback(settings, second)
    assert _num_games(engine) == [30]
    _rollback(settings, third)
    assert _num_games(engine) == [10]
    assert migrate(settings, folder / "20").run_id is not None
    tamper(engine, "UPDATE source_files SET counts = counts - 'extended'")
    _rollback(settings)
    assert _num_games(engine) == [10]
    assert _rollback(settings).run_id == first


def test_a_set_made_by_hand_keeps_the_size_it_was_made_with(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """Whoever extended it, in whatever order that is taken back; a size that nobody raised is left alone."""
    tamper(
        engine, "INSERT INTO game_configs (name, num_rows, num_cols, num_colors) VALUES ('5x5x3', 5, 5, 3)"
    )
    tamper(
        engine, "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed) VALUES ('mine', 1, 4, 42)"
    )
    before = _rows(engine)
    for number in (20, 30):
        write_legacy(
            folder / str(number), num_games=number, spoil=lambda data: data["games"].clear(), bots=()
        )
    first, second = (migrate(settings, folder / name).run_id for name in ("20", "30"))
    one = _rollback(settings, first)
    assert _num_games(engine) == [30]
    other = _rollback(settings, second)
    assert _rows(engine, first, second, one.rollback_run_id, other.rollback_run_id) == before
    tamper(engine, "DELETE FROM source_files")
    tamper(engine, "UPDATE benchmark_sets SET num_games = 20")
    migrate(settings, write_legacy(folder / "new", num_games=20))
    _rollback(settings)
    assert _num_games(engine) == [20]


def test_a_program_declares_a_size_too(settings: Settings, engine: Engine, folder: Path) -> None:
    """What a program has declared for the set remains, though a run declared more."""
    migrate(settings, write_legacy(folder / "a", num_games=5))
    _save(engine, 1, num_games=8)
    tamper(engine, "UPDATE benchmark_sets SET num_games = 8")
    migrate(settings, write_legacy(folder / "b", num_games=20))
    _rollback(settings)
    assert _num_games(engine) == [8]


def _save(engine: Engine, set_id: int, *, num_games: int = 0, remembers: bool = True) -> int:
    """What a program leaves behind that has stored something in the set, without the rows themselves."""
    with transaction(engine) as connection:
        source_id = make_saved_source(connection, SequenceIds(), num_games)
        complete_source_file(connection, source_id, benchmark_set_id=set_id)
        if remembers:
            remember_files(connection, source_id, set_id)
    return source_id


# -- what others have built on it -----------------------------------------------------------------

_RESULT = "INSERT INTO game_results (game_id, bot_id, tiles_cleared, singles_remaining, moves_made, completed"
_FOREIGN = "(SELECT min(id) FROM games WHERE benchmark_set_id = 1)"
_OWN = "(SELECT min(id) FROM games WHERE benchmark_set_id = 2)"
_OWN_BOT = "(SELECT id FROM bots WHERE name = 'Own')"
_OLD_BOT = "(SELECT id FROM bots WHERE name = 'Old')"
_HISTORY = "INSERT INTO game_histories (game_id, bot_id, move_sequence)"
_SESSION = "INSERT INTO training_sessions (bot_id, config_id, hyperparameters, start_time) VALUES"


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            f"{_RESULT}) VALUES ({_OWN}, {_OLD_BOT}, 0, 0, 0, true)",
            "1 result on its games (written by hand)",
        ),
        (
            f"{_RESULT}) VALUES ({_FOREIGN}, {_OWN_BOT}, 0, 0, 0, true)",
            "1 result of its bots on other games (written by hand)",
        ),
        (
            f"{_HISTORY} VALUES ({_OWN}, {_OLD_BOT}, '[]')",
            "1 history on its games (from no file)",
        ),
        (
            f"{_HISTORY} VALUES ({_FOREIGN}, {_OWN_BOT}, '[]')",
            "1 history of its bots on other games (from no file)",
        ),
        (
            "INSERT INTO games (benchmark_set_id, game_index, board_state) VALUES (2, 99, '[[1]]')",
            "1 game in its sets (written by hand)",
        ),
        (
            "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed) VALUES ('x', 2, 1, 1)",
            "1 set with its board configs (written by hand)",
        ),
        (f"{_SESSION} ({_OWN_BOT}, NULL, '{{}}', now())", "1 training session of its bots (from no file)"),
        (
            f"{_SESSION} ({_OLD_BOT}, 2, '{{}}', now())",
            "1 training session with its board configs (from no file)",
        ),
    ],
)
def test_rows_of_others_that_hang_on_it_are_named(
    settings: Settings, engine: Engine, folder: Path, statement: str, says: str
) -> None:
    """And nothing is changed, however few they are."""
    migrate(settings, write_legacy(folder / "old", bots=("Old",)))
    run = migrate(settings, write_legacy(folder / "own", config=(2, 2, 3), bots=("Own",)))
    assert tamper(engine, statement) == 1
    state = database_state(engine)
    with pytest.raises(DependentRowsError) as caught:
        _rollback(settings, run.run_id)
    assert says in caught.value.message
    assert "nothing was changed" in (caught.value.hint or "")
    assert database_state(engine) == state


@pytest.mark.parametrize(
    ("later", "says"),
    [
        ({"num_games": 30}, "a file of its set 1"),
        ({"num_games": 5}, "a file of its set 1"),
        ({"bots": ("B",)}, "10 results on its games"),
        ({"bots": (), "spoil": lambda data: data["games"].clear()}, "a file of its set 1"),
    ],
)
def test_later_files_of_its_sets_are_named(
    settings: Settings, engine: Engine, folder: Path, later: dict[str, Any], says: str
) -> None:
    """Larger, smaller, with another bot or with nothing: taken back first, they are in the way no longer."""
    run = migrate(settings, write_legacy(folder / "own", num_games=10))
    path = write_legacy(folder / "later", **later)
    after = migrate(settings, path)
    state = database_state(engine)
    with pytest.raises(DependentRowsError) as caught:
        _rollback(settings, run.run_id)
    assert f"{says} (run {after.run_id}, {path})" in caught.value.message
    assert f"sgdb rollback {after.run_id}" in (caught.value.hint or "")
    assert database_state(engine) == state
    _rollback(settings, after.run_id)
    _rollback(settings, run.run_id)
    assert count(engine, "benchmark_sets") == 0


def test_later_files_that_have_some_of_its_rows_are_named(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """In a set of others, with how many; files that have none of them are not in the way."""
    first, run, other, after = (
        migrate(settings, write_legacy(folder / name, **values)).run_id
        for name, values in {
            "first": {"num_games": 10},
            "own": {"num_games": 20},
            "other": {"num_games": 5, "bots": ("B",)},
            "after": {"num_games": 15, "bots": ("LargestGroupBot", "B"), "num_results": 12},
        }.items()
    )
    with pytest.raises(DependentRowsError) as caught:
        _rollback(settings, run)
    # Its games 10 to 14, two results on these; and two of another bot, which hang on its games.
    assert caught.value.message == (
        f"run {run} cannot be taken back, others need it: "
        f"2 results on its games (run {after}, {folder / 'after'}); "
        f"a file that has 5 of its games and 2 of its results (run {after}, {folder / 'after'})"
    )
    _rollback(settings, after)
    assert _rollback(settings, run).removed["games"] == 10
    assert verify(VerifyOptions(), settings).equal
    assert _rollback(settings).run_id == other
    assert _rollback(settings).run_id == first


def test_what_programs_have_stored_since_is_in_the_way(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """They rely on what they found there, in the run's own sets and in others; not on what came later."""
    migrate(settings, write_legacy(folder / "a", num_games=5))
    source_id = _save(engine, 1)
    larger = migrate(settings, write_legacy(folder / "b", num_games=10))
    assert _rollback(settings).run_id == larger.run_id
    larger = migrate(settings, folder / "b")
    with transaction(engine) as connection:
        remember_files(connection, source_id, 1)
    with pytest.raises(DependentRowsError, match=r"what is in set 1 \(saved by a program\)"):
        _rollback(settings, larger.run_id)
    own = migrate(settings, write_legacy(folder / "c", base_seed=1))
    _save(engine, 2)
    with pytest.raises(DependentRowsError, match=r"what is in set 2 \(saved by a program\)"):
        _rollback(settings, own.run_id)
    tamper(engine, "DELETE FROM source_files WHERE status = 'saved'")
    _save(engine, 1, remembers=False)  # a program that has not left word is taken to rely on everything
    with pytest.raises(DependentRowsError, match=r"what is in set 1 \(saved by a program\)"):
        _rollback(settings, larger.run_id)


def test_what_a_program_was_told_is_saved_stays(settings: Settings, engine: Engine, folder: Path) -> None:
    """It wrote nothing, since a file had brought the very same results. Files that came later can go."""
    run = migrate(settings, write_legacy(folder / "a", num_games=10, bots=("A",)))
    with PostgresStorage(settings, GameConfig(5, 5, 3), 42) as storage:
        rows = storage.load_results("A")
        storage.save_results("A", rows)
        later = migrate(settings, write_legacy(folder / "b", num_games=20, bots=("A",)))
        with pytest.raises(DependentRowsError, match=r"what is in set 1 \(saved by a program\)"):
            _rollback(settings, run.run_id)
        assert _rollback(settings).run_id == later.run_id
        assert storage.load_results("A") == rows
        storage.save_results("B", [rows[3]._replace(bot_name="B")])
        migrate(settings, folder / "b")
        assert _rollback(settings).removed["results"] == 10
        assert storage.load_results("B") != []
    assert verify(VerifyOptions(), settings).equal


def test_a_programs_results_inherit_the_bot(settings: Settings, engine: Engine, folder: Path) -> None:
    """A program that uses the run's bot elsewhere would have made it; what it saved on the run's own games is
    in the way."""
    migrate(settings, write_legacy(folder / "a", bots=("A",)))
    run = migrate(settings, write_legacy(folder / "b", base_seed=1, bots=("B",)))
    source_id = _save(engine, 1)
    game = "(SELECT min(id) FROM games WHERE benchmark_set_id = {})"
    insert = f"{_RESULT}, source_file_id) VALUES ({game}, {{}}, 0, 0, 0, true, {source_id})"
    tamper(engine, insert.format(1, 2))
    tamper(engine, insert.format(2, 1))
    with pytest.raises(DependentRowsError, match=r"1 result on its games \(saved by a program\)"):
        _rollback(settings, run.run_id)
    tamper(
        engine, f"DELETE FROM game_results WHERE game_id = {game.format(2)} AND source_file_id = {source_id}"
    )
    assert _rollback(settings, run.run_id).kept == {"bots": 1, "configs": 0}
    assert ask(engine, "SELECT source_file_id FROM bots WHERE name = 'B'") == [(source_id,)]


def test_many_dependents_are_named_in_part(settings: Settings, folder: Path) -> None:
    """A message is for reading."""
    run = migrate(settings, write_legacy(folder / "own"))
    for number in range(12):
        migrate(settings, write_legacy(folder / f"later {number}", num_games=number + 11, bots=()))
    with pytest.raises(DependentRowsError, match=r"; and \d+ more") as caught:
        _rollback(settings, run.run_id)
    assert caught.value.message.count(str(folder)) == 10


# -- which run ------------------------------------------------------------------------------------


def test_without_a_number_the_newest_that_brought_something(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """Not the one that only refused files, not one taken back already; and when there is none left, nothing
    happens."""
    first = migrate(settings, write_legacy(folder / "a"))
    second = migrate(settings, write_legacy(folder / "b", base_seed=1))
    refused = migrate(settings, write_legacy(folder / "c", spoil_bytes=lambda raw: raw[:-1]))
    assert refused.run_id is not None
    assert [_rollback(settings).run_id for _ in range(2)] == [second.run_id, first.run_id]
    state = database_state(engine)
    nothing = _rollback(settings)
    assert (nothing.run_id, nothing.files, nothing.rollback_run_id) == (None, [], None)
    nothing = _rollback(settings, refused.run_id)
    assert (nothing.run_id, nothing.files, nothing.rollback_run_id) == (refused.run_id, [], None)
    assert database_state(engine) == state


def test_runs_that_cannot_be_taken_back(settings: Settings, engine: Engine, folder: Path) -> None:
    """Unknown, taken back already, or of another kind: each said as what it is, and nothing changed."""
    run = migrate(settings, write_legacy(folder / "a"))
    result = _rollback(settings)
    state = database_state(engine)
    with pytest.raises(NotFoundError, match="no run 99"):
        _rollback(settings, 99)
    with pytest.raises(
        UsageError, match=f"run 1 has been taken back already by run {result.rollback_run_id}"
    ):
        _rollback(settings, run.run_id)
    with pytest.raises(UsageError, match=f"run {result.rollback_run_id} is a rollback"):
        _rollback(settings, result.rollback_run_id)
    assert database_state(engine) == state


def test_a_run_at_work_is_left_alone(settings: Settings, engine: Engine, folder: Path) -> None:
    """At once, whether named or not, between two of its files; when it has ended, it can be taken back."""
    write_legacy(folder / "1")
    write_legacy(folder / "2", base_seed=1)
    refused: list[BaseException] = []

    def take_back(_: int) -> None:
        if count(engine, "runs"):
            for run_id in (None, 1):
                with pytest.raises(BusyError, match="run 1 is still at work") as caught:
                    _rollback(settings, run_id)
                refused.append(caught.value)

    run = migrate(settings, folder, progress=Listener(take_back))
    assert refused
    assert run.totals["files"]["migrated"] == 2
    assert _rollback(settings).run_id == run.run_id


def test_a_run_that_comes_back_to_life_is_left_alone(
    settings: Settings, engine: Engine, elsewhere: Engine, folder: Path
) -> None:
    """It seemed to be broken off, has found a new connection meanwhile, and waits for the same locks."""
    migrate(settings, write_legacy(folder / "a"))
    tamper(engine, "UPDATE runs SET status = 'running', finished_at = NULL")
    with elsewhere.connect() as other:

        def go_on() -> None:
            other.execute(text("SELECT FROM runs FOR SHARE"))

        with pytest.raises(BusyError):
            _rollback(settings, progress=Listener(on_start=go_on))
    assert count(engine, "games") == 10


def test_a_run_that_broke_off_can_be_taken_back(settings: Settings, engine: Engine, folder: Path) -> None:
    """What it committed before it was killed goes, and its record says that it never ended."""
    migrate(settings, write_legacy(folder / "a"))
    tamper(engine, "UPDATE runs SET status = 'running', finished_at = NULL")
    assert _rollback(settings).removed["games"] == 10
    assert ask(engine, "SELECT status, finished_at, options FROM runs ORDER BY id DESC LIMIT 1") != []
    assert ask(engine, "SELECT status, finished_at FROM runs WHERE id = 1") == [("rolled-back", None)]
    assert ask(engine, "SELECT options FROM runs WHERE kind = 'rollback'") == [
        ({"run": 1, "was": "running"},)
    ]


# -- dry run, and others at work ------------------------------------------------------------------


def test_a_dry_run_says_the_same_and_touches_nothing(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path
) -> None:
    """Same counts, files and refusals; no row, no sequence, no folder."""
    _base(folder, settings, engine)
    paths = _second(folder)
    migrate(settings, *paths)
    paths[0].unlink()
    state = database_state(engine)
    with pytest.raises(LastCopyError):
        _rollback(settings, dry_run=True)
    dry = _rollback(settings, dry_run=True, originals=tmp_path / "originals")
    assert database_state(engine) == state
    assert not (tmp_path / "originals").exists()
    real = _rollback(settings, originals=tmp_path / "originals")
    assert (dry.dry_run, dry.rollback_run_id) == (True, None)
    assert {**dry.to_json(), "dry_run": None, "rollback_run_id": None, "seconds": None} == {
        **real.to_json(), "dry_run": None, "rollback_run_id": None, "seconds": None,
    }  # fmt: skip


def _impatient(settings: Settings) -> Settings:
    return settings.model_copy(update={"lock_timeout": 0.3})


def test_it_waits_for_a_writer_that_knows_no_locks(
    settings: Settings, engine: Engine, elsewhere: Engine, folder: Path
) -> None:
    """A row that somebody has written and not committed yet is waited for; then it is in the way, or not."""
    run = migrate(settings, write_legacy(folder / "a", bots=("A", "B")))
    tamper(engine, "INSERT INTO bots (name) VALUES ('C')")
    insert = text(f"{_RESULT}) VALUES (1, 3, 0, 0, 0, true)")
    state = database_state(engine)
    with elsewhere.connect() as other:
        other.execute(insert)
        waiting = Listener()
        with pytest.raises(BusyError, match="sgdb's tables"):
            _rollback(_impatient(settings), progress=waiting)
        assert any("waiting" in notice for notice in waiting.notices)
        other.rollback()
    assert _without_sequences(database_state(engine)) == _without_sequences(state)

    for commits in (True, False):
        with elsewhere.connect() as other:
            other.execute(insert)
            listener = Listener()
            end = other.commit if commits else other.rollback
            listener.notice = lambda _, end=end: end()  # type: ignore[method-assign, misc]
            if commits:
                with pytest.raises(DependentRowsError, match=r"1 result on its games \(written by hand\)"):
                    _rollback(settings, progress=listener)
                tamper(engine, "DELETE FROM game_results WHERE bot_id = 3")
            else:
                assert _rollback(settings, progress=listener).run_id == run.run_id


def _without_sequences(state: dict[str, Any]) -> dict[str, Any]:
    return {table: state[table] for table in Base.metadata.tables}


def test_nobody_writes_while_it_is_at_work(
    settings: Settings, engine: Engine, elsewhere: Engine, folder: Path
) -> None:
    """A writer that knows no locks waits for it, finds the game gone, and leaves nothing behind."""
    migrate(settings, write_legacy(folder / "a", num_games=200))
    tamper(engine, "INSERT INTO bots (name) VALUES ('C')")
    refused: list[BaseException] = []

    def write() -> None:
        try:
            tamper(elsewhere, f"{_RESULT}) VALUES (1, 2, 0, 0, 0, true)")
        except Exception as error:
            refused.append(error)

    # A trigger tells that the rows are being removed, and holds the transaction up until the writer waits.
    tamper(
        engine,
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM pg_advisory_lock_shared(4711); PERFORM pg_advisory_unlock_shared(4711); RETURN NULL; END $$",
    )
    tamper(engine, "CREATE TRIGGER hold AFTER DELETE ON games FOR EACH STATEMENT EXECUTE FUNCTION hold()")
    with elsewhere.connect() as holder:
        holder.execute(text("SELECT pg_advisory_lock(4711)"))
        taking_back = threading.Thread(target=_rollback, args=(settings,))
        taking_back.start()
        _until(engine, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted")
        writer = threading.Thread(target=write)
        writer.start()
        _until(engine, "SELECT 1 FROM pg_locks WHERE locktype = 'relation' AND NOT granted")
        holder.execute(text("SELECT pg_advisory_unlock(4711)"))
        taking_back.join()
        writer.join()
    assert "foreign key" in str(refused[0])
    assert (count(engine, "games"), count(engine, "game_results")) == (0, 0)


def _until(engine: Engine, query: str) -> None:
    for _ in range(10_000):
        if ask(engine, query):
            return
    raise AssertionError("it never came to that")


def test_it_waits_for_other_commands(settings: Settings, engine: Engine, folder: Path) -> None:
    """A migration of any other set is waited for, as long as the settings say."""
    migrate(settings, write_legacy(folder / "a"))
    state = database_state(engine)
    with transaction(engine) as connection:
        lock_set(connection, GameConfig(9, 9, 9), 1, timeout=1)
        with pytest.raises(BusyError):
            _rollback(_impatient(settings))
    assert database_state(engine) == state


def test_a_run_whose_record_changes_meanwhile_is_left_alone(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """Its files were accounted for as they were; if one of them has become the last copy since, nothing is
    lost by that."""
    path = write_legacy(folder / "a")
    migrate(settings, path)
    tamper(engine, "DELETE FROM game_results")
    again = migrate(settings, path)
    path.unlink()
    state: list[Any] = []

    def forget_the_other() -> None:
        tamper(engine, "UPDATE source_files SET archive_id = NULL WHERE run_id = 1")
        state.append(database_state(engine))

    with pytest.raises(BusyError, match="changed meanwhile"):
        _rollback(settings, again.run_id, progress=Listener(on_start=forget_the_other))
    assert database_state(engine) == state[0]


# -- the last copy of a file ----------------------------------------------------------------------


def _remove(path: Path) -> None:
    path.unlink()


def _overwrite(path: Path) -> None:
    write_legacy(path, base_seed=77)


def _same_size(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-100] ^= 1
    path.write_bytes(raw)


def _folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _file_for_a_folder(path: Path) -> None:
    path.unlink()
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.write_text("")


@pytest.mark.parametrize("lose", [_remove, _overwrite, _same_size, _folder_instead, _file_for_a_folder])
def test_the_last_copy_of_a_file_is_not_destroyed_unasked(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    """Gone, or other bytes in its place: it is named, and written back first if a folder is given."""
    path = write_legacy(folder / "a.pkl", num_games=60)
    raw = path.read_bytes()
    migrate(settings, path)
    lose(path)
    state = database_state(engine)
    with pytest.raises(LastCopyError) as caught:
        _rollback(settings)
    assert str(path) in caught.value.message
    assert "--originals FOLDER" in (caught.value.hint or "")
    assert database_state(engine) == state
    result = _rollback(settings, originals=tmp_path / "deep" / "originals")
    assert [(file.original, file.written_to) for file in result.files] == [
        ("written", str(tmp_path / "deep" / "originals" / "a.pkl"))
    ]
    assert (tmp_path / "deep" / "originals" / "a.pkl").read_bytes() == raw
    assert count(engine, "archives") == count(engine, "archive_chunks") == 0


def test_originals_of_one_name_and_those_written_before(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path
) -> None:
    """Each gets a name of its own; what an earlier attempt has written is taken as it is; what is somebody
    else's is never overwritten."""
    raws = []
    for number in range(2):
        (folder / str(number)).mkdir()
        path = write_legacy(folder / str(number) / "x", base_seed=number)
        raws.append(path.read_bytes())
    migrate(settings, folder, recursive=True)
    hashes = [sha256 for (sha256,) in ask(engine, "SELECT sha256 FROM source_files ORDER BY id")]
    for number in range(2):
        (folder / str(number) / "x").unlink()
    to = tmp_path / "to"
    to.mkdir()
    (to / "x").write_bytes(raws[0])
    second = to / f"{hashes[1][:8]}.x"
    second.write_text("mine")
    state = database_state(engine)
    with pytest.raises(AlreadyExistsError, match="with other bytes"):
        _rollback(settings, originals=to)
    assert (database_state(engine), second.read_text()) == (state, "mine")
    second.unlink()
    result = _rollback(settings, originals=to)
    assert [file.written_to for file in result.files] == [str(to / "x"), str(second)]
    assert [(to / "x").read_bytes(), second.read_bytes()] == raws


def test_a_damaged_original_is_not_given_out(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path
) -> None:
    """Nothing is written, nothing is removed."""
    path = write_legacy(folder / "a", num_games=60)
    migrate(settings, path)
    path.unlink()
    tamper(engine, "UPDATE archive_chunks SET data = set_byte(data, 200, 255 - get_byte(data, 200))")
    state = database_state(engine)
    with pytest.raises(ArchiveError):
        _rollback(settings, originals=tmp_path / "to")
    assert database_state(engine) == state
    assert list((tmp_path / "to").iterdir()) == []


def test_a_file_whose_original_was_not_kept(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path
) -> None:
    """Its rows are the last copy: they are to be exported, or given up by name. While it is there, it is no
    obstacle."""
    path = write_legacy(folder / "a")
    migrate(settings, path, archive=False)
    moved = path.rename(tmp_path / "elsewhere")
    for options in ({}, {"originals": tmp_path / "to"}):
        with pytest.raises(LastCopyError, match="no original is stored") as caught:
            _rollback(settings, **options)
        assert "sgdb export --set 1 --to FOLDER" in (caught.value.hint or "")
    moved.rename(path)
    assert _rollback(settings).files[0].original == "on disk"
    migrate(settings, path, archive=False)
    path.unlink()
    assert _rollback(settings, discard_originals=True).files[0].original == "discarded"
    assert count(engine, "games") == 0


def test_writing_and_discarding_together(settings: Settings, folder: Path, tmp_path: Path) -> None:
    """What can be written is, and the rest goes."""
    stored, not_stored = (write_legacy(folder / name, base_seed=seed) for seed, name in enumerate("ab"))
    migrate(settings, stored)
    _rollback(settings)
    run = RollbackOptions(originals=tmp_path / "to", discard_originals=True)
    migrate(settings, not_stored, archive=False)
    not_stored.unlink()
    result = rollback(run, settings)
    assert [file.original for file in result.files] == ["discarded"]
    assert not (tmp_path / "to").exists()


def test_an_original_that_another_run_has_too_stays(settings: Settings, engine: Engine, folder: Path) -> None:
    """It is no last copy; it goes with the last run that has it."""
    path = write_legacy(folder / "a")
    migrate(settings, path)
    tamper(engine, "DELETE FROM game_results")
    migrate(settings, path)
    path.unlink()
    assert _rollback(settings).files[0].original == "kept"
    assert count(engine, "archives") == 1
    with pytest.raises(LastCopyError):
        _rollback(settings)


# -- any order ------------------------------------------------------------------------------------

_FILES: dict[str, dict[str, Any]] = {
    "5": {"num_games": 5},
    "12": {"num_games": 12, "bots": ("LargestGroupBot", "B")},
    "20": {"num_games": 20, "num_results": 15},
    "reopened": {"num_games": 3, "num_results": 9, "bots": ("C",)},
    "other seed": {"base_seed": 7, "num_games": 6, "bots": ("B", "D")},
    "other shape": {"config": (2, 3, 4), "num_games": 4, "bots": ("LargestGroupBot",)},
    "other shape, empty": {"config": (2, 3, 4), "num_games": 0, "bots": ("E",), "base_seed": 3},
    "cut off": {"spoil_bytes": lambda raw: raw[:-1]},
}
_STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.lists(st.sampled_from(sorted(_FILES)), min_size=1, max_size=4, unique=True), st.booleans()
        ),
        st.integers(0, 5),
    ),
    min_size=2,
    max_size=9,
)


@given(steps=_STEPS)
@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_taken_back_in_whatever_order(
    steps: list[Any], settings: Settings, engine: Engine, folder: Path
) -> None:
    """Runs come and go; what is left is what the remaining runs alone would have brought, and verifies."""
    for name, values in _FILES.items():
        if not (folder / name).exists():
            write_legacy(folder / name, **values)
    _empty(engine)
    remaining: dict[int, tuple[list[Path], bool]] = {}
    for step in steps:
        if isinstance(step, tuple):
            names, archive = step
            run = migrate(settings, *(folder / name for name in names), archive=archive)
            if run.run_id is not None:
                files = [Path(file["path"]) for file in run_files(run.run_id, settings)]
                remaining[run.run_id] = files, archive
        elif remaining:
            run_id = sorted(remaining)[step % len(remaining)]
            state = database_state(engine)
            try:
                if _rollback(settings, run_id).files:
                    del remaining[run_id]
            except DependentRowsError:
                assert database_state(engine) == state
    assert verify(VerifyOptions(), settings).equal
    found = _content(engine)
    _empty(engine)
    for files, archive in remaining.values():
        migrate(settings, *files, archive=archive)
    assert found == _content(engine)


def _empty(engine: Engine) -> None:
    tamper(engine, f"TRUNCATE {', '.join(Base.metadata.tables)} RESTART IDENTITY CASCADE")
