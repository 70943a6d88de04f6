"""Figures for people and for programs: lines of a table, JSON, and the table of docs/performance.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import ROOT
from benchmarks.figures import Figure
from benchmarks.machine import in_words

PUBLISHED = ROOT / "docs" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"
_BEGIN, _END = (
    "<!-- figures: written by `make docs` from performance.json -->\n",
    "<!-- end of the figures -->\n",
)


def line(figure: Figure) -> str:
    """One line for a terminal."""
    return "  ".join(
        f"{text:{width}}" for text, width in zip(_cells(figure), (62, 10, 22, 10, 6, 15, 7, 4), strict=True)
    ).rstrip()


HEADS = ("what", "sgdb", "floor", "", "ratio", "spread", "goal", "met")


def heading() -> str:
    """The line above them."""
    return "  ".join(
        f"{text:{width}}" for text, width in zip(HEADS, (62, 10, 22, 10, 6, 15, 7, 4), strict=True)
    ).rstrip()


def to_json(figures: Sequence[Figure], machine: dict[str, Any]) -> dict[str, Any]:
    """What is written of a run."""
    return {"machine": machine, "figures": [figure.to_json() for figure in figures]}


def publish(name: str, document: dict[str, Any], path: Path = PUBLISHED) -> None:
    """Puts a run into the file that docs/performance.md is made from, in place of the last of that name."""
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    runs[name] = document
    path.write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")


def page(text: str, published: Path = PUBLISHED) -> str:
    """The page with its tables as the published runs have them."""
    runs = json.loads(published.read_text(encoding="utf-8"))
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    parts = [f"\n### `make {name}`\n\n{_markdown(run)}\n" for name, run in runs.items()]
    return before + _BEGIN + "".join(parts) + _END + after


def _markdown(run: dict[str, Any]) -> str:
    rows = [
        "| what | sgdb | floor | its figure | ratio | spread | goal | met |",
        "| --- | ---: | --- | ---: | ---: | --- | --- | --- |",
    ]
    rows += ["| " + " | ".join(_cells(Figure.from_json(one))) + " |" for one in run["figures"]]
    return f"{in_words(run['machine'])}.\n\n" + "\n".join(rows) + "\n"


def _cells(figure: Figure) -> tuple[str, ...]:
    is_ratio = figure.floor is not None

    def shown(value: float) -> str:
        return f"{value:.2f}" if is_ratio else _amount(value, figure.unit)

    goal = figure.goal
    return (
        figure.name,
        _amount(figure.ours, figure.unit),
        figure.floor_name or "",
        "" if figure.floor is None else _amount(figure.floor, figure.unit),
        f"{figure.value:.2f}" if is_ratio else "",
        f"{shown(figure.low)} to {shown(figure.high)}" if figure.low != figure.high else "",
        "" if goal is None else f"{'>=' if goal.at_least else '<='} {shown(goal.limit)}",
        {True: "yes", False: "NO", None: ""}[figure.met],
    )


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        for factor, name in ((1, "s"), (1e3, "ms")):
            if value * factor >= 1:
                return f"{value * factor:.3g} {name}"
        return f"{value * 1e6:.3g} µs"
    if unit == "B":
        return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.1f} MB"
    return f"{value:,.0f} {unit}"
