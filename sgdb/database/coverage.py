"""Which games of a set are there, and which its files explain: ids as runs, never the rows.

The runs are found on the server. Usually there is one: as many ids as from the first to the last. Otherwise
they are ranked: n consecutive ids minus their ranks 1 to n are n times the same number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, SQLColumnExpression, cast, func, select

from sgdb.database.models import Bot, Game, GameResult
from sgdb.database.provenance import SourceRow, find_saved_source
from sgdb.records import Contents, IdRuns


def listed(files: Iterable[SourceRow | Contents]) -> tuple[IdRuns, dict[str, IdRuns]]:
    """The games, and the games with results by bot, that these files explain."""
    games: list[tuple[int, int]] = []
    results: dict[str, list[tuple[int, int]]] = {}
    for file in files:
        contents = file if isinstance(file, Contents) else file.contents
        games.extend(contents.games.pairs())
        for key, runs in contents.results:
            results.setdefault(key, []).extend(runs.pairs())
            games.extend(runs.pairs())
    return IdRuns(games).distinct(), {key: IdRuns(pairs).distinct() for key, pairs in results.items()}


def stored_games(
    connection: Connection, set_id: int, start: int | None = None, stop: int | None = None
) -> IdRuns:
    """The indexes of the set's games, from `start` up to but without `stop` where these are given."""
    wanted = Game.benchmark_set_id == set_id
    if start is not None:
        wanted &= Game.game_index >= start
    if stop is not None:
        wanted &= Game.game_index < stop
    return _game_runs(connection, wanted)


def saved_games(connection: Connection, set_id: int) -> IdRuns:
    """The indexes of those games that programs have stored: no file explains them."""
    saved = find_saved_source(connection, set_id)
    if saved is None:
        return IdRuns()
    return brought_games(connection, set_id, saved[0])


def regenerated_games(connection: Connection, set_id: int) -> IdRuns:
    """The indexes of those games whose board sgdb drew from the seed."""
    origin = Game.metadata_["origin"].astext
    return _game_runs(connection, (Game.benchmark_set_id == set_id) & (origin == "regenerated"))


def stored_results(connection: Connection, set_id: int) -> dict[str, IdRuns]:
    """The indexes of the games that each bot has results for; the bots by name."""
    return _result_runs(connection, Game.benchmark_set_id == set_id)


def saved_results(connection: Connection, set_id: int) -> dict[str, IdRuns]:
    """The same for results that programs have stored: no file explains them."""
    saved = find_saved_source(connection, set_id)
    if saved is None:
        return {}
    return brought_results(connection, set_id, saved[0])


def brought_games(connection: Connection, set_id: int, source_id: int) -> IdRuns:
    """The indexes of the set's games that one file brought, and that are still there."""
    return _game_runs(connection, (Game.benchmark_set_id == set_id) & (Game.source_file_id == source_id))


def brought_results(connection: Connection, set_id: int, source_id: int) -> dict[str, IdRuns]:
    """The indexes of the games for which one file brought each bot's results that are still there."""
    return _result_runs(
        connection, (Game.benchmark_set_id == set_id) & (GameResult.source_file_id == source_id)
    )


def _result_runs(connection: Connection, wanted: ColumnElement[bool]) -> dict[str, IdRuns]:
    counted = (
        select(GameResult.bot_id, func.count().label("count"), *_bounds(Game.game_index))
        .join(Game, Game.id == GameResult.game_id)
        .where(wanted)
        .group_by(GameResult.bot_id)
        .subquery()
    )
    query = (
        select(Bot.name, Bot.id, counted.c.count, counted.c.start, counted.c.stop)
        .join(counted, counted.c.bot_id == Bot.id)
        .order_by(Bot.name)
    )
    found: dict[str, IdRuns] = {}
    gappy = []
    for name, bot_id, count, start, stop in connection.execute(query):
        is_whole = count == stop - start
        found[name] = IdRuns([(start, stop)] if is_whole else [])
        if not is_whole:
            gappy.append(bot_id)
    if gappy:
        for name, start, stop in _ranked_results(connection, wanted, gappy):
            found[name].extend(start, stop)
    return found


def _ranked_results(
    connection: Connection, wanted: ColumnElement[bool], bot_ids: list[int]
) -> Iterator[tuple[str, int, int]]:
    rank = func.row_number().over(partition_by=GameResult.bot_id, order_by=Game.game_index)
    ranked = (
        select(GameResult.bot_id, Game.game_index, (Game.game_index - rank).label("run"))
        .join(Game, Game.id == GameResult.game_id)
        .where(wanted, GameResult.bot_id.in_(bot_ids))
        .subquery()
    )
    query = (
        select(Bot.name, *_bounds(ranked.c.game_index))
        .join(ranked, ranked.c.bot_id == Bot.id)
        .group_by(Bot.name, ranked.c.run)
        .order_by(Bot.name, func.min(ranked.c.game_index))
    )
    return ((name, start, stop) for name, start, stop in connection.execute(query))


def _game_runs(connection: Connection, wanted: ColumnElement[bool]) -> IdRuns:
    first, last = func.min(Game.game_index), cast(func.max(Game.game_index), BigInteger)
    count, start, stop = connection.execute(select(func.count(), first, last + 1).where(wanted)).one()
    if not count or count == stop - start:
        return IdRuns([(start, stop)] if count else [])
    rank = func.row_number().over(order_by=Game.game_index)
    ranked = select(Game.game_index, (Game.game_index - rank).label("run")).where(wanted).subquery()
    query = (
        select(*_bounds(ranked.c.game_index)).group_by(ranked.c.run).order_by(func.min(ranked.c.game_index))
    )
    return IdRuns([(start, stop) for start, stop in connection.execute(query)])


def _bounds(column: SQLColumnExpression[Any]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """First number of a run, and the one after its last."""
    return func.min(column).label("start"), (cast(func.max(column), BigInteger) + 1).label("stop")
