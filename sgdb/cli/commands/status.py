"""`sgdb status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sgdb.cli.options import FormatOption
from sgdb.cli.output import Format, Output, harmless, near, size
from sgdb.cli.session import session
from sgdb.wording import counted

if TYPE_CHECKING:
    from sgdb.operations.status import FilesStatus, StatusResult

_SHOWN = 5  # files named on stderr


def status(
    context: typer.Context,
    no_files: Annotated[
        bool, typer.Option("--no-files", help="Do not look whether migrated files are still the same.")
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show where the database is and what is in it.

    Address (never the password), server version, schema revision, sizes and row counts, the last run and
    those that broke off, and whether the files that were migrated are still there and the same: for this
    they are read once. Starts nothing and changes nothing. Exits with 0 also when there is no database yet;
    json says all there is to say, csv and markdown hold the tables only.
    """
    from sgdb.operations.status import status as run

    current = session(context)
    result = run(current.settings(), current.output.progress(), check_files=not no_files)
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
    if result.files:
        _warn_of_files(result.files, output)
    for run_id in result.broken_off or ():
        output.message(
            f"run {run_id} broke off; migrating its files again completes it, "
            f"`sgdb rollback {run_id}` takes back what it brought"
        )
    if result.next_step:
        output.message(f"{result.state}; next: {result.next_step}")


def _warn_of_files(files: FilesStatus, output: Output) -> None:
    for path in files.changed[:_SHOWN]:
        output.message(f"changed: {near(path)} is not what was migrated; see `sgdb verify {near(path)}`")
    if len(files.changed) > _SHOWN:
        output.message(f"changed: {len(files.changed) - _SHOWN} more, named by --format json")
    for path, error in list(files.unreadable.items())[:_SHOWN]:
        output.message(f"unreadable: {error}" if path in error else f"unreadable: {near(path)}: {error}")


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
        lines.append(("last run", f"{last['id']}, {last['kind']}, {last['status']}, {last['started_at']}"))
    if files := result.files:
        counts = {
            "unchanged": files.unchanged,
            "changed since": len(files.changed),
            "gone": len(files.gone),
            "unreadable": len(files.unreadable),
        }
        told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        lines.append(("files", f"{files.recorded:,} migrated" + (f": {told}" if told else "")))
    owed = {"save": result.debts, "training event": result.training_debts}
    if told := ", ".join(counted(number, what) for what, number in owed.items() if number):
        lines.append(("owed", f"{told} since {result.owed_since}: sgdb sync"))
    if result.mismatches:
        lines.append(("differ", f"{counted(result.mismatches, 'value')}: sgdb query mismatches"))
    if found := result.checkpoint_files:
        count = counted(found.count, "file")
        lines.append(
            ("outside", f"{count} of checkpoints, {size(found.bytes)}, in no backup: {found.folder}")
        )
    lines.append(("pickles", result.pickle_dir or "none configured (SGDB_PICKLE_DIR)"))
    return lines
