"""`sgdb status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sgdb.cli.options import FormatOption
from sgdb.cli.output import Format, harmless, size
from sgdb.cli.session import session

if TYPE_CHECKING:
    from sgdb.operations.status import StatusResult


def status(context: typer.Context, format: FormatOption = Format.TABLE) -> None:
    """Show where the database is and what is in it.

    Address (never the password), server version, schema revision, sizes and row counts. Starts nothing
    and changes nothing. Exits with 0 also when there is no database yet; json says all there is to say,
    csv and markdown hold the tables only.
    """
    from sgdb.operations.status import status as run

    current = session(context)
    result = run(current.settings(), current.output.progress())
    output, document = current.output, result.to_json()
    if format is Format.TABLE:
        for name, value in _lines(result):
            output.text(f"{name + ':':<9} {harmless(value)}")
        if result.tables:
            rows = [{"table": t.table, "rows": t.rows, "size": size(t.bytes)} for t in result.tables]
            output.text("")
            output.data(format, ("table", "rows", "size"), rows, None)
    else:
        output.data(format, ("table", "rows", "bytes"), document["tables"], document)
    if result.next_step:
        output.message(f"{result.state}; next: {result.next_step}")


def _lines(result: StatusResult) -> list[tuple[str, str]]:
    kind = "embedded" if result.embedded else "your own"
    lines = [("address", result.address)]
    if result.data_folder:
        lines.append(("data", result.data_folder))
    lines.append(("state", result.state))
    if result.server_version:
        encoding = f", {result.encoding}" if result.encoding else ""
        lines.append(("server", f"PostgreSQL {result.server_version} ({kind}{encoding})"))
    if result.newest_revision:
        newest = (
            "newest"
            if result.revision == result.newest_revision
            else f"this program has {result.newest_revision}"
        )
        lines.append(("schema", f"{result.revision or 'none'} ({newest})"))
    if result.database_bytes is not None:
        lines.append(("size", size(result.database_bytes)))
    if result.runs is not None:
        lines.append(("runs", f"{result.runs:,}"))
    if last := result.last_run:
        # A killed run cannot write down its end.
        ended = "at work or broken off" if last["status"] == "running" else last["status"]
        lines.append(("last run", f"{last['id']}, {last['kind']}, {ended}, {last['started_at']}"))
    if result.debts:
        lines.append(("owed", f"{_count(result.debts, 'save')} since {result.owed_since}: sgdb sync"))
    if result.mismatches:
        lines.append(("differ", f"{_count(result.mismatches, 'value')}: sgdb query mismatches"))
    lines.append(("pickles", result.pickle_dir or "none configured (SGDB_PICKLE_DIR)"))
    return lines


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
