"""Locks between commands that write. All of them end with the transaction.

A lock is asked for again and again instead of waiting inside the server: libpq does not come back to
Python while a statement waits, so Ctrl-C would have no effect until the lock is there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from enum import StrEnum

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from sgdb.errors import BusyError
from sgdb.records import GameConfig

_POLL = 0.05  # seconds
_QUEUE = "200ms"  # in a table's queue at a time: less than deadlock_timeout, and others wait no longer either
_LOCK_NOT_AVAILABLE = "55P03"
_ATTEMPT = "sgdb_lock_tables"
_ALL_SETS = "sgdb sets"
_CHECKPOINTS = "sgdb checkpoints"
_SHARED = "pg_try_advisory_xact_lock_shared"
_EXCLUSIVE = "pg_try_advisory_xact_lock"
# Of the session, since one of the transaction could not be given back in the same statement.
_ENTER, _LEAVE = "pg_try_advisory_lock_shared", "pg_advisory_unlock_shared"
# Any fixed 64-bit number does ("sgdb" and a zero); it must never change, or old and new would not meet.
SCHEMA_LOCK = 0x7367646200000000


class KeepOut(StrEnum):
    """Whom a lock on tables keeps out: writers of rows, everybody, or only who alters or empties them."""

    WRITERS = "SHARE ROW EXCLUSIVE"
    EVERYBODY = "ACCESS EXCLUSIVE"
    ALTERATIONS = "ACCESS SHARE"


def lock_set(
    connection: Connection,
    config: GameConfig,
    base_seed: int,
    *,
    timeout: float,
    on_wait: Callable[[], object] | None = None,
    while_waiting: Callable[[], object] | None = None,
) -> None:
    """Keeps every other writer out of the set with this config and base seed until the transaction ends.

    Waits up to `timeout` seconds; `on_wait` is called once when it has to, `while_waiting` before each
    further attempt: it may raise, where there is no need to wait any more. Raises BusyError. In READ
    COMMITTED the next statement sees what the former holder has committed. Who waits here has the set before
    those who come later for some of its bots, however many they are.
    """
    name = _set_name(config, base_seed)
    wanted = [(_SHARED, _ALL_SETS), (_EXCLUSIVE, _gate(name)), (_EXCLUSIVE, name)]
    _lock(connection, wanted, timeout, on_wait, while_waiting=while_waiting)


def lock_bots_in_set(
    connection: Connection,
    config: GameConfig,
    base_seed: int,
    bots: Iterable[str],
    *,
    timeout: float,
    on_wait: Callable[[], object] | None = None,
) -> None:
    """Keeps out whoever wants the whole set, and other writers of these bots' results in it; writers of
    other bots' results go on beside it. Otherwise like `lock_set`."""
    name = _set_name(config, base_seed)
    of_bots = [(_EXCLUSIVE, f"{name} bot {bot}") for bot in sorted(set(bots))]
    through_gate = [(_ENTER, _gate(name)), (_LEAVE, _gate(name)), (_SHARED, name)]
    _lock(connection, [(_SHARED, _ALL_SETS), *through_gate, *of_bots], timeout, on_wait)


def lock_experiment(
    connection: Connection,
    name: str,
    *,
    timeout: float,
    on_wait: Callable[[], object] | None = None,
) -> None:
    """Keeps out whoever else brings checkpoint files of this experiment, or wants all sets. Otherwise like
    `lock_set`."""
    wanted = [(_SHARED, _ALL_SETS), (_EXCLUSIVE, f"sgdb experiment {name}")]
    _lock(connection, wanted, timeout, on_wait, what="the same experiment")


def lock_all_sets(
    connection: Connection, *, timeout: float, on_wait: Callable[[], object] | None = None
) -> None:
    """Keeps every other writer out of all sets: for a transaction that goes through several of them in any
    order, and would otherwise wait in a circle with the others. Otherwise like `lock_set`."""
    _lock(connection, [(_EXCLUSIVE, _ALL_SETS)], timeout, on_wait)


def lock_checkpoints(connection: Connection, *, timeout: float, alone: bool = False) -> None:
    """Keeps bytes of checkpoints, in the database and in files, from being removed; `alone` is for whoever
    removes them. Otherwise like `lock_set`."""
    wanted = [(_EXCLUSIVE if alone else _SHARED, _CHECKPOINTS)]
    _lock(connection, wanted, timeout, None, what="the checkpoints")


def lock_tables(
    connection: Connection,
    tables: Iterable[str],
    *,
    timeout: float,
    on_wait: Callable[[], object] | None = None,
    keep_out: KeepOut = KeepOut.WRITERS,
) -> None:
    """Keeps others out of these tables, sgdb or not; readers go on unless they are meant. Takes no snapshot,
    so that in any isolation the next statement sees what the former holder has committed. Otherwise like
    `lock_set`."""
    statement = f"LOCK TABLE {', '.join(tables)} IN {keep_out} MODE".replace("%", "%%")
    usual = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()

    def set_timeout(wait: str) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{wait}'")

    def lock() -> bool:
        # By hand, since SQLAlchemy would leave a savepoint open that it has gone back to.
        connection.exec_driver_sql(f"SAVEPOINT {_ATTEMPT}")
        set_timeout(_QUEUE)
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
                raise
            connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {_ATTEMPT}")
            is_locked = False
        else:
            set_timeout(usual)
            is_locked = True
        connection.exec_driver_sql(f"RELEASE SAVEPOINT {_ATTEMPT}")
        return is_locked

    _wait_for(lock, "sgdb's tables", timeout, on_wait)


def lock_schema(
    connection: Connection, *, timeout: float, on_wait: Callable[[], object] | None = None
) -> None:
    """Keeps every other migration of the schema out. Otherwise like `lock_set`."""
    _poll(connection, [(_EXCLUSIVE, SCHEMA_LOCK)], "the schema", timeout, on_wait)


def lock_key(name: str) -> int:
    """The 64-bit number under which PostgreSQL knows the lock of this name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _gate(name: str) -> str:
    """The lock that whoever waits for all of `name` holds, and that those who share it go through."""
    return f"{name} gate"


def _set_name(config: GameConfig, base_seed: int) -> str:
    return f"sgdb set {config} {base_seed}"


def _lock(
    connection: Connection,
    wanted: Iterable[tuple[str, str]],
    timeout: float,
    on_wait: Callable[[], object] | None,
    *,
    what: str = "the same benchmark set",
    while_waiting: Callable[[], object] | None = None,
) -> None:
    keys = [(function, lock_key(name)) for function, name in wanted]
    _poll(connection, keys, what, timeout, on_wait, while_waiting)


def _poll(
    connection: Connection,
    wanted: list[tuple[str, int]],
    what: str,
    timeout: float,
    on_wait: Callable[[], object] | None,
    while_waiting: Callable[[], object] | None = None,
) -> None:
    """Takes these locks in one order, so that no two writers wait in a circle: none before the one in front
    of it is there. As many at a time as there are to be had, since each question takes its time."""
    lacking = wanted

    def lock() -> bool:
        nonlocal lacking
        # CASE asks one after the other, up to the first that is not to be had.
        tries = " ".join(f"WHEN NOT {function}(%s) THEN {at}" for at, (function, _) in enumerate(lacking))
        statement = f"SELECT CASE {tries} ELSE {len(lacking)} END"
        keys = tuple(key for _, key in lacking)
        lacking = lacking[connection.exec_driver_sql(statement, keys).scalar_one() :]
        return not lacking

    _wait_for(lock, what, timeout, on_wait, while_waiting)


def _wait_for(
    lock: Callable[[], bool],
    what: str,
    timeout: float,
    on_wait: Callable[[], object] | None,
    while_waiting: Callable[[], object] | None = None,
) -> None:
    deadline: float | None = None
    while not lock():
        now = time.monotonic()
        if deadline is None:
            deadline = now + timeout
            if on_wait is not None:
                on_wait()
        if now >= deadline:
            raise BusyError(
                f"another command has been at work on {what} for {timeout:g} seconds",
                hint="run the command again when the other one has finished, or raise SGDB_LOCK_TIMEOUT",
            )
        time.sleep(min(_POLL, deadline - now))
        if while_waiting is not None:
            while_waiting()
