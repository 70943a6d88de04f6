"""What a benchmark found, and whether that is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.timing import Turns

MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a figure's value: at most `limit`, or else at least."""

    limit: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report.

    `ours` and `floor` are medians in `unit` ("s", "B", "rows/s"). `value` is what the goal speaks of: the
    median of the ratios of each turn's two sides, with `low` and `high` the least and greatest of them; or,
    without a floor, `ours` itself. A figure without a goal is there for comparison.
    """

    name: str
    ours: float
    unit: str
    value: float
    low: float
    high: float
    floor_name: str | None = None
    floor: float | None = None
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        return None if self.goal is None else self.goal.met(self.value)

    def to_json(self) -> dict[str, Any]:
        """The figure's entry in the JSON."""
        return {**asdict(self), "met": self.met}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Figure:
        """The figure that `to_json` wrote."""
        values = {name: value for name, value in document.items() if name != "met"}
        goal = values.pop("goal")
        return cls(**values, goal=Goal(**goal) if goal else None)


def compared(
    name: str,
    floor_name: str,
    turns: Turns,
    *,
    unit: str = "s",
    at_most: float | None = None,
    at_least: float | None = None,
) -> Figure:
    """Our side against the floor, as a ratio."""
    ratios = [ours / floor for ours, floor in zip(turns.ours, turns.floor, strict=True)]
    return Figure(
        name,
        median(turns.ours),
        unit,
        median(ratios),
        min(ratios),
        max(ratios),
        floor_name,
        median(turns.floor),
        _goal(at_most, at_least),
    )


def measured(name: str, values: Sequence[float], *, unit: str = "s", at_most: float | None = None) -> Figure:
    """A figure that stands for itself."""
    middle = median(values)
    return Figure(name, middle, unit, middle, min(values), max(values), goal=_goal(at_most, None))


def _goal(at_most: float | None, at_least: float | None) -> Goal | None:
    if at_least is not None:
        return Goal(at_least, at_least=True)
    return None if at_most is None else Goal(at_most)
