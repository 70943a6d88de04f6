"""Something that is done every few seconds as long as a block lasts, beside it and without disturbing it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Self

log = logging.getLogger(__name__)
_FAREWELL = 1.0  # seconds to wait for a beat at the end, at most


class Heartbeat:
    """Calls `beat` every `seconds` in a thread, from the beginning of the block to its end.

    What it raises is logged for whoever looks for it, and the next beat comes as if nothing had been. A child
    of a fork has no such thread and needs none: the parent goes on.
    """

    def __init__(self, beat: Callable[[], object], seconds: float) -> None:
        self._beat = beat
        self._seconds = seconds
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = 0

    def __enter__(self) -> Self:
        self._over.clear()
        self._process = os.getpid()
        # A daemon: a program whose database is stuck must be able to end.
        self._thread = threading.Thread(target=self._run, daemon=True, name="sgdb heartbeat")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None and self._process == os.getpid():
            self._over.set()
            self._thread.join(_FAREWELL)
        self._thread = None

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            try:
                self._beat()
            except Exception as error:
                log.debug("a heartbeat was missed: %s", error)
