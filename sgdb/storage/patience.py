"""Waiting for an answer only as long as there is somebody to give one.

A call into the database driver cannot be given a time limit: a server that is stopped, or cut off without a
word, keeps it waiting for ever, while a large save may rightly take minutes. So the call is made in a thread,
and from time to time somebody looks whether the server still answers anybody at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from sgdb.errors import DatabaseUnreachableError

T = TypeVar("T")


class _Call(Generic[T]):
    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._outcome: Callable[[], T]
        self.done = threading.Event()
        # A daemon: a program whose database is stuck must be able to end.
        threading.Thread(target=self._run, daemon=True, name="sgdb database call").start()

    def _run(self) -> None:
        try:
            value = self._work()
            self._outcome = lambda: value
        except BaseException as error:
            failure = error

            def fail() -> T:
                raise failure

            self._outcome = fail
        finally:
            self.done.set()

    def outcome(self) -> T:
        return self._outcome()


def patiently(
    work: Callable[[], T],
    *,
    seconds: float,
    answers: Callable[[float], bool],
    abandon: Callable[[], object],
) -> T:
    """What `work` returns or raises. Raises DatabaseUnreachableError when there is no answer to be had.

    After half of `seconds` without a result, `answers` is asked whether the server is there, and is given the
    other half for it; if it is, the waiting goes on. `abandon` is called before giving up, or when something
    such as Ctrl-C ends the waiting, to make the call in the thread end. Whether such a call has taken effect
    is unknown.
    """
    call = _Call(work)
    try:
        while not call.done.wait(seconds / 2):
            if not answers(seconds / 2) and not call.done.is_set():
                abandon()
                raise DatabaseUnreachableError(
                    f"the database does not answer (waited {seconds:g} seconds)",
                    hint="see whether the server runs: `sgdb server status`, or SGDB_DATABASE_URL",
                )
    except KeyboardInterrupt:
        abandon()
        raise
    return call.outcome()
