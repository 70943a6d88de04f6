"""Two storages of one set made to hold the same: each gets what only the other has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sgdb.database.compare import Difference
from sgdb.records import BenchmarkData, BotPerformance, GameSnapshot
from sgdb.storage.base import BenchmarkStorage
from sgdb.storage.differences import game_differences, result_differences

_Results = dict[str, list[BotPerformance]]


@dataclass(frozen=True, slots=True)
class Gap:
    """What one side has and the other lacks."""

    games: list[GameSnapshot] = field(default_factory=list)
    results: _Results = field(default_factory=dict)
    num_games: int | None = None
    """The larger size that this side declares; None where it declares no larger one."""

    @property
    def result_count(self) -> int:
        """Results of all bots."""
        return sum(map(len, self.results.values()))

    @property
    def is_empty(self) -> bool:
        """Whether the other side lacks nothing."""
        return not (self.games or self.results or self.num_games is not None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the pickle alone has, what the database alone has, and what both have with different values."""

    only_pickle: Gap
    only_database: Gap
    differences: list[Difference]

    @property
    def everything(self) -> list[Difference]:
        """All of it value by value: a row that one side lacks is a difference of the field "row"."""
        found = list(self.differences)
        for gap, present in ((self.only_pickle, ("present", None)), (self.only_database, (None, "present"))):
            found += [Difference(game.game_id, None, "row", *present) for game in gap.games]
            for bot, rows in gap.results.items():
                found += [Difference(row.game_id, bot, "row", *present) for row in rows]
        sizes = self.only_pickle.num_games, self.only_database.num_games
        if sizes != (None, None):
            found.append(Difference(None, None, "num_games", *sizes))
        return found


def compare(pickle: BenchmarkData | None, database: BenchmarkData | None) -> Comparison:
    """Every row of both sides; None is a side without the set."""
    differences: list[Difference] = []
    ours = {} if pickle is None else {game.game_id: game for game in pickle.games}
    theirs = {} if database is None else {game.game_id: game for game in database.games}
    for game_id in ours.keys() & theirs.keys():
        differences += game_differences(ours[game_id], theirs[game_id])
    our_results: _Results = {} if pickle is None else pickle.results
    their_results: _Results = {} if database is None else database.results
    our_gap, their_gap = {}, {}
    for bot in sorted(our_results.keys() | their_results.keys()):
        mine, other = our_results.get(bot, []), their_results.get(bot, [])
        differences += compare_results(bot, mine, other)
        our_gap[bot] = _lacking(mine, other)
        their_gap[bot] = _lacking(other, mine)
    sizes = [0 if data is None else data.num_games for data in (pickle, database)]
    return Comparison(
        Gap(
            [game for game_id, game in ours.items() if game_id not in theirs],
            {bot: rows for bot, rows in our_gap.items() if rows},
            sizes[0] if pickle is not None and (database is None or sizes[0] > sizes[1]) else None,
        ),
        Gap(
            [game for game_id, game in theirs.items() if game_id not in ours],
            {bot: rows for bot, rows in their_gap.items() if rows},
            sizes[1] if database is not None and (pickle is None or sizes[1] > sizes[0]) else None,
        ),
        sorted(differences, key=lambda found: (found.bot or "", found.game_id or 0, found.field)),
    )


def compare_results(
    bot: str, pickle: Iterable[BotPerformance], database: Iterable[BotPerformance]
) -> list[Difference]:
    """How the results that both sides have of one bot differ."""
    theirs = {row.game_id: row for row in database}
    return [
        difference
        for row in pickle
        if row.game_id in theirs
        for difference in result_differences(bot, row, theirs[row.game_id])
    ]


def _lacking(rows: list[BotPerformance], others: list[BotPerformance]) -> list[BotPerformance]:
    there = {row.game_id for row in others}
    return [row for row in rows if row.game_id not in there]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found before, and what still differs after both sides have been read again."""

    before: Comparison
    after: Comparison


def reconcile(
    pickle: BenchmarkStorage,
    database: BenchmarkStorage,
    *,
    owed_to_database: Iterable[str] = (),
    owed_to_pickle: Iterable[str] = (),
) -> Reconciled:
    """Gives each side what only the other has, then reads and compares both anew.

    Values that differ stay as they are, except results of the bots named: they were saved to take the place
    of what was there, and did not reach that side. Raises as saving and loading do; whatever had been given
    by then is right, and the rest is given by the next call.
    """
    in_database = database.load_data()  # first: when it is away that is known at once
    before = compare(pickle.load_data(), in_database)
    _give(database, before.only_pickle)
    _give(pickle, before.only_database)
    for bots, source, target in (
        (owed_to_database, pickle, database),
        (owed_to_pickle, database, pickle),
    ):
        for bot in bots:
            target.save_results(bot, source.load_results(bot), replace=True)
    return Reconciled(before, compare(pickle.load_data(), database.load_data()))


def _give(storage: BenchmarkStorage, gap: Gap) -> None:
    if not gap.is_empty:
        storage.store(gap.games, gap.results, gap.num_games, replace=False)
