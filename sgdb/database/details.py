"""What few rows have beside the rest: the time of a result, and what stands beside moves.

It is added after the rows themselves, to those that the same source has just brought; other rows must have
the same values already. Works inside the caller's transaction and behind the set's lock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, text

from sgdb.database.compare import Difference, conflict, same_json
from sgdb.database.models import Bot, Game, GameHistory
from sgdb.database.sets import fetch_results, find_bots

_SET_TIMES = text(
    "UPDATE game_results AS result SET execution_time_ms = given.ms"
    " FROM unnest(CAST(:indexes AS integer[]), CAST(:times AS double precision[])) AS given (game_index, ms)"
    " JOIN games ON games.benchmark_set_id = :set_id AND games.game_index = given.game_index"
    " WHERE result.game_id = games.id AND result.bot_id = :bot_id"
)
_SET_BESIDE = text(
    "UPDATE game_histories AS history SET board_states = CAST(given.states AS json),"
    " decision_metadata = CAST(given.reasons AS jsonb)"
    " FROM unnest(CAST(:indexes AS integer[]), CAST(:states AS text[]), CAST(:reasons AS text[]))"
    " AS given (game_index, states, reasons)"
    " JOIN games ON games.benchmark_set_id = :set_id AND games.game_index = given.game_index"
    " WHERE history.game_id = games.id AND history.bot_id = :bot_id"
)


class Beside(NamedTuple):
    """What may stand beside moves: the boards in between, and why the bot moved so."""

    board_states: list[Any] | None
    decision_metadata: dict[str, Any] | None


def add_times(
    connection: Connection, set_id: int, bot: str, times: Mapping[int, float], source: int | None
) -> None:
    """Writes milliseconds beside the results that `source` has brought, by the game's index. Raises
    ConflictError where another's result has none, or another one."""
    if not times:
        return
    bot_id = find_bots(connection, [bot])[bot]
    stored = fetch_results(connection, set_id, bot_id, list(times))
    fresh, conflicts = [], list[Difference]()
    for index, ours in times.items():
        there = stored[index]
        if there.source_file_id == source and there.execution_time_ms is None:
            fresh.append(index)
        elif there.execution_time_ms != ours:
            conflicts.append(Difference(index, bot, "execution_time_ms", ours, there.execution_time_ms))
    if conflicts:
        raise conflict(conflicts, "database")
    if fresh:
        values = {"indexes": fresh, "times": [times[index] for index in fresh]}
        connection.execute(_SET_TIMES, values | {"set_id": set_id, "bot_id": bot_id})


def add_beside(
    connection: Connection, set_id: int, bot: str, beside: Mapping[int, Beside], new: set[int]
) -> None:
    """Writes this beside the moves of the `new` games, by the game's index. Raises ConflictError where other
    moves have something else beside them."""
    if not beside:
        return
    bot_id = find_bots(connection, [bot])[bot]
    fresh = {index: value for index, value in beside.items() if index in new}
    if fresh:
        values = {
            "indexes": list(fresh),
            "states": [_json(value.board_states) for value in fresh.values()],
            "reasons": [_json(value.decision_metadata) for value in fresh.values()],
        }
        connection.execute(_SET_BESIDE, values | {"set_id": set_id, "bot_id": bot_id})
    query = (
        select(Game.game_index, GameHistory.board_states, GameHistory.decision_metadata)
        .join(Game, Game.id == GameHistory.game_id)
        .join(Bot, Bot.id == GameHistory.bot_id)
        .where(Game.benchmark_set_id == set_id, Bot.id == bot_id, Game.game_index.in_(beside.keys() - new))
    )
    conflicts = [
        Difference(index, bot, field, getattr(beside[index], field), theirs)
        for index, *values in connection.execute(query)
        for field, theirs in zip(Beside._fields, values, strict=True)
        if not same_json(getattr(beside[index], field), theirs)
    ]
    if conflicts:
        raise conflict(conflicts, "database")


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)
