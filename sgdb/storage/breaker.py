"""A circuit breaker: after a failure, nothing is tried for a while.

The first failure opens it for `first_pause` seconds; each further one in a row doubles the pause, up to
`longest_pause`. When a pause is over, one caller may try; the others go on without until it is known how that
went. (The pattern is Michael Nygard's, "Release It!", 2007.)
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable

FIRST_PAUSE = 30.0  # seconds
LONGEST_PAUSE = 300.0


class CircuitBreaker:
    """May be shared by any number of threads. `clock` gives seconds that never go back."""

    def __init__(
        self,
        *,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._clock = clock
        self._guard = threading.Lock()
        self._pause = 0.0
        self._open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the last try failed; it may be time for another."""
        return self._open_until is not None

    def allows(self) -> bool:
        """Whether the caller may try. Whoever is allowed to has to report `succeeded` or `failed`."""
        with self._guard:
            if self._open_until is None:
                return True
            if self._clock() < self._open_until:
                return False
            self._open_until = self._clock() + self._pause  # this caller tries, the others wait for it
            return True

    def failed(self) -> bool:
        """A try has failed; returns whether that is news."""
        with self._guard:
            is_news = self._open_until is None
            self._pause = self._first_pause if is_news else min(2 * self._pause, self._longest_pause)
            self._open_until = self._clock() + self._pause
            return is_news

    def succeeded(self) -> bool:
        """A try has succeeded; returns whether that is news."""
        with self._guard:
            is_news = self._open_until is not None
            self._open_until, self._pause = None, 0.0
            return is_news


_breakers: defaultdict[str, CircuitBreaker] = defaultdict(CircuitBreaker)


def breaker_of(name: str) -> CircuitBreaker:
    """The one breaker that this process has under a name: what one storage learns, all know."""
    return _breakers[name]
