"""`sgdb rollback`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sgdb.cli.options import FormatOption, path_of
from sgdb.cli.output import Format, Output, near
from sgdb.cli.session import Session, session
from sgdb.wording import counted

if TYPE_CHECKING:
    from sgdb.operations.rollback import RollbackResult

_COLUMNS = ("file", "set", "games", "results", "checkpoints", "original")
_KINDS = {
    "games": ("game",),
    "results": ("result",),
    "histories": ("history", "histories"),
    "sets": ("benchmark set",),
    "bots": ("bot",),
    "configs": ("board config",),
    "sessions": ("training",),
    "checkpoints": ("checkpoint",),
    "weights": ("file of weights", "files of weights"),
    "originals": ("stored original",),
}


def rollback(
    context: typer.Context,
    run: Annotated[
        int | None,
        typer.Argument(
            help="Number of the run (see `sgdb query runs`); without it the newest that brought something.",
            metavar="RUN",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Do everything but the commit; print the same counts.")
    ] = False,
    originals: Annotated[
        Path | None,
        typer.Option(
            help="Write files of which the database has the last copy to this folder first.",
            metavar="FOLDER",
            parser=path_of,
        ),
    ] = None,
    discard_originals: Annotated[
        bool,
        typer.Option(
            "--discard-originals", help="Go on although the last copy of a file is lost by it, for good."
        ),
    ] = False,
    to_backup: Annotated[
        Path | None,
        typer.Option(
            help="Put the whole database back to this backup instead (see `sgdb backup list`).",
            metavar="FILE",
            parser=path_of,
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Take back what one run of migrate-pickles brought, or go back to a backup.

    All of it goes in one transaction, and nothing else does: rows that were there before stay, and so do
    those of others. If later files, programs or rows written by hand build on it, nothing is changed and
    they are named. Migrating the same files again brings everything back. Asks first; without a terminal
    and without --yes the answer is no, and it exits with 1. A run that brought nothing is left as it is.

    With --to-backup, all of sgdb's tables are put back to what they were when the backup was made. It is read
    whole and checked first, and what is there now is backed up first; then it is all or nothing.
    """
    if to_backup is not None:
        if run is not None or originals is not None or discard_originals:
            raise typer.BadParameter(
                "it goes with none of RUN, --originals and --discard-originals", param_hint="--to-backup"
            )
        _to_backup(session(context), to_backup, dry_run, yes, format)
        return
    from sgdb.operations.rollback import RollbackOptions
    from sgdb.operations.rollback import rollback as take_back

    current = session(context)
    output, settings = current.output, current.settings()
    options = RollbackOptions(run, dry_run, originals, discard_originals)
    if not (yes or dry_run):
        looked = take_back(replace(options, dry_run=True), settings, output.progress())
        options = replace(options, run_id=looked.run_id)
        if looked.files and not _is_wanted(looked, output):
            raise typer.Exit(1)
    result = take_back(options, settings, output.progress())
    if result.files or format is not Format.TABLE:
        output.data(format, _columns(result), _rows(result), result.to_json())
    if format is Format.TABLE:
        _summary(result, output)


def _to_backup(current: Session, path: Path, dry_run: bool, yes: bool, format: Format) -> None:
    from sgdb.operations.rollback import BackupRollbackOptions, rollback_to_backup

    output, settings = current.output, current.settings()
    if not (yes or dry_run):
        looked = rollback_to_backup(BackupRollbackOptions(path, dry_run=True), settings, output.progress())
        question = _question(looked.to_json())
        if not output.confirm(question):
            output.message("nothing was changed (--yes goes on without asking)")
            raise typer.Exit(1)
    document = rollback_to_backup(BackupRollbackOptions(path, dry_run), settings, output.progress()).to_json()
    output.data(format, ("table", "before", "after"), document["tables"], document)
    if format is Format.TABLE:
        _backup_summary(document, output)


def _question(document: dict[str, Any]) -> str:
    before, after = (sum(table[when] for table in document["tables"]) for when in ("before", "after"))
    proven = "" if document["proven"] else "not proven, "
    return (
        f"Put the database back to the backup of {document['created_at']}"
        f" ({proven}{after:,} rows; {before:,} are there now)?"
    )


def _backup_summary(document: dict[str, Any], output: Output) -> None:
    would = "would be " if document["dry_run"] else "was "
    output.message(f"the database {would}put back to the backup of {document['created_at']}")
    if document["revision"] != document["revision_of_backup"]:
        older = document["revision_of_backup"]
        output.message(f"on the way, its schema {older} {would}brought to {document['revision']}")
    if document["dry_run"]:
        output.message("dry run: nothing was changed")
        return
    if document["saved"] is not None:
        output.message(f"what was there before: sgdb rollback --to-backup {near(document['saved'])}")
    output.message("next: sgdb verify")


def _is_wanted(looked: RollbackResult, output: Output) -> bool:
    output.message(f"run {looked.run_id} would be taken back: {_removed(looked)}")
    wanted = output.confirm(f"Take run {looked.run_id} back?")
    if not wanted:
        output.message("nothing was changed (--yes goes on without asking)")
    return wanted


def _columns(result: RollbackResult) -> tuple[str, ...]:
    """With that of checkpoints where there are any."""
    some = any(file.checkpoints for file in result.files)
    return tuple(name for name in _COLUMNS if name != "checkpoints" or some)


def _rows(result: RollbackResult) -> list[dict[str, Any]]:
    return [
        {
            "file": near(file.path),
            "set": file.benchmark_set_id,
            "games": file.games,
            "results": file.results,
            "checkpoints": file.checkpoints,
            "original": file.original if file.written_to is None else f"written to {near(file.written_to)}",
        }
        for file in result.files
    ]


def _summary(result: RollbackResult, output: Output) -> None:
    if result.run_id is None:
        output.message("nothing to take back: no run has brought anything that is still there")
        return
    if not result.files:
        output.message(f"nothing to take back: run {result.run_id} brought nothing")
        return
    would = "would be " if result.dry_run else ""
    output.message(f"run {result.run_id} {would}taken back: {_removed(result)}")
    if kept := _counts(result.kept):
        output.message(f"kept, because others use them: {kept}")
    if result.dry_run:
        output.message("dry run: nothing was changed")
    else:
        again = "importing the folder" if result.kind == "import" else "migrating the files"
        output.message(f"next: sgdb verify; {again} again brings everything back")


def _removed(result: RollbackResult) -> str:
    return _counts(result.removed) or "no rows, only what is on record of it"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(counted(count, *_KINDS[kind]) for kind, count in counts.items() if count)
