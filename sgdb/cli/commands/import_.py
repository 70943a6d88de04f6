"""`sgdb import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sgdb.cli.options import FormatOption, path_of
from sgdb.cli.output import Format, Output
from sgdb.cli.session import session

if TYPE_CHECKING:
    from sgdb.operations.import_folder import ImportResult

_COLUMNS = (
    "set", "status", "config", "seed", "games", "+games", "results", "+results", "histories", "+histories"
)  # fmt: skip
_TRAININGS = ("training", "name", "bot", "status", "checkpoints", "+checkpoints")


def import_(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            help="A folder that `sgdb export --format jsonl|csv|parquet` has written.",
            metavar="FOLDER",
            parser=path_of,
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Do everything but the commit; print the same numbers.")
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Take back what export has written, into this database or another.

    Each set goes in whole or not at all. No file is taken whose SHA-256 is not the one in the folder's
    manifest. What is in the database already is compared: equal values are left alone, other values reject
    the set. Running it again changes nothing; `sgdb rollback` takes an import back. Exits with 1 when a set
    was rejected.

    json has sets and trainings, csv the trainings only where there are no sets.
    """
    from sgdb.operations.import_folder import ImportOptions, import_folder

    current = session(context)
    result = import_folder(ImportOptions(folder, dry_run), current.settings(), current.output.progress())
    if result.sets or not result.trainings or format is Format.JSON:
        current.output.data(format, _COLUMNS, _rows(result), result.to_json())
    is_one_table = format is Format.CSV and bool(result.sets)
    if result.trainings and format is not Format.JSON and not is_one_table:
        if result.sets:
            current.output.text("")
        current.output.data(format, _TRAININGS, _trainings(result), None)
    if format is Format.TABLE:
        _summary(result, current.output)
    for report in result.sets:
        if report.error:
            current.output.error(
                f"rejected {_named(report.config)} seed {report.base_seed}: {report.error}",
                report.refusal.hint if report.refusal else None,
            )
    for training in result.trainings:
        if training.error:
            output_hint = training.refusal.hint if training.refusal else None
            current.output.error(f"rejected training session {training.uid}: {training.error}", output_hint)
    raise typer.Exit(result.exit_code)


def _named(config: dict[str, int]) -> str:
    return "x".join(map(str, config.values()))


def _rows(result: ImportResult) -> list[dict[str, Any]]:
    rows = []
    for report in result.sets:
        row: dict[str, Any] = {
            "set": report.benchmark_set_id,
            "status": report.status,
            "config": _named(report.config),
            "seed": str(report.base_seed),
        }
        for kind, counts in report.counts().items():
            row |= {kind: counts["read"], f"+{kind}": counts["inserted"]}
        rows.append(row)
    return rows


def _trainings(result: ImportResult) -> list[dict[str, Any]]:
    return [
        {
            "training": report.uid,
            "name": report.name,
            "bot": report.bot,
            "status": report.status,
            "checkpoints": report.checkpoints["read"],
            "+checkpoints": report.checkpoints["inserted"],
        }
        for report in result.trainings
    ]


def _summary(result: ImportResult, output: Output) -> None:
    for report in result.sets:
        for note in report.notes:
            output.message(f"note: {_named(report.config)} seed {report.base_seed}: {note}")
    totals = result.totals
    sets = totals["sets"]
    would = "would be " if result.dry_run else ""
    output.message(
        f"sets:      {sets['imported']} {would}imported, {sets['identical']} identical, "
        f"{sets['rejected']} rejected, in {result.seconds:.1f} s"
    )
    for kind in ("games", "results", "histories"):
        counts = totals[kind]
        output.message(
            f"{kind + ':':<10} {counts['read']:,} read = {counts['inserted']:,} inserted + "
            f"{counts['identical']:,} identical + {counts['rejected']:,} rejected"
        )
    trainings, counts = totals["trainings"], totals["checkpoints"]
    if result.trainings:
        output.message(
            f"trainings: {trainings['imported']} {would}imported, {trainings['identical']} identical, "
            f"{trainings['rejected']} rejected; checkpoints: {counts['read']:,} read = "
            f"{counts['inserted']:,} inserted + {counts['identical']:,} identical + "
            f"{counts['rejected']:,} rejected"
        )
    if result.without_weights:
        output.message("note: the training sessions are left out, since the folder lacks their weights")
    if result.interrupted:
        output.message("the sets above are done; the one that was at work has been rolled back")
    elif result.dry_run:
        output.message("dry run: nothing was written; run it without --dry-run to import")
    elif sets["imported"] or trainings["imported"]:
        output.message("next: sgdb verify")
