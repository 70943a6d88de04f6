"""Trying a transaction again that the server gave up through no fault of its own.

The waits double and are drawn at random up to that bound ("full jitter"), so that processes which met once
do not meet again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from sgdb.database.driver_errors import is_transient
from sgdb.errors import SgdbError

ATTEMPTS = 8
FIRST_WAIT = 0.1  # seconds, at most; the last of eight attempts comes after 12.7 s of waits at most
T = TypeVar("T")


def retried(
    work: Callable[[], T],
    *,
    on_retry: Callable[[str], object] | None = None,
    attempts: int = ATTEMPTS,
    first_wait: float = FIRST_WAIT,
) -> T:
    """What `work` returns: a whole transaction of its own, tried up to `attempts` times.

    It is tried again after an error that passes by itself (see `is_transient`), and `on_retry` is told so in
    a sentence. Whatever else it raises, and the error of the last attempt, comes out as it is.
    """
    for attempt in range(1, attempts):
        try:
            return work()
        except SgdbError as error:
            if not is_transient(error):
                raise
            if on_retry is not None:
                on_retry(f"trying again ({attempt} of {attempts - 1}): {error.message}")
        time.sleep(random.uniform(0, first_wait * 2 ** (attempt - 1)))  # noqa: S311 - jitter, no secret
    return work()
