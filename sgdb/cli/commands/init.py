"""`sgdb init`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sgdb.cli.options import FormatOption
from sgdb.cli.output import Format
from sgdb.cli.session import session

if TYPE_CHECKING:
    from sgdb.operations.init import InitResult


def init(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 when something is to be done.")
    ] = False,
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="Migrate an older schema without a backup before.")
    ] = False,
    refresh_totals: Annotated[
        bool,
        typer.Option(
            "--refresh-totals",
            help="Count the totals of results and games anew, and put back what keeps them.",
        ),
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Set the database up, or bring it up to date.

    Without a server in the settings, an embedded PostgreSQL is set up and started. The database is
    created if the server lets you, and its tables are brought to the newest revision, after a backup where
    they are older and hold something. It may be run again at any time, also by several processes at once.
    --check starts the embedded server only where its data are there already.

    Triggers keep the totals that averages are made of. --refresh-totals is for a database whose triggers have
    been disabled, or that `pg_restore` has made: it puts them back, counts all results and games, and says
    how many totals had been wrong. Other writers wait meanwhile.
    """
    from sgdb.operations.init import InitOptions
    from sgdb.operations.init import init as run

    current = session(context)
    options = InitOptions(check, backup=not no_backup, refresh_totals=refresh_totals)
    result = run(options, current.settings(), current.output.progress())
    output = current.output
    if format is not Format.TABLE:
        document = result.to_json()
        output.data(format, list(document), [document], document)
    else:
        output.text(f"address:  {result.address}")
        if result.data_folder:
            output.text(f"data:     {result.data_folder}")
        output.text(f"schema:   {result.after or 'none'}")
        if result.backup:
            output.text(f"backup:   {result.backup}")
        for step in result.to_do:
            output.text(f"to do:    {step}")
    if result.to_do:
        output.message("next: sgdb init")
    else:
        for line in _done(result):
            output.message(line)
        output.message("next: sgdb migrate-pickles FOLDER")
    raise typer.Exit(result.exit_code)


def _done(result: InitResult) -> list[str]:
    lines = ["created the database"] if result.created_database else []
    if result.before is None:
        lines.append(f"created the tables (schema {result.after})")
    elif result.before != result.after:
        lines.append(f"migrated the schema from {result.before} to {result.after}")
    if result.wrong_totals is not None:
        lines.append(f"counted the totals anew: {result.wrong_totals} had been wrong")
    return lines or ["nothing to do: everything is up to date"]
