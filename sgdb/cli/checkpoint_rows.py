"""The table of checkpoints that commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sgdb.cli.output import Format, size

COLUMNS = ("id", "session", "epoch", "weights", "optimizer", "place", "metrics", "bots")
_SHOWN = 4  # metrics in a line


def checkpoint_rows(documents: Sequence[Mapping[str, Any]], format: Format) -> list[dict[str, Any]]:
    """Rows with COLUMNS for checkpoints in their JSON form. For people, sizes with their unit and the first
    few metrics; for programs, bytes and all there is."""
    is_for_people = format is Format.TABLE
    return [
        {
            "id": each["id"],
            "session": each["session_id"],
            "epoch": each["epoch"],
            "weights": _size(each["weights"], is_for_people),
            "optimizer": _size(each["optimizer"], is_for_people),
            "place": each["weights"] and each["weights"]["place"],
            "metrics": _metrics(each["metrics"]) if is_for_people else each["metrics"],
            "bots": ", ".join(each["bots"]),
        }
        for each in documents
    ]


def _size(found: Mapping[str, Any] | None, is_for_people: bool) -> Any:
    if found is None or found["bytes"] is None:
        return None
    return size(found["bytes"]) if is_for_people else found["bytes"]


def _metrics(metrics: dict[str, Any] | None) -> str:
    said = [f"{name} {_said(value)}" for name, value in list((metrics or {}).items())[:_SHOWN]]
    return ", ".join(said) + (", ..." if len(metrics or {}) > _SHOWN else "")


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict) and list(value) == ["$float"]:
        return str(value["$float"])
    text = str(value)
    return text if len(text) <= 20 else text[:17] + "..."
