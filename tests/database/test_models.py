"""What the tables themselves refuse, remember and let go, whoever writes to them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError

from sgdb.database.engine import transaction
from sgdb.database.models import (
    Archive,
    ArchiveChunk,
    Base,
    BenchmarkSet,
    Blob,
    Bot,
    DepartingGame,
    Game,
    GameConfigRow,
    GameHistory,
    GameResult,
    GameTotals,
    ModelCheckpoint,
    ResultTotals,
    Run,
    SourceFile,
    TrainingSession,
)

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
SHA256 = "0123456789abcdef" * 4

# One good row of each table, in an order in which they can be inserted.
GOOD: dict[type[Base], dict[str, Any]] = {
    Run: {"id": 1, "sgdb_version": "1.0"},
    Archive: {"id": 1, "sha256": SHA256, "size_bytes": 9, "compression": "zlib", "stored_bytes": 5},
    ArchiveChunk: {"archive_id": 1, "chunk_index": 0, "data": b"\x00\xff"},
    SourceFile: {"id": 1, "run_id": 1, "path": "a.pkl", "status": "migrated", "archive_id": 1},
    GameConfigRow: {"id": 1, "num_rows": 1, "num_cols": 2, "num_colors": 3, "source_file_id": 1},
    BenchmarkSet: {"id": 1, "name": "set", "config_id": 1, "num_games": 1, "base_seed": 2**63 - 1},
    Game: {"id": 1, "benchmark_set_id": 1, "game_index": 0, "board_state": [[1, 1]], "seed": -(2**63)},
    Bot: {"id": 1, "name": "bot"},
    GameResult: {
        "id": 1,
        "game_id": 1,
        "bot_id": 1,
        "tiles_cleared": 2,
        "singles_remaining": 0,
        "moves_made": 1,
        "completed": True,
    },
    TrainingSession: {"id": 1, "bot_id": 1, "hyperparameters": {}, "start_time": NOON},
    Blob: {"sha256": SHA256, "size_bytes": 2, "data": b"\x00\xff"},
    ModelCheckpoint: {"id": 1, "training_session_id": 1, "epoch": 0, "weights_sha256": SHA256},
    GameHistory: {"id": 1, "game_id": 1, "bot_id": 1, "move_sequence": [[0, 0]]},
}
# Tables that only triggers write.
KEPT: set[type[Base]] = {ResultTotals, GameTotals, DepartingGame}

REFUSED: list[tuple[type[Base], str, Any]] = [
    (GameConfigRow, "num_rows", 0),
    (GameConfigRow, "num_cols", 0),
    (GameConfigRow, "num_colors", -1),
    (BenchmarkSet, "num_games", -1),
    (BenchmarkSet, "config_id", None),
    (BenchmarkSet, "base_seed", None),
    (Game, "benchmark_set_id", None),
    (Game, "game_index", -1),
    (Game, "board_state", None),
    (Game, "board_state", {"rows": []}),
    (Bot, "name", None),
    (GameResult, "game_id", 999),
    (GameResult, "bot_id", None),
    (GameResult, "tiles_cleared", -1),
    (GameResult, "singles_remaining", -1),
    (GameResult, "moves_made", -1),
    (GameResult, "completed", None),
    (GameResult, "execution_time_ms", -0.001),
    (GameResult, "execution_time_ms", float("nan")),
    (GameResult, "execution_time_ms", float("inf")),
    (TrainingSession, "hyperparameters", None),
    (TrainingSession, "start_time", None),
    (TrainingSession, "status", "asleep"),
    (TrainingSession, "uid", None),
    (Blob, "sha256", SHA256.upper()),
    (Blob, "size_bytes", -1),
    (Blob, "size_bytes", 3),
    (ModelCheckpoint, "epoch", None),
    (ModelCheckpoint, "weights_sha256", SHA256[::-1]),
    (ModelCheckpoint, "optimizer_sha256", SHA256[::-1]),
    (ModelCheckpoint, "file_size_bytes", -1),
    (GameHistory, "move_sequence", "north"),
    (Run, "status", "asleep"),
    (SourceFile, "status", "maybe"),
    (SourceFile, "run_id", None),
    (SourceFile, "sha256", SHA256.upper()),
    (SourceFile, "size_bytes", -1),
    (Archive, "sha256", SHA256[1:]),
    (Archive, "stored_bytes", -1),
    (ArchiveChunk, "chunk_index", -1),
]


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """A database with one good row in each table."""
    with transaction(engine) as connection:
        for model, values in GOOD.items():
            connection.execute(insert(model).values(values))
        connection.execute(update(SourceFile).values(benchmark_set_id=1))
        connection.execute(update(BenchmarkSet).values(source_file_id=1))
    return engine


def count(connection: Connection, model: type[Base]) -> int:
    return connection.execute(select(func.count()).select_from(model)).scalar_one()


def test_every_table_takes_a_row(filled: Engine) -> None:
    """The rows that the tests below spoil are good ones, and no table is left out."""
    assert {model.__table__ for model in {*GOOD, *KEPT}} == set(Base.metadata.sorted_tables)
    with transaction(filled, read_only=True) as connection:
        assert [count(connection, model) for model in GOOD] == [1] * len(GOOD)


@pytest.mark.parametrize(
    ("model", "column", "value"), REFUSED, ids=[f"{model.__name__}.{name}={v}" for model, name, v in REFUSED]
)
def test_bad_values_are_refused(engine: Engine, model: type[Base], column: str, value: Any) -> None:
    """A value that means nothing does not get in, by whatever road it comes."""
    with engine.connect() as connection:
        for other, values in GOOD.items():
            if other is model:
                with pytest.raises(IntegrityError):
                    connection.execute(insert(model).values({**values, column: value}))
                break
            connection.execute(insert(other).values(values))


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (GameConfigRow, {}),
        (BenchmarkSet, {"name": "other"}),
        (Game, {"board_state": [[2, 2]]}),
        (Bot, {}),
        (GameResult, {"moves_made": 7}),
        (ModelCheckpoint, {}),
        (GameHistory, {"move_sequence": []}),
        (Archive, {"size_bytes": 10}),
    ],
)
def test_no_second_row_of_the_same_thing(filled: Engine, model: type[Base], changes: dict[str, Any]) -> None:
    """What identifies a thing is unique, so that a race of two writers ends with one row."""
    with filled.connect() as connection, pytest.raises(IntegrityError, match="uq_"):
        connection.execute(insert(model).values({**GOOD[model], **changes, "id": 2}))


def test_defaults(filled: Engine) -> None:
    """What a writer leaves out is filled in by the database, not by one of its clients."""
    with transaction(filled, read_only=True) as connection:
        now = connection.execute(select(func.now())).scalar_one()
        assert connection.execute(select(Bot.version, Bot.bot_type)).one() == ("1.0", None)
        assert connection.execute(select(TrainingSession.status)).scalar_one() == "running"
        run = connection.execute(select(Run.kind, Run.status, Run.started_at)).one()
    assert run[:2] == ("migrate-pickles", "running")
    assert run.started_at <= now
    assert run.started_at.utcoffset() is not None


def test_values_come_back_as_they_were(filled: Engine) -> None:
    """Seeds use all 64 bits, bytes all values; a board stays the text it was."""
    with transaction(filled) as connection:
        connection.execute(text("""UPDATE games SET board_state = '[ [1,1] ]'"""))
        assert connection.scalar(text("SELECT board_state::text FROM games")) == "[ [1,1] ]"
        assert connection.execute(select(Game.seed, Game.board_state)).one() == (-(2**63), [[1, 1]])
        assert connection.scalar(select(BenchmarkSet.base_seed)) == 2**63 - 1
        assert connection.execute(select(ArchiveChunk.data)).scalar_one() == b"\x00\xff"


def test_nothing_to_say_is_null(filled: Engine) -> None:
    """A Python None is stored as NULL and not as the JSON value null."""
    with transaction(filled) as connection:
        connection.execute(update(Bot).values(metadata_=None))
        connection.execute(update(SourceFile).values(notes=None, contents=None))
        for query in (
            select(Bot.metadata_.is_(None)),
            select(SourceFile.notes.is_(None) & SourceFile.contents.is_(None)),
            select(GameHistory.board_states.is_(None)),
        ):
            assert connection.execute(query).scalar_one() is True


def test_naive_times_are_refused(filled: Engine) -> None:
    """A time without a zone would mean something else on every server."""
    with filled.connect() as connection, pytest.raises(StatementError, match="no time zone"):
        connection.execute(update(TrainingSession).values(end_time=NOON.replace(tzinfo=None)))


def test_results_and_histories_go_with_their_game(filled: Engine) -> None:
    """A game that is deleted takes its results and histories with it, and nothing else."""
    with transaction(filled) as connection:
        connection.execute(delete(Game))
        gone = [model for model in GOOD if count(connection, model) == 0]
    assert gone == [Game, GameResult, GameHistory]


def test_chunks_go_with_their_archive(filled: Engine) -> None:
    """An archive is deleted whole, and only when no file refers to it any more."""
    with filled.connect() as connection, pytest.raises(IntegrityError, match="fk_source_files_archive_id"):
        connection.execute(delete(Archive))
    with transaction(filled) as connection:
        connection.execute(update(SourceFile).values(archive_id=None))
        connection.execute(delete(Archive))
        assert count(connection, ArchiveChunk) == 0


def test_a_set_stays_while_it_has_games(filled: Engine) -> None:
    """Games are never lost by deleting their set."""
    with filled.connect() as connection, pytest.raises(IntegrityError, match="fk_games_benchmark_set_id"):
        connection.execute(delete(BenchmarkSet))


def test_the_record_of_a_file_outlives_its_set(filled: Engine) -> None:
    """What was read when is still known after the set has been taken back."""
    with transaction(filled) as connection:
        connection.execute(delete(Game))
        connection.execute(delete(BenchmarkSet))
        row = connection.execute(select(SourceFile.path, SourceFile.benchmark_set_id)).one()
    assert row == ("a.pkl", None)


@pytest.mark.parametrize("model", [Bot, GameResult])
def test_metadata_is_searched_by_index(engine: Engine, model: type[Base]) -> None:
    """Containment uses the partial GIN index although the query does not repeat its condition."""
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        query = f'EXPLAIN SELECT id FROM {model.__tablename__} WHERE metadata @> \'{{"origin": "x"}}\''
        plan = "\n".join(connection.scalars(text(query)))
    assert f"ix_{model.__tablename__}_metadata" in plan


def test_a_bot_outlives_its_checkpoint(filled: Engine) -> None:
    """A checkpoint that is deleted takes no bot along; the bytes stay for whoever has the same."""
    with transaction(filled) as connection:
        connection.execute(update(Bot).values(checkpoint_id=1))
        connection.execute(delete(ModelCheckpoint))
        assert connection.execute(select(Bot.name, Bot.checkpoint_id)).one() == ("bot", None)
        assert count(connection, Blob) == 1


def test_bytes_that_are_needed_do_not_go(filled: Engine) -> None:
    """As long as a checkpoint names them, nobody can delete them."""
    with filled.connect() as connection, pytest.raises(IntegrityError, match="weights_sha256"):
        connection.execute(delete(Blob))


def test_a_part_of_the_bytes_can_be_read(filled: Engine) -> None:
    """Weights take on disk what they are long, so that a part is read without unpacking the rest."""
    with transaction(filled) as connection:
        connection.execute(update(Blob).values(data=b"a" * 100_000, size_bytes=100_000))
        assert connection.scalar(select(func.pg_column_size(Blob.data))) == 100_000


def test_archived_bytes_are_not_compressed_again(filled: Engine) -> None:
    """Chunks take on disk what they are long, even where PostgreSQL could shrink them."""
    with transaction(filled) as connection:
        connection.execute(update(ArchiveChunk).values(data=b"a" * 100_000))
        stored = connection.scalar(select(func.pg_column_size(ArchiveChunk.data)))
    assert stored == 100_000


def test_every_column_is_documented() -> None:
    """docs/schema.md has a section for each table, and a line for each column that is not common to all."""
    page = (Path(__file__).parents[2] / "docs" / "schema.md").read_text(encoding="utf-8")
    common = {"id", "created_at", "source_file_id"}
    sections = {heading.partition(":")[0]: text for heading, _, text in _sections(page)}
    for table in Base.metadata.sorted_tables:
        section = next(text for names, text in sections.items() if table.name in names.split(", "))
        for column in set(table.columns.keys()) - common:
            assert f"`{column}`" in section or f"`{table.name}.{column}`" in section, (table.name, column)


def _sections(page: str) -> list[tuple[str, str, str]]:
    return [part.partition("\n") for part in page.split("\n### ")[1:]]
