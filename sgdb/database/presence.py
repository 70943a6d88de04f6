"""How much of some games or results a set holds already, found out in one question for all of them.

The server writes its rows as one text, and the client writes its own the same way: where the texts are
equal, so are all the rows. Rows with metadata, games without a seed, and results of a file that bear a time,
which no file has, are left out of it: whoever has such has to look at every row by itself (see `compare`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

from sqlalchemy import ARRAY, Connection, Integer, TextClause, bindparam, text

from sgdb.records import BotPerformance, GameConfig, GameSnapshot, is_run

MOST_ROWS = 10_000  # compared in one go
_MOST_CELLS = 2_000_000
_Row = TypeVar("_Row", GameSnapshot, BotPerformance)

_OF_SET = "g.benchmark_set_id = :set_id AND g.game_index "
_CONSECUTIVE, _LISTED = "BETWEEN :low AND :high", "= ANY(:indexes)"
# A board that somebody else has written may hold line breaks of its own. Then the texts differ: where there
# are as many rows as lines, each line is one row.
_GAMES = """
    SELECT count(*), string_agg(g.game_index || ' ' || g.board_state || ' ' || g.seed, chr(10)
                                ORDER BY g.game_index) FILTER (WHERE g.metadata IS NULL)
    FROM games AS g WHERE """
_RESULTS = """
    SELECT count(*), string_agg(
        g.game_index || ' ' || r.tiles_cleared || ' ' || r.singles_remaining || ' ' || r.moves_made || ' '
        || r.completed::int,
        chr(10) ORDER BY g.game_index
    ) FILTER (WHERE r.metadata IS NULL AND (r.execution_time_ms IS NULL OR r.source_file_id IS NULL))
    FROM games AS g JOIN game_results AS r ON r.game_id = g.id AND r.bot_id = :bot_id WHERE """


def _both_ways(query: str) -> tuple[TextClause, TextClause]:
    listed = text(query + _OF_SET + _LISTED).bindparams(bindparam("indexes", type_=ARRAY(Integer)))
    return text(query + _OF_SET + _CONSECUTIVE), listed


_GAMES_QUERIES, _RESULTS_QUERIES = _both_ways(_GAMES), _both_ways(_RESULTS)


class Presence(Enum):
    """What a set holds of some rows."""

    NOTHING = auto()
    THE_SAME = auto()  # all of them, with the same values
    OTHERWISE = auto()  # some of them, or other values, or more than can be said at once


def games_there(connection: Connection, set_id: int, games: Sequence[GameSnapshot]) -> Presence:
    """What the set holds of these games, at least one."""

    def lines() -> list[str] | None:
        if any(metadata is not None or seed is None for _, _, seed, metadata in games):
            return None
        return [f"{index} {board} {seed}" for index, board, seed, _ in _in_order(games)]

    return _compared(connection, _GAMES_QUERIES, {"set_id": set_id}, games, lines)


def results_there(
    connection: Connection, set_id: int, bot: str, bot_id: int, results: Sequence[BotPerformance]
) -> Presence:
    """What the set holds of these results, at least one, that are filed under `bot`."""

    def lines() -> list[str] | None:
        if any(row.metadata is not None or row.bot_name != bot for row in results):
            return None
        return [
            f"{index} {tiles} {singles} {moves} {completed:d}"
            for _, index, tiles, singles, moves, completed, _ in _in_order(results)
        ]

    return _compared(connection, _RESULTS_QUERIES, {"set_id": set_id, "bot_id": bot_id}, results, lines)


def _compared(
    connection: Connection,
    queries: tuple[TextClause, TextClause],
    where: dict[str, Any],
    rows: Sequence[GameSnapshot] | Sequence[BotPerformance],
    lines: Callable[[], list[str] | None],
) -> Presence:
    """`lines` makes what the server's text should be, where that can be said."""
    indexes = [row.game_id for row in rows]
    consecutive, listed = queries
    if is_run(indexes):
        found = connection.execute(consecutive, where | {"low": indexes[0], "high": indexes[-1]})
    else:
        found = connection.execute(listed, where | {"indexes": indexes})
    count, stored = found.one()
    if not count:
        return Presence.NOTHING
    if count != len(rows) or stored is None:
        return Presence.OTHERWISE
    ours = lines()
    return Presence.THE_SAME if ours is not None and stored == "\n".join(ours) else Presence.OTHERWISE


def _in_order(rows: Sequence[_Row]) -> Sequence[_Row]:
    return rows if is_run([row.game_id for row in rows]) else sorted(rows, key=attrgetter("game_id"))


def most_games(config: GameConfig) -> int:
    """How many games of this config are compared in one go."""
    return max(1, min(MOST_ROWS, _MOST_CELLS // (config.num_rows * config.num_cols)))


def gathered(batches: Iterable[Sequence[_Row]], most: int) -> Iterator[list[_Row]]:
    """The rows of these batches in lists of `most`, the last one of fewer."""
    held: list[_Row] = []
    for batch in batches:
        held.extend(batch)
        while len(held) >= most:
            yield held[:most]
            del held[:most]
    if held:
        yield held


def gathered_by_key(
    batches: Iterable[tuple[str, Sequence[BotPerformance]]], most: int = MOST_ROWS
) -> Iterator[tuple[str, list[BotPerformance]]]:
    """The same for rows of one key each, where those of a key come one after the other."""
    for key, of_key in groupby(batches, itemgetter(0)):
        for rows in gathered((rows for _, rows in of_key), most):
            yield key, rows
