"""Recorded games as they are needed to play them again: the board, and the numbers that were recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, cast, func, literal_column, select

from sgdb.database.models import Bot, Game, GameResult
from sgdb.database.reading import streamed


class Part(NamedTuple):
    """One bot's results in one set under one name. `name` is what the rows themselves say; it is the bot that
    played, `bot` the key that they are filed under."""

    set_id: int
    bot: str
    name: str


class PartSize(NamedTuple):
    """How many results a part has, and the largest number of moves in one of them."""

    results: int
    most_moves: int


class Recorded(NamedTuple):
    """One result with its board as JSON text, whatever that holds."""

    part: Part
    game_id: int
    board: str
    tiles_cleared: int
    singles_remaining: int
    moves_made: int
    completed: bool


_MOST = 2**31 - 1  # what is multiplied with a row's number stays a 64-bit integer
# The name of the entry as a literal: for the server, an expression with a parameter is another each time.
_NAME = func.coalesce(
    GameResult.metadata_.op("->>", return_type=Text())(literal_column("'bot_name'")), Bot.name
)


def recorded_parts(connection: Connection, set_ids: Collection[int] | None = None) -> dict[Part, PartSize]:
    """All parts of these sets, or of all, with their sizes."""
    query = (
        select(Game.benchmark_set_id, Bot.name, _NAME, func.count(), func.max(GameResult.moves_made))
        .select_from(GameResult)
        .join(Game, Game.id == GameResult.game_id)
        .join(Bot, Bot.id == GameResult.bot_id)
        .group_by(Game.benchmark_set_id, Bot.name, _NAME)
        .order_by(Game.benchmark_set_id, Bot.name.collate("C"), _NAME.collate("C"))
    )
    return {Part(*row[:3]): PartSize(*row[3:]) for row in connection.execute(_of_sets(query, set_ids))}


def recorded_results(
    connection: Connection,
    names: Collection[str],
    set_ids: Collection[int] | None = None,
    sample: int | None = None,
) -> Iterator[Recorded]:
    """The results of bots with these names, part after part, by game; through a server-side cursor.

    `sample` takes as many of each part, evenly spread over its games, the same ones every time.
    """
    part = (Game.benchmark_set_id, GameResult.bot_id, _NAME)
    numbered = _of_sets(
        select(
            GameResult.id,
            _NAME.label("name"),
            func.row_number().over(partition_by=part, order_by=Game.game_index).label("number"),
            func.count().over(partition_by=part).label("total"),
        )
        .join(Game, Game.id == GameResult.game_id)
        .join(Bot, Bot.id == GameResult.bot_id)
        .where(_NAME.in_(list(names))),
        set_ids,
    ).subquery()
    query = (
        select(
            Game.benchmark_set_id,
            Bot.name,
            numbered.c.name,
            Game.game_index,
            cast(Game.board_state, Text),
            GameResult.tiles_cleared,
            GameResult.singles_remaining,
            GameResult.moves_made,
            GameResult.completed,
        )
        .select_from(numbered)
        .join(GameResult, GameResult.id == numbered.c.id)
        .join(Game, Game.id == GameResult.game_id)
        .join(Bot, Bot.id == GameResult.bot_id)
        .order_by(Game.benchmark_set_id, Bot.name.collate("C"), numbered.c.name.collate("C"), Game.game_index)
    )
    if sample is not None:  # a row is taken where the share of those taken reaches the next whole number
        sample = min(sample, _MOST)
        number, total = numbered.c.number, numbered.c.total
        query = query.where(number * sample // total > (number - 1) * sample // total)
    for row in streamed(connection, query):
        yield Recorded(Part(*row[:3]), *row[3:])


def _of_sets(query: Any, set_ids: Collection[int] | None) -> Any:
    return query if set_ids is None else query.where(Game.benchmark_set_id.in_(list(set_ids)))
