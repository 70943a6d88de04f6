"""`sgdb sync`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sgdb.cli.options import FormatOption
from sgdb.cli.output import Format, Output, near
from sgdb.cli.session import session

if TYPE_CHECKING:
    from sgdb.operations.sync import SyncResult

_SESSIONS = ("training", "name", "since", "notes", "paid", "checkpoints", "conflicts", "status")
_COLUMNS = ("pickle", "config", "seed", "lacks", "since", "+database", "+pickle", "differing", "status")


def sync(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Compare and count, and change nothing.")
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Make good what programs could store on one side only, and what trainings could not tell.

    A program that stores its results in pickle and database at once (dual storage) goes on when one of them
    is away, and leaves a note of what the other one lacks. This pays those debts: each side gets the games
    and results that only the other has, both are read again and compared, and only then is the note removed.
    Values that the two sides have otherwise stay as they are: see `sgdb query mismatches`. Exits with 1 when
    something differs or is still owed.

    What a training logged while the database was away is written into it in the same order. json has sets
    and trainings, csv the trainings only where there are no sets.
    """
    from sgdb.operations.sync import SyncOptions
    from sgdb.operations.sync import sync as run

    current = session(context)
    result = run(SyncOptions(dry_run), current.settings(), current.output.progress())
    if result.sets or not result.sessions or format is Format.JSON:
        current.output.data(format, _COLUMNS, _rows(result), result.to_json())
    is_one_table = format is Format.CSV and bool(result.sets)
    if result.sessions and format is not Format.JSON and not is_one_table:
        if result.sets:
            current.output.text("")
        current.output.data(format, _SESSIONS, _sessions(result), None)
    _explain(result, current.output)
    raise typer.Exit(result.exit_code)


def _rows(result: SyncResult) -> list[dict[str, Any]]:
    return [
        {
            "pickle": near(one.pair.pickle),
            "config": str(one.pair.config),
            "seed": str(one.pair.base_seed),
            "lacks": ", ".join(one.lacks),
            "since": one.since,
            "+database": one.to_database["results"],
            "+pickle": one.to_pickle["results"],
            "differing": one.mismatches,
            "status": one.status,
        }
        for one in result.sets
    ]


def _sessions(result: SyncResult) -> list[dict[str, Any]]:
    return [
        {
            "training": str(one.uid),
            "name": one.name,
            "since": one.since,
            "notes": one.notes,
            "paid": one.paid,
            "checkpoints": one.checkpoints,
            "conflicts": len(one.said),
            "status": one.status,
        }
        for one in result.sessions
    ]


def _explain(result: SyncResult, output: Output) -> None:
    for one in result.sets:
        if one.error:
            output.error(
                f"still owed, {one.pair.pickle}: {one.error}", one.failure.hint if one.failure else None
            )
    for training in result.sessions:
        for said in training.said:
            output.message(f"training {training.name or training.uid}: {said}")
        if training.error:
            hint = training.failure.hint if training.failure else None
            output.error(f"still owed, training {training.name or training.uid}: {training.error}", hint)
    if not result.sets and not result.sessions:
        output.message("nothing to sync: nothing is owed, and no difference is on record")
    elif result.dry_run:
        output.message("dry run: nothing was changed; run it without --dry-run to sync")
    if any(one.mismatches for one in result.sets):
        output.message("next: sgdb query mismatches")
