"""A benchmark set in the database."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

from sqlalchemy import Connection, Engine

from sgdb.database.access import check_ready, require_set_up
from sgdb.database.direct import DirectConnections, Question, ask_within
from sgdb.database.engine import database_url, open_engine, transaction
from sgdb.database.histories import add_histories, read_histories, recorded_games
from sgdb.database.locks import lock_bots_in_set
from sgdb.database.parts import Parts, Revision
from sgdb.database.reading import read_games, read_results
from sgdb.database.retry import retried
from sgdb.database.sets import bots_with_results, find_set
from sgdb.errors import (
    DatabasePermissionError,
    DatabaseUnreachableError,
    NotFoundError,
)
from sgdb.records import BenchmarkData, BotPerformance, GameConfig, GameSnapshot, IdRuns
from sgdb.settings import Settings
from sgdb.storage.base import BenchmarkStorage
from sgdb.storage.cache import KeptSet, cache_of
from sgdb.storage.moves import MoveStorage
from sgdb.storage.saving import Save, SetHasGrownError, WholeSetNeededError
from sgdb.storage.wires import Wires, answers

log = logging.getLogger(__name__)


class PostgresStorage(BenchmarkStorage, MoveStorage):
    """One set in the settings' database; promises as in `BenchmarkStorage`.

    Durable when a call returns as far as the server's `synchronous_commit` is. Writers of different bots work
    side by side; a call that makes the set or adds games to it waits for the others, up to `lock_timeout`
    seconds (default: the settings'). Transactions that the server gives up are tried again, a few times.
    Connects when first used; the embedded server is started where that is needed.
    """

    kind = "database"

    def __init__(
        self,
        settings: Settings,
        config: GameConfig,
        base_seed: int,
        *,
        lock_timeout: float | None = None,
    ) -> None:
        super().__init__(config, base_seed)
        self.settings = settings
        self._lock_timeout = settings.lock_timeout if lock_timeout is None else lock_timeout
        self._opened: DirectConnections | None = None
        self._opening = threading.Lock()
        self._parts = Parts(self._ask, self.config, self.base_seed)
        self._wires = Wires()

    # -- reading --------------------------------------------------------------------------------

    def data_exists(self) -> bool:
        """Whether the set is there."""
        return self._parts.exists()

    def load_data(self) -> BenchmarkData | None:
        """The set whole; from memory where the server says that it has not changed since."""
        cache = cache_of(self.settings.cache_size)
        if cache is None or (revision := self._revision()) is None:
            return self.load_part()
        kept = cache.find(self._name)
        if kept is None or kept.revision != revision:
            kept = self._load()
            if kept is None:
                return None
            cache.keep(self._name, kept)
        return kept.data()

    def load_part(
        self, bot_names: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> BenchmarkData | None:
        """Fetches no more than is asked for; a small part in one statement, else in one transaction."""
        if small := self._parts.small(start, stop):
            return self._parts.whole(bot_names, *small)
        with self._reading() as connection:
            found = find_set(connection, self.config, self.base_seed)
            if found is None:
                return None
            set_id, num_games = found
            games = list(read_games(connection, set_id, start, stop))
            results = read_results(connection, set_id, bot_names, start, stop)
        return BenchmarkData(games, results, self.config, num_games, self.base_seed)

    def bot_names(self) -> list[str]:
        """The bots that have results."""
        with self._reading() as connection:
            found = find_set(connection, self.config, self.base_seed)
            return sorted(bots_with_results(connection, found[0])) if found else []

    def iter_games(self, start: int = 0, stop: int | None = None) -> Iterator[GameSnapshot]:
        """A small part comes in one statement. Else a batch is fetched at a time, and a connection is in use
        until the iterator ends or is closed."""
        if small := self._parts.small(start, stop):
            yield from self._parts.games(*small)
            return
        with self._reading() as connection:
            found = find_set(connection, self.config, self.base_seed)
            if found is not None:
                yield from read_games(connection, found[0], start, stop)

    def load_results(self, bot_name: str, start: int = 0, stop: int | None = None) -> list[BotPerformance]:
        """One bot's rows: of a small part in one statement, of a set that is in memory whole from there."""
        if small := self._parts.small(start, stop):
            return self._parts.results(bot_name, *small)
        if start <= 0 and stop is None and (kept := self._kept()) is not None:
            return kept.results(bot_name)
        with self._reading() as connection:
            found = find_set(connection, self.config, self.base_seed)
            if found is None:
                return []
            return read_results(connection, found[0], [bot_name], start, stop).get(bot_name, [])

    # -- what is kept in memory -----------------------------------------------------------------

    @cached_property
    def _name(self) -> str:
        """What the cache knows the set by: another user may not be allowed to read it."""
        return f"{self._connections().engine.url} {self.config} seed {self.base_seed}"

    def _kept(self) -> KeptSet | None:
        """The set as it is in memory, if it is there, and still as it was."""
        cache = cache_of(self.settings.cache_size)
        kept = None if cache is None else cache.find(self._name)
        return kept if kept is not None and kept.revision == self._revision() else None

    def _revision(self) -> Revision | None:
        """The set's state; None without a set, or where this user may not read it."""
        try:
            return self._parts.revision()
        except DatabasePermissionError:  # to read the rows he need not be allowed to read their totals
            return None

    def _load(self) -> KeptSet | None:
        """The set as it is in the database, with its revision, as of one moment."""
        with self._reading() as connection:
            parts = Parts(partial(ask_within, connection), self.config, self.base_seed)
            revision = parts.revision()
            if revision is None:
                return None
            games = list(read_games(connection, revision.set_id))
            results = read_results(connection, revision.set_id)
        data = BenchmarkData(games, results, self.config, revision.num_games, self.base_seed)
        return KeptSet(revision, data)

    # -- writing --------------------------------------------------------------------------------

    def store(
        self,
        games: Sequence[GameSnapshot],
        results: Mapping[str, Sequence[BotPerformance]],
        num_games: int | None,
        *,
        replace: bool,
    ) -> None:
        """One transaction; where the set has to grow, a second one that keeps other writers out."""

        def write(whole_set: bool) -> None:
            with self._writing() as connection:
                Save(connection, self.config, self.base_seed, results, lock_timeout=self._lock_timeout).go(
                    games, num_games, replace=replace, whole_set=whole_set
                )

        whole_set = False
        while True:
            try:
                retried(partial(write, whole_set), on_retry=log.info)
            except WholeSetNeededError:
                whole_set = True
            except SetHasGrownError:
                whole_set = False
            else:
                return

    # -- moves ----------------------------------------------------------------------------------

    def save_moves(self, bot_name: str, moves: Mapping[int, Sequence[tuple[int, int]]]) -> None:
        """One transaction, beside the writers of other bots."""

        def write() -> None:
            with self._writing() as connection:
                where = (connection, self.config, self.base_seed)
                lock_bots_in_set(*where, [bot_name], timeout=self._lock_timeout)
                found = find_set(*where)
                if found is None:
                    raise NotFoundError(
                        f"there is no set {self.config} with base seed {self.base_seed}, so no moves either",
                        hint="save the results first",
                    )
                add_histories(connection, found[0], bot_name, moves)

        if moves:
            retried(write, on_retry=log.info)

    def load_moves(
        self, bot_name: str, start: int = 0, stop: int | None = None
    ) -> dict[int, list[tuple[int, int]]]:
        """One bot's moves."""
        with self._reading() as connection:
            found = find_set(connection, self.config, self.base_seed)
            return dict(read_histories(connection, found[0], bot_name, start, stop)) if found else {}

    def games_with_moves(self, bot_name: str) -> IdRuns:
        """Looks at the rows, without fetching the moves."""
        with self._reading() as connection:
            found = find_set(connection, self.config, self.base_seed)
            return recorded_games(connection, found[0], bot_name) if found else IdRuns()

    # -- connections ----------------------------------------------------------------------------

    def close(self) -> None:
        """Closes the connections."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def abandon(self) -> None:
        """Makes calls that wait for a server without an answer fail at once, in whichever thread they are."""
        opened, self._opened = self._opened, None  # first: by this they know that they are not to try again
        self._wires.cut()
        if opened is not None:
            opened.close()

    def answers(self, seconds: float) -> bool:
        """Whether the server answers anybody, found out by a connection of its own within about `seconds`.
        False when there has been no connection yet."""
        opened = self._opened
        return opened is not None and answers(opened.engine.url, seconds)

    def _connections(self) -> DirectConnections:
        with self._opening:
            if self._opened is not None and not self._opened.is_own:
                self.close()
            if self._opened is None:
                self._opened = DirectConnections(self._open())
            elif self.settings.server_address is None:
                # An embedded server that has been stopped meanwhile is started; looking takes no time.
                database_url(self.settings, on_notice=log.info)
            return self._opened

    def _open(self) -> Engine:
        require_set_up(self.settings)
        engine = open_engine(self.settings, on_notice=log.info)
        self._wires.watch(engine)
        try:
            check_ready(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def _ask(self, question: Question, values: Mapping[str, Any]) -> list[Any]:
        """The answer to a question. Where the connection at hand was lost while nobody used it, it is asked
        again on another."""
        with self._reopening():
            opened = self._opened
            if opened is not None and opened.is_own:
                # One that answers comes from a server that runs, so nobody has to look for that.
                rows = opened.ask_at_hand(question, values)
                if rows is not None:
                    return rows
                if self._opened is not opened:
                    raise DatabaseUnreachableError(
                        "The connection to the database was given up", hint="run the command again"
                    )
            return self._connections().ask(question, values)

    def _engine(self) -> Engine:
        opened = self._connections()
        opened.give_back()
        return opened.engine

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._reopening(), transaction(self._engine(), read_only=True) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with (
            self._reopening(),
            # Whatever the server's default: behind a lock, what its former holder has committed must be seen.
            transaction(
                self._engine(), isolation="READ COMMITTED", lock_timeout=self._lock_timeout
            ) as connection,
        ):
            yield connection

    @contextmanager
    def _reopening(self) -> Iterator[None]:
        """After a lost connection the next call looks for the server anew: an embedded one is started."""
        try:
            yield
        except DatabaseUnreachableError:
            self.close()
            raise
