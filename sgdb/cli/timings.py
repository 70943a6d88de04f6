"""What `sgdb verify --timings` has measured, laid out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sgdb.cli.output import Format, Output, near

if TYPE_CHECKING:
    from sgdb.operations.timings import Measure, TimingsResult

_COLUMNS = ("file", "what", "pickle", "database", "ratio", "target", "met")


def flat_timings(timed: TimingsResult) -> list[dict[str, Any]]:
    """One row a figure, with those of the flat form's columns that have something in it."""
    return [
        {
            "file": file.path,
            "check": f"timing: {_words(measure)}, {measure.unit}",
            "status": {True: "met", False: "missed", None: None}[measure.met],
            "bot": file.bot if measure.name == "bot_performance" else None,
            **{name: measure.to_json()[name] for name in ("pickle", "database")},
            "detail": f"target: {_target(measure)}" if measure.target is not None else None,
        }
        for file in timed.files
        for measure in file.measures
    ]


def explain_timings(timed: TimingsResult, output: Output, format: Format) -> None:
    """The table, where one is asked for, and what is to be said about it; what could not be measured is said
    in any case."""
    if format is Format.TABLE and any(file.measures for file in timed.files):
        rows = [
            {
                "file": near(file.path),
                "what": _words(measure),
                "pickle": _figure(measure.pickle, measure.unit),
                "database": _figure(measure.database, measure.unit),
                "ratio": "" if measure.ratio is None else f"{measure.ratio:.2f} x",
                "target": _target(measure),
                "met": _met(measure),
            }
            for file in timed.files
            for measure in file.measures
        ]
        output.data(format, _COLUMNS, rows, None, title="timings")
        for file in timed.files:
            for note in file.notes:
                output.message(f"note: {near(file.path)}: {note}")
        output.message(
            "pickle: loaded whole, whatever is wanted of it, from a copy that sgdb has written; "
            "memory: of the process that reads, without the database server's own"
        )
        output.message(f"targets: {timed.met} of {timed.targets} are met")
    for file in timed.files:
        if file.refusal is not None:
            output.error(f"not timed: {near(file.path)}: {file.refusal.message}", file.refusal.hint)


def _words(measure: Measure) -> str:
    return measure.name.replace("_", " ")


def _figure(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.{1 if abs(value) >= 10 else 2}f} {unit}"


def _target(measure: Measure) -> str:
    if measure.target is None:
        return ""
    return f"{'at least' if measure.at_least else 'under'} {measure.target:,.10g} {measure.unit}"


def _met(measure: Measure) -> str:
    if measure.target is None:
        return ""
    return "too small to tell" if measure.met is None else "yes" if measure.met else "NO"
