"""How many processes play at once, where nobody says otherwise."""

from __future__ import annotations

import os


def available_cores() -> int:
    """How many cores this process may use: not all of the machine's may be ours."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
