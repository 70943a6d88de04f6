"""A set's rows as records, one after the other, whatever their number.

Everything here works inside the caller's transaction, and fetches through a server-side cursor: memory does
not grow with the set. Rows become records straight from the driver: what lies between costs more than the
server does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, groupby
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import Connection, Row, Select, text

from sgdb.database.direct import driver_session
from sgdb.database.models import Game
from sgdb.database.sets import performance, snapshot
from sgdb.records import BotPerformance, GameSnapshot

_BATCH = 2000
_FIRST_BATCH = 10  # until it is known how large the boards are
MOST_CHARACTERS = 1 << 20  # of boards that are fetched at a time
_numbers = count(1)

_GAMES = """
    SELECT g.game_index, CAST(g.board_state AS text), g.seed, g.metadata
    FROM games g
    WHERE g.benchmark_set_id = %(set_id)s
      AND (%(start)s IS NULL OR g.game_index >= %(start)s)
      AND (%(stop)s IS NULL OR g.game_index < %(stop)s)
      AND (%(drawn)s OR g.metadata ->> 'origin' IS DISTINCT FROM 'regenerated')
    ORDER BY g.game_index"""
# With the bare column the server would walk the index of all keys until it meets a game of the set.
_KEYS = """
    SELECT min(g.id + 0), max(g.id + 0)
    FROM games g
    WHERE g.benchmark_set_id = %(set_id)s
      AND (%(start)s IS NULL OR g.game_index >= %(start)s)
      AND (%(stop)s IS NULL OR g.game_index < %(stop)s)"""
# The bounds of the keys follow from the set; by them the server knows that it need not look at the results of
# all sets. Rows come as they lie, mostly in the order wanted: to sort them here is less work.
_RESULTS = """
    SELECT g.game_index, r.tiles_cleared, r.singles_remaining, r.moves_made, r.completed, r.metadata, r.bot_id
    FROM games g JOIN game_results r ON r.game_id = g.id
    WHERE g.benchmark_set_id = %(set_id)s
      AND (%(start)s IS NULL OR g.game_index >= %(start)s)
      AND (%(stop)s IS NULL OR g.game_index < %(stop)s)
      AND r.game_id BETWEEN %(first_key)s AND %(last_key)s
      AND (%(bots)s IS NULL OR r.bot_id = ANY (%(bots)s))"""


def streamed(connection: Connection, query: Select[Any]) -> Iterator[Row[*tuple[Any, ...]]]:
    """The query's rows through a server-side cursor."""
    _plan_for_all_rows(connection)
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
    drawn from the seed, if `drawn` is False. Fetches as many boards at a time as their size allows."""
    _plan_for_all_rows(connection)
    size = _FIRST_BATCH
    with driver_session(connection) as session:
        cursor = _executed(session, _GAMES, {"set_id": set_id, "start": start, "stop": stop, "drawn": drawn})
        while rows := cursor.fetchmany(size):
            yield from map(snapshot, rows)
            characters = sum(map(len, map(itemgetter(1), rows)))
            size = max(1, min(_BATCH, len(rows) * MOST_CHARACTERS // characters))
        cursor.close()


def read_results(
    connection: Connection,
    set_id: int,
    bots: Sequence[str] | None = None,
    start: int | None = None,
    stop: int | None = None,
) -> dict[str, list[BotPerformance]]:
    """Results on the set's games by the bot they are filed under: by bot name, then by the game's index.

    `bots` are the only ones asked for; `start` and `stop` bound the games as in `read_games`.
    """
    _plan_for_all_rows(connection)
    values: dict[str, Any] = {"set_id": set_id, "start": start, "stop": stop, "bots": None}
    names: dict[int, str] = {}
    found: dict[str, list[BotPerformance]] = {}
    with driver_session(connection) as session, session.cursor() as cursor:
        if bots is not None:
            cursor.execute("SELECT id, name FROM bots WHERE name = ANY (%s::text[])", [list(bots)])
            names.update(cursor.fetchall())
            values["bots"] = list(names)
        cursor.execute(_KEYS, values)
        values["first_key"], values["last_key"] = cursor.fetchone()
        results = _executed(session, _RESULTS, values)
        while rows := results.fetchmany(_BATCH):
            unknown = {row[-1] for row in rows} - names.keys()
            if unknown:
                cursor.execute("SELECT id, name FROM bots WHERE id = ANY (%s)", [list(unknown)])
                names.update(cursor.fetchall())
            for bot_id, rows_of_bot in groupby(rows, key=itemgetter(-1)):
                bot = names[bot_id]
                found.setdefault(bot, []).extend([performance(bot, row[:6]) for row in rows_of_bot])
        results.close()
    for performances in found.values():
        performances.sort(key=attrgetter("game_id"))
    # Not in the database's own order: names come in the same one on every server.
    return {bot: found[bot] for bot in sorted(found)}


def _plan_for_all_rows(connection: Connection) -> None:
    # Of a cursor the server expects that only a tenth is read, and picks plans that are slow as a whole.
    # Compiling a query takes it longer than any of these does.
    connection.execute(
        text("SELECT set_config('cursor_tuple_fraction', '1', true), set_config('jit', 'off', true)")
    )


def _executed(session: Any, query: str, values: dict[str, Any]) -> Any:
    """A cursor on the server, at its first row. To be closed after the last; where rows are left it ends with
    the transaction, and is not to be closed later: the session may be in another's hands then."""
    cursor = session.cursor(f"sgdb_{next(_numbers)}")
    cursor.execute(query, values)
    return cursor
