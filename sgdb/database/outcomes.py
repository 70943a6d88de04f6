"""Bots' outcomes on boards, counted on the server: what statistics need, whatever the number of boards.

A board is one, however many sets hold it (see `twins`). Where a bot has results on several copies of a board,
the one on the game with the smallest id counts, which is the copy that was stored first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    cast,
    func,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, array

from sgdb.database.models import Bot, GameConfigRow, GameResult
from sgdb.database.reading import streamed
from sgdb.database.twins import boards
from sgdb.records import GameConfig

METRICS = ("tiles_cleared", "completed", "singles_remaining", "moves_made")


class Played(NamedTuple):
    """How many boards of one config a bot has played, how many results it has on them, and on how many boards
    its results on several copies differ."""

    boards: int = 0
    results: int = 0
    inconsistent: int = 0


@dataclass(slots=True)
class Meeting:
    """What two bots have played of one config, and their outcomes on the boards that both have played.

    By metric, `differences` tells on how many boards each difference (first minus second) was seen, and
    `sums` are the two bots' own sums.
    """

    first: Played = field(default_factory=Played)
    second: Played = field(default_factory=Played)
    common: int = 0
    differences: dict[str, dict[int, int]] = field(default_factory=lambda: {name: {} for name in METRICS})
    sums: dict[str, tuple[int, int]] = field(default_factory=dict)


class Scores(NamedTuple):
    """One bot's outcomes on boards of one config: how many it completed, and how often it cleared how many
    tiles."""

    completed: int
    tiles_cleared: Mapping[int, int]


def players(connection: Connection) -> dict[str, int]:
    """The ids of all bots that have results, by name."""
    has_results = select(GameResult.id).where(GameResult.bot_id == Bot.id).exists()
    rows = connection.execute(select(Bot.name, Bot.id).where(has_results))
    return {row.name: row.id for row in rows}


def meetings(
    connection: Connection,
    first: int,
    second: int,
    *,
    set_id: int | None = None,
    config: GameConfig | None = None,
) -> dict[GameConfig, Meeting]:
    """What these two bots, given by their ids, have played of this set, or of this config, or at all.

    By config, in order; configs of which neither has played a board are left out.
    """
    pairs = _pairs(boards(connection, set_id=set_id, config=config), first, second)
    differences = [pairs.c[f"{name}_difference"] for name in METRICS]
    has = [pairs.c.first_results > 0, pairs.c.second_results > 0]
    query = select(
        pairs.c.config_id,
        func.grouping(*differences).label("grouped"),
        *differences,
        func.count().label("boards"),
        *(func.count().filter(one).label(name) for name, one in zip(("first", "second"), has, strict=True)),
        *(
            cast(func.coalesce(func.sum(pairs.c[name]), 0), BigInteger).label(name)
            for name in ("first_results", "second_results")
        ),
        *(
            func.count().filter(pairs.c[name]).label(name)
            for name in ("first_inconsistent", "second_inconsistent")
        ),
        *(
            cast(func.sum(pairs.c[f"{name}_{side}"]).filter(has[0] & has[1]), BigInteger).label(
                f"{name}_{side}"
            )
            for name in METRICS
            for side in ("first", "second")
        ),
    ).group_by(
        func.grouping_sets(
            tuple_(pairs.c.config_id), *(tuple_(pairs.c.config_id, column) for column in differences)
        )
    )
    names = _configs(connection)
    found: dict[GameConfig, Meeting] = {}
    # grouping() has a bit for each difference that a row is not grouped by, the first one highest.
    whole = (1 << len(METRICS)) - 1
    metric_of = {whole ^ (1 << (len(METRICS) - 1 - at)): name for at, name in enumerate(METRICS)}
    for row in streamed(connection, query):
        meeting = found.setdefault(names[row.config_id], Meeting())
        metric = metric_of.get(row.grouped)
        values = row._mapping
        if metric is None:
            meeting.first = Played(row.first, row.first_results, row.first_inconsistent)
            meeting.second = Played(row.second, row.second_results, row.second_inconsistent)
            meeting.sums = {
                name: (values[f"{name}_first"] or 0, values[f"{name}_second"] or 0) for name in METRICS
            }
        elif values[f"{metric}_difference"] is not None:  # a board of both
            meeting.differences[metric][values[f"{metric}_difference"]] = row.boards
    for meeting in found.values():
        meeting.common = sum(meeting.differences[METRICS[0]].values())
    return dict(sorted(found.items()))


def _pairs(played: CTE, first: int, second: int) -> Any:
    """One row a board that either bot has played: each one's numbers, their differences (NULL where one bot
    has not played it), how many results each has, and whether these differ."""
    numbers = _numbers()
    columns: list[Any] = []
    for side, bot_id in (("first", first), ("second", second)):
        of_bot = GameResult.bot_id == bot_id
        columns += [
            _first_copy(numbers).filter(of_bot).label(side),
            func.count().filter(of_bot).label(f"{side}_results"),
            (func.min(numbers).filter(of_bot) != func.max(numbers).filter(of_bot)).label(
                f"{side}_inconsistent"
            ),
        ]
    boards_played = (
        select(played.c.config_id, *columns)
        .select_from(GameResult)
        .join(played, played.c.game_id == GameResult.game_id)
        .where(GameResult.bot_id.in_([first, second]))
        .group_by(played.c.config_id, played.c.board)
        .subquery()
    )
    shown: list[Any] = []
    for at, name in enumerate(METRICS, start=1):
        ours, theirs = boards_played.c.first[1][at], boards_played.c.second[1][at]
        shown += [
            ours.label(f"{name}_first"),
            theirs.label(f"{name}_second"),
            (ours - theirs).label(f"{name}_difference"),
        ]
    others = [
        boards_played.c[f"{side}_{what}"]
        for side in ("first", "second")
        for what in ("results", "inconsistent")
    ]
    return select(boards_played.c.config_id, *others, *shown).subquery()


def _numbers() -> ColumnElement[Any]:
    """A result's numbers in order of METRICS."""
    return array(
        [
            GameResult.tiles_cleared,
            cast(GameResult.completed, Integer),
            GameResult.singles_remaining,
            GameResult.moves_made,
        ]
    )


def _first_copy(numbers: ColumnElement[Any]) -> Any:
    """The numbers of all results of a group, those on the copy that was stored first in front."""
    return func.array_agg(
        aggregate_order_by(numbers, GameResult.game_id),
        type_=ARRAY(Integer, dimensions=2, zero_indexes=False),
    )


def coverage(
    connection: Connection, bots: Collection[int] | None = None, *, config: GameConfig | None = None
) -> dict[GameConfig, dict[frozenset[str], int]]:
    """For each config, how many boards have been played by exactly these bots.

    Only the bots with these ids, or all; only this config, or all.
    """
    played = boards(connection, config=config)
    query = (
        select(played.c.config_id, func.array_agg(GameResult.bot_id.distinct()).label("bots"))
        .select_from(GameResult)
        .join(played, played.c.game_id == GameResult.game_id)
        .group_by(played.c.config_id, played.c.board)
    )
    if bots is not None:
        query = query.where(GameResult.bot_id.in_(list(bots)))
    groups = query.subquery()
    counted: Select[Any] = select(groups.c.config_id, groups.c.bots, func.count()).group_by(
        groups.c.config_id, groups.c.bots
    )
    configs = _configs(connection)
    names = {row.id: row.name for row in connection.execute(select(Bot.id, Bot.name))}
    found: dict[GameConfig, dict[frozenset[str], int]] = {}
    for config_id, ids, number in streamed(connection, counted):
        found.setdefault(configs[config_id], {})[frozenset(names[bot_id] for bot_id in ids)] = number
    return dict(sorted(found.items()))


def scores(
    connection: Connection, bots: Mapping[str, int], *, config: GameConfig | None = None
) -> dict[GameConfig, dict[str, Scores]]:
    """By config and name, how these bots did on the boards that all of them have played.

    `bots` are their ids by name. Only this config, or all.
    """
    played = boards(connection, config=config)
    outcomes = (
        select(
            played.c.config_id,
            GameResult.bot_id,
            _first_copy(_numbers()).label("numbers"),
            func.count().over(partition_by=[played.c.board]).label("players"),
        )
        .select_from(GameResult)
        .join(played, played.c.game_id == GameResult.game_id)
        .where(GameResult.bot_id.in_(list(bots.values())))
        .group_by(played.c.config_id, played.c.board, GameResult.bot_id)
        .subquery()
    )
    tiles = outcomes.c.numbers[1][1]
    completed = outcomes.c.numbers[1][2]
    plain = (
        select(outcomes.c.config_id, outcomes.c.bot_id, tiles.label("tiles"), completed.label("completed"))
        .where(outcomes.c.players == len(bots))
        .subquery()
    )
    query = select(
        plain.c.config_id,
        plain.c.bot_id,
        plain.c.tiles,
        func.count().label("boards"),
        cast(func.sum(plain.c.completed), BigInteger).label("completed"),
    ).group_by(plain.c.config_id, plain.c.bot_id, plain.c.tiles)
    configs = _configs(connection)
    names = {bot_id: name for name, bot_id in bots.items()}
    completions: dict[tuple[GameConfig, str], int] = {}
    cleared: dict[tuple[GameConfig, str], dict[int, int]] = {}
    for row in streamed(connection, query):
        key = configs[row.config_id], names[row.bot_id]
        completions[key] = completions.get(key, 0) + row.completed
        cleared.setdefault(key, {})[row.tiles] = row.boards
    found: dict[GameConfig, dict[str, Scores]] = {}
    for (of, name), counts in sorted(cleared.items()):
        found.setdefault(of, {})[name] = Scores(completions[of, name], counts)
    return found


def _configs(connection: Connection) -> dict[int, GameConfig]:
    rows = connection.execute(
        select(GameConfigRow.id, GameConfigRow.num_rows, GameConfigRow.num_cols, GameConfigRow.num_colors)
    )
    return {row.id: GameConfig(row.num_rows, row.num_cols, row.num_colors) for row in rows}
