"""One saving call inside its transaction: what the set lacks is added, behind the locks that this needs.

Usually those of the bots whose results are saved, beside which others go on saving theirs. Where the set
itself has to be made or to grow, that of the whole set: the caller tries without it first. Of several who
need it at once, the first makes the set grow for all: the others see that as they wait, and go back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection

from sgdb.database.coverage import stored_games
from sgdb.database.ids import SequenceIds
from sgdb.database.intake import Intake
from sgdb.database.locks import lock_bots_in_set, lock_set
from sgdb.database.provenance import (
    complete_source_file,
    find_saved_source,
    make_saved_source,
    remember_files,
)
from sgdb.database.reading import read_games
from sgdb.database.sets import find_set
from sgdb.pickles.seeds import SeedStream, regenerate
from sgdb.records import BotPerformance, Contents, GameConfig, GameSnapshot, IdRuns, is_run
from sgdb.storage.boards import growth, require_drawable

_BATCH = 10_000
_Row = TypeVar("_Row")


class WholeSetNeededError(Exception):
    """The set itself is to grow, which the locks of a few bots do not allow."""


class SetHasGrownError(Exception):
    """Meanwhile another has made the set grow, so that the locks of a few bots will do."""


class _Found(NamedTuple):
    """The set as it is: its id, the size that it declares, and the source of what programs store in it."""

    set_id: int | None
    size: int
    source: tuple[int, int] | None


class Save:
    """One call's rows, on their way into the set. `results` by bot, each with at least one row."""

    def __init__(
        self,
        connection: Connection,
        config: GameConfig,
        base_seed: int,
        results: Mapping[str, Sequence[BotPerformance]],
        *,
        lock_timeout: float,
    ) -> None:
        self._connection = connection
        self._config, self._base_seed = config, base_seed
        self._results = results
        self._lock_timeout = lock_timeout
        self._ids = SequenceIds()

    def go(
        self, games: Sequence[GameSnapshot], num_games: int | None, *, replace: bool, whole_set: bool
    ) -> None:
        """Raises WholeSetNeededError where the set would have to grow and `whole_set` does not allow it, and
        SetHasGrownError where that has become needless; ConflictError, LayoutError and BusyError as
        `BenchmarkStorage` promises."""
        given = _ids(games)
        of_bots = tuple((bot, _ids(rows)) for bot, rows in self._results.items())
        needed = IdRuns([pair for _, runs in of_bots for pair in runs.pairs()])
        wanted = IdRuns([*given.pairs(), *needed.pairs()]).distinct()

        def look_again() -> None:
            if not self._is_to_grow(self._find(), num_games, wanted):
                raise SetHasGrownError

        self._lock(whole_set, look_again)
        found = self._find()
        if not whole_set and self._is_to_grow(found, num_games, wanted):
            raise WholeSetNeededError
        set_id, stored_size, saved = found
        declared = max(stored_size, num_games or 0)
        drawn: list[GameSnapshot] = []
        if whole_set:
            drawn, declared = self._drawn(set_id, declared, games, needed)
        source = saved[0] if saved else make_saved_source(self._connection, self._ids, declared)
        contents = Contents(
            layout="C",
            config=self._config,
            num_games=declared,
            base_seed=self._base_seed,
            games=given,
            results=of_bots,
        )
        intake = Intake(
            self._connection, self._ids, contents, lambda: source, replace=replace, called="given"
        )
        intake.open(None if set_id is None else (set_id, stored_size))
        intake.add_games(_batches(games), len(games), intake.games)
        intake.add_games(_batches(drawn), len(drawn), intake.regenerated)
        rows = ((bot, batch) for bot, rows in self._results.items() for batch in _batches(rows))
        intake.add_results(rows, sum(map(len, self._results.values())))
        if saved != (source, declared):
            complete_source_file(
                self._connection, source, benchmark_set_id=intake.set_id, contents={"num_games": declared}
            )
        # What files had brought already was not written again: taking them back would lose it.
        remember_files(self._connection, source, intake.set_id)

    def _find(self) -> _Found:
        found = find_set(self._connection, self._config, self._base_seed)
        if found is None:
            return _Found(None, 0, None)
        return _Found(*found, find_saved_source(self._connection, found[0]))

    def _is_to_grow(self, found: _Found, num_games: int | None, wanted: IdRuns) -> bool:
        """Whether the set lacks its source, or any of these games, or declares fewer."""
        if found.set_id is None or found.source is None or (num_games or 0) > found.size:
            return True
        if not len(wanted):
            return False
        start, stop = wanted.pairs()[0][0], wanted.pairs()[-1][1]
        return bool(len(wanted.minus(stored_games(self._connection, found.set_id, start, stop))))

    def _drawn(
        self, set_id: int | None, declared: int, games: Sequence[GameSnapshot], needed: IdRuns
    ) -> tuple[list[GameSnapshot], int]:
        """The boards that the set lacks for these results, and the size that it then declares."""
        stored = IdRuns() if set_id is None else stored_games(self._connection, set_id)
        there = IdRuns([*_ids(games).pairs(), *stored.pairs()]).distinct()
        missing, size = growth(there, declared, needed)
        if not len(missing):
            return [], size
        # Boards that sgdb has drawn itself need no proof that they follow from the base seed.
        unproven = () if set_id is None else read_games(self._connection, set_id, drawn=False)
        require_drawable(self._config, self._base_seed, chain(games, unproven), missing)
        return list(regenerate(self._config, SeedStream(self._base_seed), missing)), size

    def _lock(self, whole_set: bool, while_waiting: Callable[[], object]) -> None:
        where = (self._connection, self._config, self._base_seed)
        if whole_set:
            lock_set(*where, timeout=self._lock_timeout, while_waiting=while_waiting)
        else:
            lock_bots_in_set(*where, self._results, timeout=self._lock_timeout)


def _ids(rows: Sequence[GameSnapshot] | Sequence[BotPerformance]) -> IdRuns:
    runs = IdRuns()
    for at in range(0, len(rows), _BATCH):
        numbers = [row.game_id for row in rows[at : at + _BATCH]]
        if is_run(numbers):
            runs.extend(numbers[0], numbers[-1] + 1)
        else:
            for number in numbers:
                runs.append(number)
    return runs


def _batches(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    for at in range(0, len(rows), _BATCH):
        yield list(rows[at : at + _BATCH])
