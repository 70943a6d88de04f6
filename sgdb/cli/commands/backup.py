"""`sgdb backup`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from sgdb.cli.options import FormatOption, path_of
from sgdb.cli.output import Format, Output, near, size
from sgdb.cli.session import session

backup = typer.Typer(rich_markup_mode=None)


def _target_of(text: str) -> Path:
    path = path_of(text)
    if text.endswith(os.sep) and not path.is_dir():
        raise typer.BadParameter(f"there is no folder {text}")
    return path


FileArgument = Annotated[
    Path, typer.Argument(help="The backup's dump.", metavar="FILE", show_default=False, parser=path_of)
]


@backup.callback(invoke_without_command=True)
def make(
    context: typer.Context,
    to: Annotated[
        Path | None,
        typer.Option(
            help="File to write, or a folder that is there. [default: the settings' folder for backups]",
            metavar="FILE",
            parser=_target_of,
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            help="Afterwards delete older proven backups of this database there, all but the newest N.",
            metavar="N",
            min=1,
        ),
    ] = None,
    no_prove: Annotated[
        bool, typer.Option("--no-prove", help="Do not restore it into a scratch database to compare.")
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Back the database up, proven; list backups, verify one.

    Without a subcommand a backup is made: sgdb's tables at one moment, as a dump that pg_restore reads, and
    a manifest beside it with the rows and a digest of every table. It is restored into a scratch database
    and compared before it gets its name; --no-prove leaves that out. Others may go on writing meanwhile.
    Get it back with: sgdb rollback --to-backup FILE
    """
    if context.invoked_subcommand is not None:
        return
    from sgdb.operations.backup import BackupOptions
    from sgdb.operations.backup import backup as run

    current = session(context)
    result = run(BackupOptions(to, keep, not no_prove), current.settings(), current.output.progress())
    output, document = current.output, result.to_json()
    if format is Format.TABLE:
        _describe(output, document)
        for path in result.pruned:
            output.text(f"deleted:  {near(str(path))}")
    else:
        output.data(format, list(document), [document], document)
    for one in result.damaged:
        output.error(f"an older backup does not count: {one.reason}")
    if not document["proven"]:
        output.message(f"not proven; next: sgdb backup verify --prove {near(document['path'])}")


@backup.command("list")
def list_(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(help="Where to look.", metavar="FOLDER", show_default=False, parser=path_of),
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """The backups of a folder, oldest first; by default those of the settings' folder.

    Only manifests are read. Whether a backup is whole, `sgdb backup verify FILE` tells.
    """
    from sgdb.operations.backup import BACKUP_FIELDS
    from sgdb.operations.backup import list_ as run

    current = session(context)
    result = run(folder, current.settings())
    output, document = current.output, result.to_json()
    if format is Format.TABLE:
        rows = [
            {**one, "file": near(one["path"]), "size": size(one["size_bytes"])} for one in document["backups"]
        ]
        output.data(
            format, ("file", "created_at", "why", "proven", "size", "rows", "schema_revision"), rows, None
        )
    else:
        output.data(format, BACKUP_FIELDS, document["backups"], document)
    for one in result.unusable:
        output.error(f"no backup: {one.reason}")
    if not result.backups:
        output.message(f"no backups in {result.folder}; next: sgdb backup")


@backup.command()
def verify(
    context: typer.Context,
    file: FileArgument,
    prove: Annotated[
        bool,
        typer.Option("--prove", help="Also restore it into a scratch database, compare, and note that."),
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Read a backup whole and compare it with its manifest.

    Finds every wrong bit, in the dump and in the manifest, and parts that are missing or do not belong
    together. Needs no database without --prove.
    """
    from sgdb.operations.backup import VerifyBackupOptions
    from sgdb.operations.backup import verify as run

    current = session(context)
    result = run(VerifyBackupOptions(file, prove), current.settings(), current.output.progress())
    document = result.to_json()
    if format is Format.TABLE:
        _describe(current.output, document)
    else:
        current.output.data(format, list(document), [document], document)
    current.output.message(f"the backup is whole{' and' if document['proven'] else ', but not'} proven")


def _describe(output: Output, document: dict[str, Any]) -> None:
    output.text(f"backup:   {near(document['path'])}")
    output.text(f"made:     {document['created_at']} ({document['why']})")
    output.text(f"size:     {size(document['size_bytes'])}")
    output.text(f"rows:     {document['rows']:,} in {len(document['tables'])} tables")
    output.text(f"schema:   {document['schema_revision']}")
    output.text(f"proven:   {'yes' if document['proven'] else 'no'}")
