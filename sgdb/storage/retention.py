"""Which checkpoints of a training are kept when the others go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sgdb.errors import UsageError
from sgdb.pickles.attributes import from_json


class Candidate(NamedTuple):
    """A checkpoint's epoch, its metrics in the form that is stored, and whether a bot is this checkpoint."""

    epoch: int
    metrics: dict[str, Any] | None
    is_bot: bool


@dataclass(frozen=True, slots=True)
class Retention:
    """Rules, each of which keeps some checkpoints: the `last` of them, the `best` by a metric (the highest
    values, or the `lowest`; of equal ones the later), and each whose epoch is a multiple of `every`.

    One that is a bot is kept by whatever rule. Raises UsageError for rules that keep nothing, and for a
    number of best ones without a metric or the other way round.
    """

    last: int | None = None
    best: int | None = None
    metric: str | None = None
    lowest: bool = False
    every: int | None = None

    def __post_init__(self) -> None:
        if (self.best is None) != (self.metric is None):
            raise UsageError("the best are the best by a metric", hint="give --keep-best N and --metric NAME")
        if self.lowest and self.metric is None:
            raise UsageError("the lowest values of what?", hint="give --keep-best N and --metric NAME, too")
        numbers = [number for number in (self.last, self.best, self.every) if number is not None]
        if not numbers or min(numbers) < 1:
            raise UsageError(
                "nothing says which checkpoints to keep",
                hint="give --keep-last N, --keep-best N --metric NAME, or --every K, from 1 on",
            )

    def keep(self, candidates: Sequence[Candidate]) -> dict[int, list[str]]:
        """The epochs that are kept, with the reasons: "last", "best", "every", "bot".

        Raises UsageError where none of several checkpoints has the metric: it is misspelt, and all but a few
        would go.
        """
        epochs = sorted(candidate.epoch for candidate in candidates)
        reasons: dict[int, list[str]] = {}

        def kept(which: Sequence[int], why: str) -> None:
            for epoch in which:
                reasons.setdefault(epoch, []).append(why)

        if self.last is not None:
            kept(epochs[-self.last :], "last")
        if self.best is not None:
            kept(self._best(candidates), "best")
        if self.every is not None:
            kept([epoch for epoch in epochs if epoch % self.every == 0], "every")
        kept([candidate.epoch for candidate in candidates if candidate.is_bot], "bot")
        return dict(sorted(reasons.items()))

    def _best(self, candidates: Sequence[Candidate]) -> list[int]:
        assert self.best is not None
        assert self.metric is not None
        values = [
            (value, candidate.epoch)
            for candidate in candidates
            if (value := number(candidate.metrics, self.metric)) is not None
        ]
        if candidates and not values:
            known = sorted({name for candidate in candidates for name in candidate.metrics or {}})
            raise UsageError(
                f"no checkpoint has a number named {self.metric!a}",
                hint=f"the metrics are: {', '.join(map(ascii, known[:20])) or 'none'}",
            )
        sign = -1 if self.lowest else 1
        return [epoch for _, epoch in sorted((sign * value, epoch) for value, epoch in values)[-self.best :]]


def number(metrics: dict[str, Any] | None, name: str) -> float | None:
    """The number that a metric is; None where it is absent, NaN, or none."""
    value = from_json((metrics or {}).get(name))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # isnan would make a float of an integer that may be beyond all of them.
    return None if isinstance(value, float) and math.isnan(value) else value
