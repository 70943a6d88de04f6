"""Calls to a database that may be away, each of which comes to an end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from sgdb.errors import BusyError, DatabaseUnreachableError, EnvironmentFaultError, SgdbError
from sgdb.storage.breaker import CircuitBreaker
from sgdb.storage.patience import patiently

log = logging.getLogger(__name__)
T = TypeVar("T")


def is_absence(error: SgdbError) -> bool:
    """Whether an error tells that the database is away or busy, and not that this machine's own files cannot
    be read or written."""
    is_of_a_file = isinstance(error.__cause__, OSError)
    return isinstance(error, EnvironmentFaultError | BusyError) and not is_of_a_file


class Guard:
    """Lets calls through to a database as long as it is there.

    A call takes at most `seconds` when the server does not answer; `answers` and `abandon` are those of
    `patiently`. After a failure the breaker lets calls fail at once for a while, with
    DatabaseUnreachableError; that the database has gone and that it is back is logged once.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        *,
        seconds: float,
        answers: Callable[[float], bool],
        abandon: Callable[[], object],
    ) -> None:
        self._breaker = breaker
        self._seconds = seconds
        self._answers, self._abandon = answers, abandon

    def call(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. After a DatabaseUnreachableError it is unknown whether it took
        place."""
        if not self._breaker.allows():
            raise DatabaseUnreachableError(
                "the database was away a moment ago and has not been tried again yet",
                hint="nothing has to be done: it is tried again from time to time",
            )
        try:
            value = patiently(work, seconds=self._seconds, answers=self._answers, abandon=self._abandon)
        except EnvironmentFaultError as error:
            if self._breaker.failed():
                log.warning("the database is away: %s", error.message)
            raise
        except BusyError:
            raise  # it is there, and says nothing about the next call
        except Exception:
            self._came_back()
            raise
        self._came_back()
        return value

    def _came_back(self) -> None:
        if self._breaker.succeeded():
            log.warning("the database is back")
