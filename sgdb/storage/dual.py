"""A benchmark set in two places at once, of which either may be away."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal, TypeVar

from sgdb.database.compare import Difference
from sgdb.errors import (
    BusyError,
    ConflictError,
    DamagedPickleError,
    EnvironmentFaultError,
    InputRefusedError,
    LayoutError,
    MismatchError,
    NotAPickleError,
    SgdbError,
    UnsafePickleError,
    UsageError,
    ValueRefusedError,
)
from sgdb.records import BenchmarkData, BotPerformance, GameSnapshot, IdRuns
from sgdb.storage.base import BenchmarkStorage
from sgdb.storage.breaker import breaker_of
from sgdb.storage.journal import Debt, Journal, Note, Pair, UnwrittenNote
from sgdb.storage.moves import MoveStorage
from sgdb.storage.pickle_files import PickleStorage
from sgdb.storage.reconcile import Reconciled, compare, reconcile

log = logging.getLogger(__name__)
Validation = Literal["off", "warn", "strict"]
T = TypeVar("T")
_GAPS = ("row", "num_games")  # fields of differences that are no other value, but none yet
# What keeps one side from taking part, while the other may go on.
_AWAY = (EnvironmentFaultError, BusyError)
_UNREADABLE = (NotAPickleError, DamagedPickleError, UnsafePickleError, LayoutError, ValueRefusedError)


class DualStorage(BenchmarkStorage, MoveStorage):
    """One set in a pickle and in the database; reads the primary.

    Promises as `BenchmarkStorage`, and these:

    *One side may be away*: the database refused, lost, stuck, full, its password wrong; the pickle's folder
    closed or full, its file damaged. A call then does with the other side and succeeds. A note in the journal
    says what is owed, is there before a save begins, and survives the death of the process at any moment. The
    next call that finds the side back pays the debt first, as `sgdb sync` does at any time: each side gets
    what only the other has, both are read again and compared, and only then is the note removed. Where both
    are away, the primary's error comes out.

    *Validation*: with "warn" or "strict", what was saved, or was loaded with `load_data`, `load_part` or
    `load_results`, is compared between both sides; `share` from 0 to 1 is how much of the games. Differences
    are recorded in the journal, field by field; "warn" logs a warning, "strict" raises MismatchError: what
    was saved stays saved.

    A value that the second side has otherwise stays there as it is, recorded as a mismatch.

    *Moves* are kept by the database alone, so calls about them raise as it does when it is away; nothing is
    owed then.
    """

    kind = "dual"

    def __init__(
        self,
        primary: BenchmarkStorage,
        secondary: BenchmarkStorage,
        *,
        pickle: PickleStorage,
        journal: Journal,
        address: str,
        validate: Validation = "warn",
        share: float = 1.0,
    ) -> None:
        """`pickle` is one of the two; `address` is what the journal's notes call the database."""
        super().__init__(primary.config, primary.base_seed)
        if pickle not in (primary, secondary) or {primary.kind, secondary.kind} != {"pickle", "database"}:
            raise UsageError(
                f"a dual storage takes a pickle and a database, not {primary.kind} and {secondary.kind}"
            )
        if (secondary.config, secondary.base_seed) != (self.config, self.base_seed):
            raise UsageError("the two sides of a dual storage hold different sets")
        if validate not in ("off", "warn", "strict") or not 0 <= share <= 1:
            raise UsageError("validate is off, warn or strict; share is a number from 0 to 1")
        self._primary, self._secondary = primary, secondary
        self._pickle = pickle
        self._database = secondary if pickle is primary else primary
        self._journal = journal
        self._pair = Pair(self.config, self.base_seed, str(pickle.path), address)
        self._validate = validate
        self._share = share
        self._pickle_is_away = False
        self._has_met = False
        # Paying reads both sides whole: what fails is not tried again with every call.
        self._settling = breaker_of(f"debts of {self._pair.name}")

    # -- reading --------------------------------------------------------------------------------

    def load_data(self) -> BenchmarkData | None:
        """The primary's data, compared with the other side's."""
        data = self._read(lambda side: side.load_data())
        if data is not None:
            self._compare_sides(data.num_games, None)
        return data

    def data_exists(self) -> bool:
        """Whether the primary has data."""
        return self._read(lambda side: side.data_exists())

    def bot_names(self) -> list[str]:
        """The primary's bots."""
        return self._read(lambda side: side.bot_names())

    def load_part(
        self, bot_names: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> BenchmarkData | None:
        """The primary's part, compared with the other side's."""
        data = self._read(lambda side: side.load_part(bot_names, start, stop))
        if data is not None and data.games:
            names = None if bot_names is None else list(bot_names)
            self._compare_sides(data.games[-1].game_id + 1, names, data.games[0].game_id)
        return data

    def iter_games(self, start: int = 0, stop: int | None = None) -> Iterator[GameSnapshot]:
        """The primary's games; where it goes away in the middle, the others come from the other side, so
        they are not of one moment then. Not compared."""
        self._settle()
        failure: SgdbError | None = None
        for side in self._order():
            try:
                for game in side.iter_games(start, stop):
                    yield game
                    start = game.game_id + 1
            except self._absences(side) as error:
                failure = failure or error
                self._went_away(side, error)
            else:
                return
        assert failure is not None
        raise failure

    def load_results(self, bot_name: str, start: int = 0, stop: int | None = None) -> list[BotPerformance]:
        """The primary's results, compared with the other side's."""
        rows = self._read(lambda side: side.load_results(bot_name, start, stop))
        if rows:
            self._compare_sides(rows[-1].game_id + 1, [bot_name], rows[0].game_id)
        return rows

    def _read(self, work: Callable[[BenchmarkStorage], T]) -> T:
        self._settle()
        failure: SgdbError | None = None
        for side in self._order():
            try:
                value = work(side)
            except self._absences(side) as error:
                failure = failure or error
                self._went_away(side, error)
            else:
                self._is_there(side)
                return value
        assert failure is not None
        raise failure

    def _order(self) -> tuple[BenchmarkStorage, BenchmarkStorage]:
        """The sides in the order in which they are read: one that still owes comes second."""
        if self._owes():
            lacking = {debt.lacks for debt in self._journal.debts() if debt.pair == self._pair}
            if lacking == {self._primary.kind}:
                return self._secondary, self._primary
        return self._primary, self._secondary

    # -- writing --------------------------------------------------------------------------------

    def store(
        self,
        games: Sequence[GameSnapshot],
        results: Mapping[str, Sequence[BotPerformance]],
        num_games: int | None,
        *,
        replace: bool,
    ) -> None:
        """Saves on both sides, the primary first."""
        self._settle()
        with self._note(tuple(results) if replace else ()) as note:
            failures: dict[str, SgdbError] = {}
            for side in (self._primary, self._secondary):
                try:
                    side.store(games, results, num_games, replace=replace)
                except SgdbError as error:
                    is_saved = side is self._secondary and not failures
                    if isinstance(error, self._absences(side)):
                        self._went_away(side, error)
                    elif not (is_saved and isinstance(error, ConflictError)):
                        if not is_saved:
                            note.settle()
                        raise
                    failures[side.kind] = error
                else:
                    self._is_there(side)
            if len(failures) == 2:
                raise failures[self._primary.kind]
            for kind, failure in failures.items():
                note.owe(kind, failure.message)
            if not failures:
                note.settle()
        if all(isinstance(failure, ConflictError) for failure in failures.values()):
            self._compare_saved(games, results)

    @contextmanager
    def _note(self, replace: tuple[str, ...]) -> Iterator[Note]:
        """A note that the secondary may lack what is being saved: the primary gets it first."""
        with ExitStack() as stack:
            note: Note
            try:
                note = stack.enter_context(
                    self._journal.note(Debt(self._pair, self._secondary.kind, replace=replace))
                )
            except _AWAY as error:
                log.warning("nothing can be noted in the journal: %s", error.message)
                note = UnwrittenNote(error)
            yield note

    # -- moves ----------------------------------------------------------------------------------

    def save_moves(self, bot_name: str, moves: Mapping[int, Sequence[tuple[int, int]]]) -> None:
        """Saves in the database, once it has what it is owed."""
        self._settle()
        self._moves.save_moves(bot_name, moves)

    def load_moves(
        self, bot_name: str, start: int = 0, stop: int | None = None
    ) -> dict[int, list[tuple[int, int]]]:
        """The database's moves."""
        return self._moves.load_moves(bot_name, start, stop)

    def games_with_moves(self, bot_name: str) -> IdRuns:
        """The games on which the database has moves."""
        return self._moves.games_with_moves(bot_name)

    @property
    def _moves(self) -> MoveStorage:
        if not isinstance(self._database, MoveStorage):
            raise UsageError(f"{type(self._database).__name__} keeps no moves")
        return self._database

    def close(self) -> None:
        """Closes both sides."""
        self._primary.close()
        self._secondary.close()

    # -- sides that are away --------------------------------------------------------------------

    def _absences(self, side: BenchmarkStorage) -> tuple[type[SgdbError], ...]:
        """The errors by which this side is away. A pickle that cannot be read is: it must not be touched,
        and the work must go on. Another value in it is no absence, but the caller's business."""
        return (*_AWAY, *_UNREADABLE) if side is self._pickle else _AWAY

    def _went_away(self, side: BenchmarkStorage, error: SgdbError) -> None:
        """Says so, once; of the database its guard does."""
        if side is self._pickle and not self._pickle_is_away:
            self._pickle_is_away = True
            log.warning("the pickle %s is away: %s", self._pickle.path, error.message)

    def _is_there(self, side: BenchmarkStorage) -> None:
        if side is self._pickle and self._pickle_is_away:
            self._pickle_is_away = False
            log.warning("the pickle %s is back", self._pickle.path)

    def _owes(self) -> bool:
        try:
            return self._journal.owes(self._pair)
        except _AWAY as error:
            log.warning("the journal cannot be read: %s", error.message)
            return False

    def _settle(self) -> None:
        """Pays what is owed, if both sides are there. At first also what one side has never had."""
        if self._has_met and not self._owes():
            return
        if not self._settling.allows():
            return
        try:
            if not self._has_met:
                self._meet()
            paid = self._owes() and settle(self._journal, self._pair, self._pickle, self._database)
        except (*_AWAY, InputRefusedError) as error:
            self._settling.failed()
            log.debug("a debt stays unpaid: %s", error.message)
            return
        self._settling.succeeded()
        if paid:
            log.warning("what was owed is made good: %s", self._pair.name)

    def _meet(self) -> None:
        """Notes a debt where one side has the set and the other has never heard of it."""
        # The database first: when it is away that is known at once, and a pickle has to be read for it.
        there = {side.kind: side.data_exists() for side in (self._database, self._pickle)}
        self._has_met = True
        if there["pickle"] != there["database"]:
            lacks = "database" if there["pickle"] else "pickle"
            with self._journal.note(Debt(self._pair, lacks, reason=f"the {lacks} has never had the set")):
                pass

    # -- comparing ------------------------------------------------------------------------------

    def _compare_saved(
        self, games: Sequence[GameSnapshot], results: Mapping[str, Sequence[BotPerformance]]
    ) -> None:
        ids = [game.game_id for game in games]
        ids += [row.game_id for rows in results.values() for row in rows]
        if ids:
            self._compare_sides(max(ids) + 1, list(results), min(ids))

    def _compare_sides(self, stop: int, bots: list[str] | None, start: int = 0) -> None:
        """Compares games from `start` up to but without `stop`, or a share of them, and these bots' results
        (None: all bots') on both sides."""
        width = math.ceil((stop - start) * self._share)
        if self._validate == "off" or not width or self._pickle_is_away:
            return
        start = random.randint(start, stop - width)  # noqa: S311 - a sample, no secret
        try:
            found = self._differences(bots, start, start + width)
            if found and self._journal.owes(self._pair):  # a call at work, that one side has already
                found = [difference for difference in found if difference.field not in _GAPS]
            if found:  # what was in the making when it was looked at is the same a moment later
                again = self._differences(bots, start, start + width)
                found = [difference for difference in found if difference in again]
        except (*_AWAY, InputRefusedError) as error:
            log.debug("the two sides could not be compared: %s", error.message)
            return
        self._report(found)

    def _differences(self, bots: list[str] | None, start: int, stop: int) -> list[Difference]:
        # The database first: when it is away that is known at once.
        database = self._database.load_part(bots, start, stop)
        return compare(self._pickle.load_part(bots, start, stop), database).everything

    def _report(self, found: list[Difference]) -> None:
        if not found:
            return
        try:
            self._journal.record(self._pair, found)
        except _AWAY as error:
            log.warning("a difference cannot be noted in the journal: %s", error.message)
        message = (
            f"pickle and database hold {len(found)} different values of {self.config} with base seed "
            f"{self.base_seed}: {found[0].said('pickle', 'database')}"
        )
        hint = "see `sgdb query mismatches`"
        if self._validate == "strict":
            raise MismatchError(message, hint=hint)
        log.warning("%s; %s", message, hint)


def settle(
    journal: Journal, pair: Pair, pickle: BenchmarkStorage, database: BenchmarkStorage, *, even: bool = False
) -> Reconciled | None:
    """Pays the debts of one pair; None where there are none to be had, unless it is to be done `even` so.

    Each side gets what only the other has; both are read again; what still differs is recorded in the
    journal. The notes are removed at the end. Raises as the two storages do, and then they stay.
    """
    with journal.claim(pair) as debts:
        if not debts and not even:
            return None
        done = reconcile(
            pickle,
            database,
            owed_to_database=_to_replace(debts, "database"),
            owed_to_pickle=_to_replace(debts, "pickle"),
        )
        journal.record_all(pair, done.after.everything)
        return done


def _to_replace(debts: Sequence[Debt], side: str) -> list[str]:
    """The bots whose results were to be replaced on this side."""
    return sorted({bot for debt in debts if debt.lacks == side for bot in debt.replace})
