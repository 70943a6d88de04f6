"""`sgdb query learning-curve`: what a training has logged, epoch by epoch."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sgdb.database import queries
from sgdb.database.access import ready_engine
from sgdb.database.engine import transaction
from sgdb.database.sessions import StoredSession, get_session
from sgdb.errors import NotFoundError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings

CURVE_FIELDS = ("epoch", "metric", "value", "checkpoint_id")


@dataclass(frozen=True, slots=True)
class LearningCurveOptions:
    """A session by id, uid or name, and the only metrics to tell (all, where none is named)."""

    session: str
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LearningCurveResult:
    """`rows` have CURVE_FIELDS, by metric and then by epoch. Values that JSON does not know are texts:
    "nan", "inf" or "-inf"."""

    session: StoredSession
    rows: list[dict[str, Any]]

    def lines(self) -> dict[str, list[tuple[float, float]]]:
        """By metric, its values over the epochs, as far as they can be drawn."""
        found: dict[str, list[tuple[float, float]]] = {}
        for row in self.rows:
            if isinstance(row["value"], float):
                found.setdefault(row["metric"], []).append((row["epoch"], row["value"]))
        return found

    def not_drawn(self) -> dict[str, int]:
        """By metric, how many of its values `lines` leaves out, since they are not finite."""
        return dict(Counter(row["metric"] for row in self.rows if not isinstance(row["value"], float)))

    def to_json(self) -> dict[str, Any]:
        """The document that scripts rely on."""
        return {
            "session_id": self.session.id,
            "session": self.session.name,
            "bot": self.session.bot,
            "points": self.rows,
        }


def learning_curve(
    options: LearningCurveOptions, settings: Settings, progress: Progress | None = None
) -> LearningCurveResult:
    """The numbers that a training's checkpoints bear. Raises NotFoundError for a session or metric that there
    is not, and UsageError where several sessions have the name."""
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine, transaction(engine, read_only=True) as connection:
        session = get_session(connection, options.session)
        rows = queries.learning_curve(connection, session.id)
    known = sorted({row["metric"] for row in rows})
    for metric in options.metrics:
        if metric not in known:
            raise NotFoundError(
                f"session {session.id} has logged no number named {metric!a}",
                hint=f"it has logged: {', '.join(known) or 'none at all'}",
            )
    if options.metrics:
        rows = [row for row in rows if row["metric"] in options.metrics]
    for row in rows:
        if not math.isfinite(row["value"]):
            row["value"] = str(row["value"])
    return LearningCurveResult(session, rows)
