"""`sgdb export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgdb.cli.options import path_of
from sgdb.cli.session import session
from sgdb.errors import UsageError
from sgdb.records import ExportFormat

if TYPE_CHECKING:
    from sgdb.operations.export import ExportedFile


def export(
    context: typer.Context,
    to: Annotated[
        Path,
        typer.Option(
            help="Folder for the files; made if it is not there.",
            metavar="FOLDER",
            parser=path_of,
        ),
    ],
    set_ids: Annotated[
        list[int] | None,
        typer.Option(
            "--set", help="Id of a benchmark set (see `sgdb query sets`); may be repeated.", metavar="ID"
        ),
    ] = None,
    sessions: Annotated[
        list[str] | None,
        typer.Option(
            "--session",
            help="Training whose checkpoint files are meant, by id, uid or name; may be repeated.",
            metavar="SESSION",
        ),
    ] = None,
    all_sets: Annotated[
        bool,
        typer.Option(
            "--all", help="Every benchmark set, and every migrated checkpoint; as tables, every training."
        ),
    ] = False,
    format: Annotated[
        ExportFormat,
        typer.Option(
            help="pickle: what the old benchmark system loads, equal to what was migrated. "
            "original: the migrated files themselves, to the byte. "
            "jsonl, csv, parquet: one folder of tables, which `sgdb import` takes back; "
            "parquet needs sgdb[parquet]."
        ),
    ] = ExportFormat.PICKLE,
    no_weights: Annotated[
        bool,
        typer.Option(
            "--no-weights",
            help="Leave the bytes of checkpoints out of a folder of tables; its trainings cannot be imported "
            "then.",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace files that are there already, and of a folder of tables the former export whole.",
        ),
    ] = False,
) -> None:
    """Write benchmark sets and checkpoints back into files.

    Checkpoints are those that were migrated; their weights are written beside them, to the byte. As tables,
    trainings have all of their checkpoints. Prints the path of every file written. A file gets its name only
    when it is whole, and a folder of tables its manifest last.
    """
    from sgdb.operations.export import ExportOptions
    from sgdb.operations.export import export as run

    if bool(set_ids or sessions) == all_sets:
        wrong = "--all excludes --set and --session" if all_sets else "no benchmark set was named"
        raise UsageError(
            wrong,
            hint="give --set ID (see `sgdb query sets`), --session NAME (see `sgdb sessions list`) or --all",
        )
    current = session(context)
    named = (None, None) if all_sets else (tuple(set_ids or ()), tuple(sessions or ()))
    options = ExportOptions(to, named[0], format, overwrite, named[1], weights=not no_weights)

    progress = current.output.progress()

    def on_file(file: ExportedFile) -> None:
        progress.text(str(file.path))

    result = run(options, current.settings(), progress, on_file)
    for path in result.without_original:
        current.output.message(f"no original is stored of {path} (migrated with --no-archive)")
    current.output.message(f"files written to {to}: {len(result.files)}")
    raise typer.Exit(result.exit_code)
