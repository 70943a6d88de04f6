"""A set's rows as records, one after the other, whatever their number.

Everything here works inside the caller's transaction, and fetches through a server-side cursor: memory does
not grow with the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, cast, select, text

from sgdb.database.models import Bot, Game, GameResult
from sgdb.database.sets import StoredGame, StoredResult
from sgdb.records import BotPerformance, GameSnapshot

_BATCH = 2000


def streamed(connection: Connection, query: Select[Any]) -> Iterator[Row[*tuple[Any, ...]]]:
    """The query's rows through a server-side cursor."""
    # Of a cursor the server expects that only a tenth is read, and picks plans that are slow as a whole.
    connection.execute(text("SELECT set_config('cursor_tuple_fraction', '1', true)"))
    yield from connection.execute(query, execution_options={"yield_per": _BATCH})


def within(query: Select[Any], start: int | None, stop: int | None) -> Select[Any]:
    """The query for games from index `start` up to but without `stop`; None is no bound."""
    if start is not None:
        query = query.where(Game.game_index >= start)
    return query if stop is None else query.where(Game.game_index < stop)


def read_games(
    connection: Connection,
    set_id: int,
    start: int | None = None,
    stop: int | None = None,
    *,
    drawn: bool = True,
) -> Iterator[GameSnapshot]:
    """The set's games by index, from `start` up to but without `stop`; without those whose board sgdb has
    drawn from the seed, if `drawn` is False."""
    query = (
        select(
            Game.id,
            Game.game_index,
            cast(Game.board_state, Text),
            Game.seed,
            Game.metadata_,
            Game.source_file_id,
        )
        .where(Game.benchmark_set_id == set_id)
        .order_by(Game.game_index)
    )
    if not drawn:
        query = query.where(Game.metadata_["origin"].astext.is_distinct_from("regenerated"))
    for row in streamed(connection, within(query, start, stop)):
        yield StoredGame(*row).snapshot


def read_results(
    connection: Connection,
    set_id: int,
    bots: Sequence[str] | None = None,
    start: int | None = None,
    stop: int | None = None,
) -> Iterator[tuple[str, BotPerformance]]:
    """Results on the set's games, with the bot each is filed under: by bot name, then by the game's index.

    `bots` are the only ones asked for; `start` and `stop` bound the games as in `read_games`.
    """
    query = (
        select(
            Bot.name,
            Game.game_index,
            GameResult.tiles_cleared,
            GameResult.singles_remaining,
            GameResult.moves_made,
            GameResult.completed,
            GameResult.metadata_,
            GameResult.source_file_id,
        )
        .join(GameResult, GameResult.game_id == Game.id)
        .join(Bot, Bot.id == GameResult.bot_id)
        .where(Game.benchmark_set_id == set_id)
        # Not by the database's own collation: names come in the same order on every server.
        .order_by(Bot.name.collate("C"), Game.game_index)
    )
    if bots is not None:
        query = query.where(Bot.name.in_(list(bots)))
    for row in streamed(connection, within(query, start, stop)):
        yield row[0], StoredResult(*row[1:]).performance(row[0])
