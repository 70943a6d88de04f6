"""The one description of sgdb's tables, as SQLAlchemy sees them.

Alembic alone makes the tables; a test migrates one database, builds another from this module and
compares the two. What each column means, and where it departs from the original list and why, stands
in docs/schema.md.

There are no relationships: rows travel by the million through COPY and Core statements, and a lazy load
behind an attribute would be a query that nobody asked for.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import BYTEA, CHAR, JSON, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class AwareDateTime(TypeDecorator[datetime]):
    """`timestamptz` that refuses naive times, whose meaning the session's time zone would decide."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The value itself; raises ValueError when it has no time zone."""
        if value is not None and value.utcoffset() is None:
            raise ValueError(f"the time {value.isoformat()} has no time zone")
        return value


class Base(DeclarativeBase):
    """Names every constraint and index by one rule, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        }
    )
    # none_as_null: a Python None would otherwise become the JSON value null, which IS NOT NULL.
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's own protocol
        datetime: AwareDateTime,
        dict[str, Any]: JSONB(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


SmallKey = Annotated[int, mapped_column(Identity(), primary_key=True)]
BigKey = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
CreatedAt = Annotated[datetime, mapped_column(server_default=func.now())]
# Not indexed: 8 bytes a row for taking back a run, which reaches its rows through their set anyway.
SourceFileId = Annotated[int | None, mapped_column(BigInteger, ForeignKey("source_files.id"))]
TotalsSetId = Annotated[
    int, mapped_column(ForeignKey("benchmark_sets.id", ondelete="CASCADE"), primary_key=True)
]
Sha256 = Annotated[str, mapped_column(CHAR(64))]
# Indexed where there is one: a content that nobody needs any more is looked for here before it goes.
BlobHash = Annotated[str | None, mapped_column(CHAR(64), ForeignKey("blobs.sha256"))]


def _not_negative(*columns: str) -> list[CheckConstraint]:
    return [CheckConstraint(f"{column} >= 0", name=f"{column}_not_negative") for column in columns]


def _positive(*columns: str) -> list[CheckConstraint]:
    return [CheckConstraint(f"{column} > 0", name=f"{column}_positive") for column in columns]


def _sha256_form() -> CheckConstraint:
    return CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_form")


def _where_given(column: str) -> Index:
    return Index(None, column, postgresql_where=text(f"{column} IS NOT NULL"))


def _metadata_search() -> Index:
    # Partial, since nearly all rows have none and each would cost an entry. A search by `@>` implies
    # that the column is not null, so the planner still takes it.
    return Index(None, "metadata", postgresql_using="gin", postgresql_where=text("metadata IS NOT NULL"))


class GameConfigRow(Base):
    """A board shape. `GameConfig` itself is the record in `sgdb.records`."""

    __tablename__ = "game_configs"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("num_rows", "num_cols", "num_colors"),
        *_positive("num_rows", "num_cols", "num_colors"),
    )

    id: Mapped[SmallKey]
    num_rows: Mapped[int]
    num_cols: Mapped[int]
    num_colors: Mapped[int]
    name: Mapped[str | None] = mapped_column(String(100))
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    created_at: Mapped[CreatedAt]
    source_file_id: Mapped[SourceFileId]


class BenchmarkSet(Base):
    """A fixed list of boards, named by shape, base seed and declared size."""

    __tablename__ = "benchmark_sets"
    __table_args__ = (
        UniqueConstraint("config_id", "base_seed", "num_games"),
        *_not_negative("num_games"),
    )

    id: Mapped[SmallKey]
    name: Mapped[str] = mapped_column(String(255))
    config_id: Mapped[int] = mapped_column(ForeignKey("game_configs.id"))
    num_games: Mapped[int]
    base_seed: Mapped[int] = mapped_column(BigInteger)
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    source_file_id: Mapped[SourceFileId]


class Game(Base):
    """One board of a set."""

    __tablename__ = "games"
    __table_args__ = (
        UniqueConstraint("benchmark_set_id", "game_index"),
        *_not_negative("game_index"),
        CheckConstraint("json_typeof(board_state) = 'array'", name="board_state_array"),
    )

    id: Mapped[BigKey]
    benchmark_set_id: Mapped[int] = mapped_column(ForeignKey("benchmark_sets.id"))
    game_index: Mapped[int]
    board_state: Mapped[list[Any]]
    seed: Mapped[int | None] = mapped_column(BigInteger, index=True)
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    created_at: Mapped[CreatedAt]
    source_file_id: Mapped[SourceFileId]


class Bot(Base):
    """A player, known by name."""

    __tablename__ = "bots"
    __table_args__ = (UniqueConstraint("name"), _metadata_search(), _where_given("checkpoint_id"))

    id: Mapped[SmallKey]
    name: Mapped[str] = mapped_column(String(255))
    bot_type: Mapped[str | None] = mapped_column(String(100))
    version: Mapped[str | None] = mapped_column(String(50), server_default="1.0")
    # A session names the bot that is trained, and a bot the checkpoint that it is: one key comes second.
    checkpoint_id: Mapped[int | None] = mapped_column(
        ForeignKey("model_checkpoints.id", ondelete="SET NULL", use_alter=True)
    )
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    created_at: Mapped[CreatedAt]
    source_file_id: Mapped[SourceFileId]


class GameResult(Base):
    """One bot's outcome on one game."""

    __tablename__ = "game_results"
    __table_args__ = (
        UniqueConstraint("game_id", "bot_id"),
        *_not_negative("tiles_cleared", "singles_remaining", "moves_made"),
        # PostgreSQL sorts NaN above infinity, so the upper bound keeps both out.
        CheckConstraint(
            "execution_time_ms >= 0 AND execution_time_ms < 'Infinity'::double precision",
            name="execution_time_ms_finite",
        ),
        Index(None, "tiles_cleared", "completed"),
        _metadata_search(),
    )

    id: Mapped[BigKey]
    game_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("games.id", ondelete="CASCADE"))
    bot_id: Mapped[int] = mapped_column(ForeignKey("bots.id"), index=True)
    tiles_cleared: Mapped[int]
    singles_remaining: Mapped[int]
    moves_made: Mapped[int]
    completed: Mapped[bool]
    execution_time_ms: Mapped[float | None] = mapped_column(Double)
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    created_at: Mapped[CreatedAt]
    source_file_id: Mapped[SourceFileId]


class ResultTotals(Base):
    """What one bot's results in one set add up to: sums of integers, hence exact.

    Triggers keep it, in the transaction that changes a result; nobody else writes here. `revision` is new
    with every change of the results that the line stands for.
    """

    __tablename__ = "result_totals"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    benchmark_set_id: Mapped[TotalsSetId]
    bot_id: Mapped[int] = mapped_column(ForeignKey("bots.id", ondelete="CASCADE"), primary_key=True)
    results: Mapped[int] = mapped_column(BigInteger)
    completed: Mapped[int] = mapped_column(BigInteger)
    tiles_cleared_sum: Mapped[int] = mapped_column(BigInteger)
    tiles_cleared_square_sum: Mapped[Decimal]
    singles_remaining_sum: Mapped[int] = mapped_column(BigInteger)
    moves_made_sum: Mapped[int] = mapped_column(BigInteger)
    revision: Mapped[UUID]


class GameTotals(Base):
    """How many games one set has; `revision` is new with every change of them. Triggers keep it, too."""

    __tablename__ = "game_totals"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    benchmark_set_id: Mapped[TotalsSetId]
    games: Mapped[int] = mapped_column(BigInteger)
    revision: Mapped[UUID]


class DepartingGame(Base):
    """The set of a game whose deletion is under way, until its results are counted out. Empty for everybody
    but the transaction that deletes."""

    __tablename__ = "departing_games"

    game_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    benchmark_set_id: Mapped[int]


class TrainingSession(Base):
    """One training of an agent. `uid` is made by the program that trains, before it knows the database."""

    __tablename__ = "training_sessions"
    __table_args__ = (
        UniqueConstraint("uid"),
        CheckConstraint("status IN ('running', 'completed', 'failed', 'interrupted')", name="status_known"),
    )

    id: Mapped[SmallKey]
    uid: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    bot_id: Mapped[int] = mapped_column(ForeignKey("bots.id"), index=True)
    name: Mapped[str | None] = mapped_column(String(255))
    hyperparameters: Mapped[dict[str, Any]]
    config_id: Mapped[int | None] = mapped_column(ForeignKey("game_configs.id"))
    start_time: Mapped[datetime]
    end_time: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(String(50), server_default="running")
    final_metrics: Mapped[dict[str, Any] | None]
    heartbeat_at: Mapped[datetime | None]
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    created_at: Mapped[CreatedAt]
    source_file_id: Mapped[SourceFileId]


class ModelCheckpoint(Base):
    """The state of an agent after one epoch.

    The bytes are those of the blobs that the hashes name. `model_weights` and `optimizer_state` are for rows
    that others have written; sgdb reads them, and writes none.
    """

    __tablename__ = "model_checkpoints"
    __table_args__ = (
        UniqueConstraint("training_session_id", "epoch"),
        *_not_negative("file_size_bytes"),
        _where_given("weights_sha256"),
        _where_given("optimizer_sha256"),
    )

    id: Mapped[SmallKey]
    training_session_id: Mapped[int] = mapped_column(ForeignKey("training_sessions.id"))
    epoch: Mapped[int]
    model_weights: Mapped[bytes | None] = mapped_column(BYTEA)
    optimizer_state: Mapped[bytes | None] = mapped_column(BYTEA)
    weights_sha256: Mapped[BlobHash]
    optimizer_sha256: Mapped[BlobHash]
    metrics: Mapped[dict[str, Any] | None]
    file_path: Mapped[str | None] = mapped_column(Text)
    file_size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    metadata_: Mapped[dict[str, Any] | None] = mapped_column("metadata")
    created_at: Mapped[CreatedAt]
    source_file_id: Mapped[SourceFileId]


class Blob(Base):
    """Some bytes, known by their hash, once however many checkpoints have them.

    Without `data` they lie in the folder of checkpoints. A row of its own for these too: its key is what
    keeps one process from removing what another has just come to need.
    """

    __tablename__ = "blobs"
    __table_args__ = (
        _sha256_form(),
        *_not_negative("size_bytes"),
        CheckConstraint("octet_length(data) = size_bytes", name="size_bytes_true"),
    )

    sha256: Mapped[str] = mapped_column(CHAR(64), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[bytes | None] = mapped_column(BYTEA)
    created_at: Mapped[CreatedAt]


class GameHistory(Base):
    """The moves one bot made in one game."""

    __tablename__ = "game_histories"
    __table_args__ = (
        UniqueConstraint("game_id", "bot_id"),
        CheckConstraint("json_typeof(move_sequence) = 'array'", name="move_sequence_array"),
    )

    id: Mapped[BigKey]
    game_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("games.id", ondelete="CASCADE"))
    bot_id: Mapped[int] = mapped_column(ForeignKey("bots.id"))
    move_sequence: Mapped[list[Any]]
    board_states: Mapped[list[Any] | None]
    decision_metadata: Mapped[dict[str, Any] | None]
    created_at: Mapped[CreatedAt]


class Run(Base):
    """One execution of a command that moves data, by default `migrate-pickles`."""

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(
            "status IN ('running', 'done', 'interrupted', 'failed', 'rolled-back')", name="status_known"
        ),
    )

    id: Mapped[BigKey]
    kind: Mapped[str] = mapped_column(String(50), server_default="migrate-pickles")
    sgdb_version: Mapped[str] = mapped_column(String(50))
    started_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(String(20), server_default="running")
    options: Mapped[dict[str, Any] | None]


class Archive(Base):
    """The stored original of one pickle: its bytes once, however many files had them."""

    __tablename__ = "archives"
    __table_args__ = (
        UniqueConstraint("sha256"),
        _sha256_form(),
        *_not_negative("size_bytes", "stored_bytes"),
    )

    id: Mapped[SmallKey]
    sha256: Mapped[Sha256]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    compression: Mapped[str] = mapped_column(String(20))
    stored_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[CreatedAt]


class ArchiveChunk(Base):
    """A piece of an archive's compressed bytes; the pieces in order of `chunk_index` are the whole."""

    __tablename__ = "archive_chunks"
    __table_args__ = (*_not_negative("chunk_index"),)

    archive_id: Mapped[int] = mapped_column(ForeignKey("archives.id", ondelete="CASCADE"), primary_key=True)
    chunk_index: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(BYTEA)


class SourceFile(Base):
    """One file that one run looked at, and what came of it.

    Of status `saved` it stands for no file, but for the programs that store results in a set.
    """

    __tablename__ = "source_files"
    __table_args__ = (
        CheckConstraint(
            "status IN ('migrated', 'identical', 'rejected', 'rolled-back', 'saved')", name="status_known"
        ),
        _sha256_form(),
        *_not_negative("size_bytes"),
        Index(
            "uq_source_files_saved",
            "benchmark_set_id",
            unique=True,
            postgresql_where=text("status = 'saved'"),
        ),
    )

    id: Mapped[BigKey]
    run_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("runs.id"))
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[Sha256 | None] = mapped_column(index=True)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(20))
    error: Mapped[str | None] = mapped_column(Text)
    # A set names the file that brought it and a file the set it went to: one key has to come second.
    benchmark_set_id: Mapped[int | None] = mapped_column(
        ForeignKey("benchmark_sets.id", ondelete="SET NULL", use_alter=True), index=True
    )
    archive_id: Mapped[int | None] = mapped_column(ForeignKey("archives.id"))
    contents: Mapped[dict[str, Any] | None]
    counts: Mapped[dict[str, Any] | None]
    notes: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[CreatedAt]


# The chunks are compressed already: PostgreSQL would try again in vain. Weights hardly shrink, and of bytes
# that are stored as they are, a part can be read without the rest.
for _table in (ArchiveChunk.__table__, Blob.__table__):
    _external = DDL("ALTER TABLE %(table)s ALTER COLUMN data SET STORAGE EXTERNAL")  # type: ignore[no-untyped-call]
    event.listen(_table, "after_create", _external)
