"""Rows as they stand in the database, for files of tables: no keys of this database, and JSON as its text.

Everything here works inside the caller's transaction, and fetches a set's rows through a server-side cursor:
memory does not grow with the set. Rows come in one order on every server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Text, cast, func, select

from sgdb.database.histories import parse_moves
from sgdb.database.models import (
    BenchmarkSet,
    Bot,
    Game,
    GameConfigRow,
    GameHistory,
    GameResult,
    TrainingSession,
)
from sgdb.database.reading import streamed

Row = tuple[Any, ...]


def _moment(column: Any) -> Any:
    """A time as ISO 8601 in UTC, to the microsecond."""
    return func.to_char(func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')


_BOTS: tuple[Any, ...] = (
    Bot.name,
    Bot.bot_type,
    Bot.version,
    cast(Bot.metadata_, Text),
)
_GAMES: tuple[Any, ...] = (
    Game.game_index,
    Game.seed,
    cast(Game.board_state, Text),
    cast(Game.metadata_, Text),
)
_RESULTS: tuple[Any, ...] = (
    Bot.name,
    Game.game_index,
    GameResult.tiles_cleared,
    GameResult.singles_remaining,
    GameResult.moves_made,
    GameResult.completed,
    GameResult.execution_time_ms,
    cast(GameResult.metadata_, Text),
)
_HISTORIES: tuple[Any, ...] = (
    Bot.name,
    Game.game_index,
    cast(GameHistory.move_sequence, Text),
    cast(GameHistory.board_states, Text),
    cast(GameHistory.decision_metadata, Text),
)


_SESSIONS: tuple[Any, ...] = (
    cast(TrainingSession.uid, Text),
    Bot.name,
    TrainingSession.name,
    GameConfigRow.num_rows,
    GameConfigRow.num_cols,
    GameConfigRow.num_colors,
    _moment(TrainingSession.start_time),
    _moment(TrainingSession.end_time),
    _moment(TrainingSession.heartbeat_at),
    TrainingSession.status,
    cast(TrainingSession.hyperparameters, Text),
    cast(TrainingSession.final_metrics, Text),
    cast(TrainingSession.metadata_, Text),
)


def name_and_description(connection: Connection, set_id: int) -> tuple[str, str | None]:
    """What a set is called."""
    query = select(BenchmarkSet.name, BenchmarkSet.description).where(BenchmarkSet.id == set_id)
    row = connection.execute(query).one()
    return row.name, row.description


def extract_bots(connection: Connection, names: Iterable[str]) -> Iterator[Row]:
    """Name, type, version and metadata of these bots, by name."""
    query = select(*_BOTS).where(Bot.name.in_(list(names))).order_by(Bot.name.collate("C"))
    for row in connection.execute(query):
        yield tuple(row)


def extract_games(connection: Connection, set_id: int, base_seed: int) -> Iterator[Row]:
    """The base seed, index, seed, board and metadata of the set's games, by index."""
    query = select(*_GAMES).where(Game.benchmark_set_id == set_id).order_by(Game.game_index)
    for row in streamed(connection, query):
        yield (base_seed, *row)


def extract_results(connection: Connection, set_id: int, base_seed: int) -> Iterator[Row]:
    """The base seed, bot, game's index, outcome, time and metadata of the set's results, by bot and index."""
    query = (
        select(*_RESULTS)
        .join(Game, Game.id == GameResult.game_id)
        .join(Bot, Bot.id == GameResult.bot_id)
        .where(Game.benchmark_set_id == set_id)
        .order_by(Bot.name.collate("C"), Game.game_index)
    )
    for row in streamed(connection, query):
        yield (base_seed, *row)


def has_histories(connection: Connection, set_id: int) -> bool:
    """Whether moves are stored on any of the set's games."""
    query = select(GameHistory.id).join(Game, Game.id == GameHistory.game_id)
    return connection.execute(query.where(Game.benchmark_set_id == set_id).limit(1)).first() is not None


def extract_histories(connection: Connection, set_id: int, base_seed: int) -> Iterator[Row]:
    """The base seed, bot, game's index, moves, boards in between and reasons, by bot and index. Raises
    ValueRefusedError for what is no list of moves: somebody else may have written it."""
    query = (
        select(*_HISTORIES)
        .join(Game, Game.id == GameHistory.game_id)
        .join(Bot, Bot.id == GameHistory.bot_id)
        .where(Game.benchmark_set_id == set_id)
        .order_by(Bot.name.collate("C"), Game.game_index)
    )
    for row in streamed(connection, query):
        parse_moves(row[2], f"bot {row[0]!a}, game {row[1]} of set {set_id}")
        yield (base_seed, *row)


def extract_sessions(connection: Connection, uid: UUID | None = None) -> Iterator[Row]:
    """Uid, agent, name, board shape, times, status, hyperparameters, final metrics and metadata of training
    sessions, all or the one with this `uid`, by start and uid."""
    query = (
        select(*_SESSIONS)
        .join(Bot, Bot.id == TrainingSession.bot_id)
        .outerjoin(GameConfigRow, GameConfigRow.id == TrainingSession.config_id)
        .order_by(TrainingSession.start_time, TrainingSession.uid)
    )
    if uid is not None:
        query = query.where(TrainingSession.uid == uid)
    for row in connection.execute(query):
        yield tuple(row)
