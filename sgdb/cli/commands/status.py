"""`sgdb status`."""

from __future__ import annotations

import typer

from sgdb.cli.options import FormatOption
from sgdb.cli.output import Format, size
from sgdb.cli.session import session


def status(context: typer.Context, format: FormatOption = Format.TABLE) -> None:
    """Show where the database is and what is in it.

    Address (never the password), server version, schema revision, sizes and row counts. Starts nothing
    and changes nothing.
    """
    from sgdb.operations.status import status as run

    current = session(context)
    result = run(current.settings(), current.output.progress())
    output, document = current.output, result.to_json()
    if format is Format.JSON:
        output.json(document)
    elif format is Format.TABLE:
        output.text(f"address:  {result.address}")
        if result.data_folder:
            output.text(f"data:     {result.data_folder}")
        output.text(f"state:    {result.state}")
        if result.server_version:
            output.text(f"server:   PostgreSQL {result.server_version}")
        if result.newest_revision:
            newest = (
                "newest"
                if result.revision == result.newest_revision
                else f"newest is {result.newest_revision}"
            )
            output.text(f"schema:   {result.revision or 'none'} ({newest})")
        if result.database_bytes is not None:
            output.text(f"size:     {size(result.database_bytes)}")
        if result.pickle_dir:
            output.text(f"pickles:  {result.pickle_dir}")
        if result.last_run:
            run_ = result.last_run
            output.text(f"last run: {run_['id']}, {run_['kind']}, {run_['status']}, {run_['started_at']}")
        if result.tables:
            rows = [{"table": t.table, "rows": t.rows, "size": size(t.bytes)} for t in result.tables]
            output.data(format, ("table", "rows", "size"), rows, None)
    else:
        output.data(format, ("table", "rows", "bytes"), document["tables"], document)
    if result.next_step:
        output.message(f"{result.state}; next: {result.next_step}")
