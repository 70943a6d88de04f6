"""Seconds and memory of what a process does; loaded in the process that is measured."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

_ROUNDS = 7
_ENOUGH = 2.0  # seconds after which no further round is begun


def rounds() -> Iterator[int]:
    """Numbers from 0 for as many rounds as are worth their time; at least one."""
    begun = perf_counter()
    for number in range(_ROUNDS):
        yield number
        if perf_counter() - begun > _ENOUGH:
            return


class PeakMemory:
    """How far the process's resident memory rises above what it is now."""

    def __init__(self) -> None:
        gc.collect()
        _forget_peak()
        self._before = _peak()

    def grown(self) -> int | None:
        """Bytes between the highest point since, and the beginning; None where the system does not tell."""
        peak = _peak()
        return None if peak is None or self._before is None else peak - self._before


def _forget_peak() -> None:
    """Has Linux take the present memory for the highest so far: loading libraries may have needed more."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # another system, or not allowed: then only what rises above the old peak is seen
        return


def _peak() -> int | None:
    # Not by getrusage on Linux: there a new program begins with the peak of the one that started it.
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return _peak_of_rusage()
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return None if line is None else int(line.split()[1]) * 1024


def _peak_of_rusage() -> int | None:
    try:
        import resource  # absent on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
