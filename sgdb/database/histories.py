"""The moves that bots made, one row a game and bot, inside the caller's transaction.

What is there already is compared: the same moves are identical, others a conflict.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Text, cast, select

from sgdb.database.bulk import copy_lines
from sgdb.database.compare import Difference, conflict
from sgdb.database.ids import GameKeys, IdSource, SequenceIds
from sgdb.database.models import Bot, Game, GameHistory
from sgdb.database.reading import streamed, within
from sgdb.database.sets import fetch_keys, fetch_results, find_bots
from sgdb.errors import NotFoundError, ValueRefusedError
from sgdb.records import IdRuns

Moves = Sequence[tuple[int, int]]
_COLUMNS = ("id", "game_id", "bot_id", "move_sequence")
_BATCH = 1000


def add_histories(
    connection: Connection,
    set_id: int,
    bot: str,
    histories: Mapping[int, Moves],
    *,
    keys_from: IdSource | None = None,
) -> int:
    """Adds one bot's moves by the game's index; returns how many games had none yet. Primary keys come from
    the table's own sequence, unless from elsewhere.

    To be called behind the lock of the bot in the set. Moves belong to a result: raises NotFoundError where
    the bot has none on the game, ConflictError where it made another number of moves, or where other moves
    are stored. Then nothing may be committed.
    """
    added = 0
    bot_id = find_bots(connection, [bot]).get(bot)
    for batch in _batches(sorted(histories)):
        stored = {} if bot_id is None else fetch_results(connection, set_id, bot_id, batch)
        if lacking := [index for index in batch if index not in stored]:
            raise NotFoundError(
                f"bot {bot!a} has no result on game {lacking[0]} of set {set_id}, so no moves either",
                hint="save the results first",
            )
        assert bot_id is not None
        there = dict(_texts(connection, set_id, bot, batch[0], batch[-1] + 1))
        conflicts = [
            Difference(index, bot, "moves_made", len(histories[index]), stored[index].moves_made)
            for index in batch
            if len(histories[index]) != stored[index].moves_made
        ] + [
            Difference(index, bot, "moves", moves_json(histories[index]), there[index])
            for index in batch
            if index in there and json.loads(there[index]) != [list(move) for move in histories[index]]
        ]
        if conflicts:
            raise conflict(conflicts, "database", "given")
        new = [index for index in batch if index not in there]
        keys = fetch_keys(connection, set_id, new) if new else GameKeys()
        ids = (keys_from or SequenceIds()).take(connection, "game_histories", len(new))
        lines = [
            f"{row_id}\t{keys[i]}\t{bot_id}\t{moves_json(histories[i])}\n"
            for i, row_id in zip(new, ids, strict=True)
        ]
        if lines:
            copy_lines(connection, "game_histories", _COLUMNS, lines)
        added += len(new)
    return added


def recorded_games(connection: Connection, set_id: int, bot: str) -> IdRuns:
    """The games of the set on which this bot's moves are stored."""
    found = IdRuns()
    for row in streamed(connection, _of(set_id, bot, None, None, Game.game_index)):
        found.append(row[0])
    return found


def read_histories(
    connection: Connection, set_id: int, bot: str, start: int | None = None, stop: int | None = None
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """One bot's moves by the game's index, from `start` up to but without `stop`. Raises ValueRefusedError
    for what is no list of moves: somebody else may have written it."""
    for index, text in _texts(connection, set_id, bot, start, stop):
        yield index, parse_moves(text, f"bot {bot!a}, game {index} of set {set_id}")


def moves_json(moves: Moves) -> str:
    """The moves as they are stored: [row, col] pairs without blanks."""
    return "[" + ",".join(f"[{row},{col}]" for row, col in moves) + "]"


def parse_moves(text: str, where: str) -> list[tuple[int, int]]:
    """The moves that `moves_json` wrote. Raises ValueRefusedError naming `where`."""
    found: Any = json.loads(text)
    for move in found if isinstance(found, list) else [found]:
        if not isinstance(move, list) or [type(part) for part in move] != [int, int]:
            raise ValueRefusedError(f"{where}: {move!a:.80} is no move, but stored as one")
    return [(row, col) for row, col in found]


def _texts(
    connection: Connection, set_id: int, bot: str, start: int | None, stop: int | None
) -> Iterator[tuple[int, str]]:
    query = _of(set_id, bot, start, stop, Game.game_index, cast(GameHistory.move_sequence, Text))
    for row in streamed(connection, query):
        yield row[0], row[1]


def _of(set_id: int, bot: str, start: int | None, stop: int | None, *columns: Any) -> Select[Any]:
    query = (
        select(*columns)
        .select_from(GameHistory)
        .join(Game, Game.id == GameHistory.game_id)
        .join(Bot, Bot.id == GameHistory.bot_id)
        .where(Game.benchmark_set_id == set_id, Bot.name == bot)
        .order_by(Game.game_index)
    )
    return within(query, start, stop)


def _batches(indexes: list[int]) -> Iterator[list[int]]:
    for at in range(0, len(indexes), _BATCH):
        yield indexes[at : at + _BATCH]
