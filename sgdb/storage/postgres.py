"""A benchmark set in the database."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, groupby
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event

from sgdb.database.access import check_ready, require_set_up
from sgdb.database.coverage import stored_games
from sgdb.database.engine import database_url, make_engine, open_engine, transaction
from sgdb.database.ids import SequenceIds
from sgdb.database.intake import Intake
from sgdb.database.locks import lock_bots_in_set, lock_set
from sgdb.database.provenance import complete_source_file, find_saved_source, make_saved_source
from sgdb.database.reading import read_games, read_results
from sgdb.database.retry import retried
from sgdb.database.sets import bots_with_results, find_set
from sgdb.errors import DatabaseUnreachableError, EnvironmentFaultError
from sgdb.pickles.seeds import regenerate
from sgdb.records import BenchmarkData, BotPerformance, Contents, GameConfig, GameSnapshot, IdRuns
from sgdb.settings import Settings
from sgdb.storage.base import BenchmarkStorage
from sgdb.storage.boards import growth, require_drawable

log = logging.getLogger(__name__)
_BATCH = 1000
_Row = TypeVar("_Row")


class _WholeSetNeededError(Exception):
    """The set itself is to grow, which the lock of a few bots does not allow."""


class PostgresStorage(BenchmarkStorage):
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
        self._settings = settings
        self._lock_timeout = settings.lock_timeout if lock_timeout is None else lock_timeout
        self._opened: Engine | None = None
        self._opened_by = 0
        self._sessions: WeakSet[Any] = WeakSet()

    # -- reading --------------------------------------------------------------------------------

    def data_exists(self) -> bool:
        """Whether the set is there."""
        with self._reading() as connection:
            return find_set(connection, self.config, self.base_seed) is not None

    def load_data(self) -> BenchmarkData | None:
        """The set whole, in one transaction."""
        return self.load_part()

    def load_part(
        self, bot_names: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> BenchmarkData | None:
        """Fetches no more than is asked for, in one transaction."""
        with self._reading() as connection:
            found = find_set(connection, self.config, self.base_seed)
            if found is None:
                return None
            set_id, num_games = found
            games = list(read_games(connection, set_id, start, stop))
            rows = read_results(connection, set_id, bot_names, start, stop)
            results = {
                bot: [row for _, row in pairs] for bot, pairs in groupby(rows, key=lambda pair: pair[0])
            }
        return BenchmarkData(games, results, self.config, num_games, self.base_seed)

    def bot_names(self) -> list[str]:
        """The bots that have results."""
        with self._reading() as connection:
            found = find_set(connection, self.config, self.base_seed)
            return sorted(bots_with_results(connection, found[0])) if found else []

    def iter_games(self, start: int = 0, stop: int | None = None) -> Iterator[GameSnapshot]:
        """Fetches a batch at a time; a connection is in use until the iterator ends or is closed."""
        with self._reading() as connection:
            found = find_set(connection, self.config, self.base_seed)
            if found is not None:
                yield from read_games(connection, found[0], start, stop)

    def load_results(self, bot_name: str, start: int = 0, stop: int | None = None) -> list[BotPerformance]:
        """One bot's rows."""
        with self._reading() as connection:
            found = find_set(connection, self.config, self.base_seed)
            if found is None:
                return []
            return [row for _, row in read_results(connection, found[0], [bot_name], start, stop)]

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
                _Write(connection, self, results, self._lock_timeout).go(games, num_games, replace, whole_set)

        try:
            retried(lambda: write(False), on_retry=log.info)
        except _WholeSetNeededError:
            retried(lambda: write(True), on_retry=log.info)

    # -- connections ----------------------------------------------------------------------------

    def close(self) -> None:
        """Closes the connections."""
        opened, self._opened = self._opened, None
        if opened is not None:
            # In a child of fork they belong to the parent, who would be cut off.
            opened.dispose(close=self._opened_by == os.getpid())

    def abandon(self) -> None:
        """Makes calls that wait for a server without an answer fail at once, in whichever thread they are."""
        for session in list(self._sessions):
            with suppress(Exception), socket.socket(fileno=os.dup(session.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
        self.close()

    def answers(self, seconds: float) -> bool:
        """Whether the server answers anybody, found out by a connection of its own within about `seconds`.
        False when there has been no connection yet."""
        opened = self._opened
        if opened is None:
            return False
        probe = make_engine(opened.url, connect_timeout=max(1, math.floor(seconds)))
        try:
            with transaction(probe) as connection:
                connection.exec_driver_sql("SELECT 1")
        except EnvironmentFaultError:
            return False
        finally:
            probe.dispose()
        return True

    def _engine(self) -> Engine:
        if self._opened is not None and self._opened_by != os.getpid():
            self.close()
        # An embedded server that has been stopped meanwhile is started again; looking takes no time.
        if self._opened is not None and self._settings.server_address is None:
            database_url(self._settings, on_notice=log.info)
        if self._opened is None:
            require_set_up(self._settings)
            engine = open_engine(self._settings, on_notice=log.info)
            event.listen(engine, "connect", lambda session, _: self._sessions.add(session))
            try:
                check_ready(engine)
            except BaseException:
                engine.dispose()
                raise
            self._opened, self._opened_by = engine, os.getpid()
        return self._opened

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


class _Write:
    """One saving call inside its transaction."""

    def __init__(
        self,
        connection: Connection,
        storage: PostgresStorage,
        results: Mapping[str, Sequence[BotPerformance]],
        lock_timeout: float,
    ) -> None:
        self._connection = connection
        self._config, self._base_seed = storage.config, storage.base_seed
        self._results = results
        self._lock_timeout = lock_timeout
        self._ids = SequenceIds()

    def go(
        self, games: Sequence[GameSnapshot], num_games: int | None, replace: bool, whole_set: bool
    ) -> None:
        """Raises _WholeSetNeededError where the set would have to grow and `whole_set` does not allow it."""
        self._lock(whole_set)
        found = find_set(self._connection, self._config, self._base_seed)
        set_id, stored_size = found or (None, 0)
        saved = find_saved_source(self._connection, set_id) if set_id is not None else None
        declared = max(stored_size, num_games or 0)
        given = _ids(games)
        needed = IdRuns([pair for rows in self._results.values() for pair in _ids(rows).pairs()])
        drawn: list[GameSnapshot] = []
        if whole_set:
            drawn, declared = self._drawn(set_id, declared, games, needed)
        elif saved is None or declared > stored_size or self._lacks(set_id, given, needed):
            raise _WholeSetNeededError
        source = saved[0] if saved else make_saved_source(self._connection, self._ids, declared)
        contents = Contents(
            layout="C",
            config=self._config,
            num_games=declared,
            base_seed=self._base_seed,
            games=given,
            results=tuple((bot, _ids(rows)) for bot, rows in self._results.items()),
        )
        intake = Intake(
            self._connection, self._ids, contents, lambda: source, replace=replace, called="given"
        )
        intake.open()
        intake.add_games(_batches(games), len(games), intake.games)
        intake.add_games(_batches(drawn), len(drawn), intake.regenerated)
        rows = ((bot, batch) for bot, rows in self._results.items() for batch in _batches(rows))
        intake.add_results(rows, sum(map(len, self._results.values())))
        if saved != (source, declared):
            complete_source_file(
                self._connection, source, benchmark_set_id=intake.set_id, contents={"num_games": declared}
            )

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
        return list(regenerate(self._config, self._base_seed, missing)), size

    def _lock(self, whole_set: bool) -> None:
        where = (self._connection, self._config, self._base_seed)
        if whole_set:
            lock_set(*where, timeout=self._lock_timeout)
        else:
            lock_bots_in_set(*where, self._results, timeout=self._lock_timeout)

    def _lacks(self, set_id: int | None, given: IdRuns, needed: IdRuns) -> bool:
        """Whether the set lacks any of these games."""
        wanted = IdRuns([*given.pairs(), *needed.pairs()]).distinct()
        if set_id is None or not len(wanted):
            return set_id is None
        start, stop = wanted.pairs()[0][0], wanted.pairs()[-1][1]
        return bool(len(wanted.minus(stored_games(self._connection, set_id, start, stop))))


def _ids(rows: Sequence[GameSnapshot] | Sequence[BotPerformance]) -> IdRuns:
    runs = IdRuns()
    for row in rows:
        runs.append(row.game_id)
    return runs


def _batches(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    for at in range(0, len(rows), _BATCH):
        yield list(rows[at : at + _BATCH])
