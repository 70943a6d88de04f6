"""Two sides in turn: what disturbs the machine disturbs both."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

Work = Callable[[], object]
# Entering it makes ready, and gives the work whose time counts; leaving it clears up.
Side = Callable[[], AbstractContextManager[Work]]


@dataclass(frozen=True, slots=True)
class Turns:
    """What both sides needed, turn by turn."""

    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)


def simply(work: Work) -> Side:
    """A side that needs no preparation."""

    @contextmanager
    def side() -> Iterator[Work]:
        yield work

    return side


def in_turn(ours: Side, floor: Side, turns: int, *, times: int = 1) -> Turns:
    """The seconds that each side needs, ours first in each of the turns.

    `times` repeats the work within a turn, for what is too short to be timed alone; counted is one of them.
    """
    found = Turns()
    for _ in range(turns):
        found.ours.append(seconds(ours, times))
        found.floor.append(seconds(floor, times))
    return found


def seconds(side: Side, times: int = 1) -> float:
    """How long one side takes, once."""
    with side() as work:
        # As in a process that does nothing else: the collector is not to look at what others have left.
        gc.collect()
        gc.freeze()
        try:
            begin = time.perf_counter()
            for _ in range(times):
                work()
            return (time.perf_counter() - begin) / times
        finally:
            gc.unfreeze()
