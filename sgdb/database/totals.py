"""The totals of results and games: whether they are true, and making them so again.

Triggers keep them, whoever writes; their SQL stands beside the migration that made them. What can go past
triggers is whoever disables them, and `pg_restore`, which brings a dump's rows but not the functions. So
readers of totals first ask whether the triggers are there (`kept_totals`), and `verify` counts again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    cast,
    delete,
    func,
    insert,
    null,
    or_,
    select,
    text,
)

from sgdb.database.kept_totals import triggers_sql
from sgdb.database.locks import lock_tables
from sgdb.database.models import Bot, DepartingGame, Game, GameResult, GameTotals, ResultTotals

TABLES = tuple(model.__tablename__ for model in (ResultTotals, GameTotals, DepartingGame))

_SCHEMA = """
    SELECT quote_ident(nspname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
    WHERE pg_class.oid = to_regclass('game_results')
"""


class WrongTotal(NamedTuple):
    """A column of a line that does not say what the rows add up to. `bot` is None for a set's games; 0 stands
    for a line that is not there or ought not to be."""

    set_id: int
    bot: str | None
    column: str
    stored: int
    real: int

    def __str__(self) -> str:
        whose = f"set {self.set_id}" + ("" if self.bot is None else f", bot {self.bot!a}")
        return f"{whose}: {self.column} is {self.stored} instead of {self.real}"


def wrong_totals(connection: Connection) -> Iterator[WrongTotal]:
    """What is not as the rows have it, set by set. Reads all results and games."""
    lines = (
        (GameTotals.__table__, _games(), [GameTotals.benchmark_set_id]),
        (ResultTotals.__table__, _results(), [ResultTotals.benchmark_set_id, ResultTotals.bot_id]),
    )
    for stored, counted, keys in lines:
        yield from _differences(connection, stored, counted.subquery("counted"), [key.name for key in keys])


def refresh(connection: Connection, *, timeout: float, on_wait: Callable[[], object] | None = None) -> int:
    """Puts the triggers back and counts everything anew; returns how many lines had been wrong.

    Every line gets a new revision: what went past the triggers may have left all sums as they were. Keeps
    writers out until the caller's transaction ends, which has to be READ COMMITTED. Raises BusyError when
    they are at work for longer than `timeout` seconds (`on_wait` is called once when there is a wait),
    DatabasePermissionError where the user does not own the tables.
    """
    lock_tables(connection, ("games", "game_results", *TABLES), timeout=timeout, on_wait=on_wait)
    wrong = {(each.set_id, each.bot) for each in wrong_totals(connection)}
    for model, counted in ((GameTotals, _games()), (ResultTotals, _results()), (DepartingGame, None)):
        connection.execute(delete(model))
        if counted is not None:
            lines = counted.add_columns(func.gen_random_uuid())
            connection.execute(
                insert(model).from_select([*counted.selected_columns.keys(), "revision"], lines)
            )
    _put_triggers_back(connection)
    return len(wrong)


def _games() -> Select[*tuple[Any, ...]]:
    """What game_totals ought to hold, without the revision."""
    return select(Game.benchmark_set_id, func.count().label("games")).group_by(Game.benchmark_set_id)


def _results() -> Select[*tuple[Any, ...]]:
    """What result_totals ought to hold, without the revision."""
    tiles = cast(GameResult.tiles_cleared, BigInteger)
    return (
        select(
            Game.benchmark_set_id,
            GameResult.bot_id,
            func.count().label("results"),
            func.count().filter(GameResult.completed).label("completed"),
            func.sum(tiles).label("tiles_cleared_sum"),
            func.sum(tiles * tiles).label("tiles_cleared_square_sum"),
            func.sum(cast(GameResult.singles_remaining, BigInteger)).label("singles_remaining_sum"),
            func.sum(cast(GameResult.moves_made, BigInteger)).label("moves_made_sum"),
        )
        .join(Game, Game.id == GameResult.game_id)
        .group_by(Game.benchmark_set_id, GameResult.bot_id)
    )


def _differences(
    connection: Connection, stored: FromClause, counted: FromClause, keys: list[str]
) -> Iterator[WrongTotal]:
    columns = [name for name in counted.c.keys() if name not in keys]  # noqa: SIM118 - not a dict

    def key(name: str) -> ColumnElement[int]:
        return func.coalesce(stored.c[name], counted.c[name])

    bot = select(Bot.name).where(Bot.id == key("bot_id")).scalar_subquery() if "bot_id" in keys else null()
    query = select(
        key("benchmark_set_id"),
        bot,
        *(func.coalesce(side.c[name], 0) for name in columns for side in (stored, counted)),
    ).select_from(
        stored.join(counted, and_(*(stored.c[name] == counted.c[name] for name in keys)), full=True)
    )
    differs = or_(*(stored.c[name].is_distinct_from(counted.c[name]) for name in columns))
    for set_id, name, *values in connection.execute(query.where(differs).order_by(*map(key, keys))):
        for column, is_, should_be in zip(columns, values[::2], values[1::2], strict=True):
            if is_ != should_be:
                yield WrongTotal(set_id, name, column, int(is_), int(should_be))


def _put_triggers_back(connection: Connection) -> None:
    # The functions keep the search path under which they are made.
    usual = connection.scalar(text("SELECT current_setting('search_path')"))
    set_path = text("SELECT set_config('search_path', :path, true)")
    connection.execute(set_path, {"path": f"{connection.scalar(text(_SCHEMA))}, pg_temp"})
    connection.exec_driver_sql(triggers_sql().replace("%", "%%"))
    connection.execute(set_path, {"path": usual})
