"""`sgdb migrate-pickles`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sgdb.cli.options import FormatOption, PathsArgument, WeightsDirOption
from sgdb.cli.output import Format, Output
from sgdb.cli.session import as_paths, session

if TYPE_CHECKING:
    from sgdb.operations.migrate_pickles import MigratePicklesResult

_COLUMNS = ("file", "status", "set", "config", "seed", "games", "+games", "results", "+results")
_OF_CHECKPOINTS = ("kind", "session", "checkpoints", "+checkpoints")


def migrate_pickles(
    context: typer.Context,
    paths: PathsArgument = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Do everything but the commit; print the same numbers.")
    ] = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into folders below.")] = False,
    only: Annotated[
        str | None,
        typer.Option(help="Take only files whose name matches, such as 'benchmark_5_*'.", metavar="GLOB"),
    ] = None,
    set_base_seed: Annotated[
        int | None, typer.Option(help="Base seed of files that do not record theirs.", metavar="N")
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first rejected file.")] = False,
    no_archive: Annotated[
        bool, typer.Option("--no-archive", help="Do not store the files' original bytes.")
    ] = False,
    weights_dir: WeightsDirOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Store benchmark and checkpoint pickles in the database.

    Each file goes in whole or not at all, and nothing in it is ever run. What is in the database already
    is compared: equal values are left alone, other values reject the file. Running it again changes
    nothing. Without PATH the configured pickle folder (SGDB_PICKLE_DIR) is taken. Exits with 1 when a
    file was rejected.

    The weights of a checkpoint (.pth) go along as they are, and are never opened. They are looked for beside
    the pickle, and then in every --weights-dir.
    """
    from sgdb.operations.migrate_pickles import MigratePicklesOptions
    from sgdb.operations.migrate_pickles import migrate_pickles as run

    current = session(context)
    options = MigratePicklesOptions(
        paths=as_paths(paths),
        dry_run=dry_run,
        recursive=recursive,
        only=only,
        set_base_seed=set_base_seed,
        fail_fast=fail_fast,
        archive=not no_archive,
        weights_dirs=as_paths(weights_dir),
    )
    result = run(options, current.settings(), current.output.progress())
    columns: tuple[str, ...] = _COLUMNS
    if format is not Format.TABLE or result.totals["checkpoints"]["read"]:
        columns += _OF_CHECKPOINTS
    current.output.data(format, columns, _rows(result), result.to_json())
    if format is Format.TABLE:
        _summary(result, current.output)
    for report in result.files:
        if report.error:
            current.output.error(f"rejected {report.error}", report.refusal.hint if report.refusal else None)
    raise typer.Exit(result.exit_code)


def _rows(result: MigratePicklesResult) -> list[dict[str, Any]]:
    rows = []
    for report in result.files:
        config = report.config
        rows.append(
            {
                "file": str(report.path),
                "status": report.status,
                "set": report.benchmark_set_id,
                "config": "x".join(str(number) for number in config.values()) if config else None,
                "seed": None if report.base_seed is None else str(report.base_seed),
                "games": report.games["read"],
                "+games": report.games["inserted"],
                "results": report.results["read"],
                "+results": report.results["inserted"],
                "kind": report.kind,
                "session": report.training_session_id,
                "checkpoints": report.checkpoints["read"],
                "+checkpoints": report.checkpoints["inserted"],
            }
        )
    return rows


def _summary(result: MigratePicklesResult, output: Output) -> None:
    for report in result.files:
        for note in report.notes:
            output.message(f"note: {report.path.name}: {note}")
    for path, reason in result.selection.skipped:
        output.message(f"skipped: {path} ({reason})")
    totals = result.totals
    files = totals["files"]
    would = "would be " if result.dry_run else ""
    output.message(
        f"files:   {files['migrated']} {would}migrated, {files['identical']} identical, "
        f"{files['rejected']} rejected, {len(result.selection.skipped)} skipped, in {result.seconds:.1f} s"
    )
    regenerated = (
        f"; {totals['games']['regenerated']:,} regenerated" if totals["games"]["regenerated"] else ""
    )
    output.message(f"games:   {_sum(totals['games'])}{regenerated}")
    output.message(f"results: {_sum(totals['results'])}")
    if totals["checkpoints"]["read"]:
        output.message(f"checkpoints: {_sum(totals['checkpoints'])}")
    if not result.files:
        output.message("no pickle was found: see --only, and --recursive for folders below")
    if result.interrupted:
        output.message("the files above are done; the one that was at work has been rolled back")
    elif result.dry_run:
        output.message("dry run: nothing was written; run it without --dry-run to migrate")
    elif files["migrated"]:
        output.message("next: sgdb verify")


def _sum(counts: dict[str, int]) -> str:
    return (
        f"{counts['read']:,} read = {counts['inserted']:,} inserted + {counts['identical']:,} identical "
        f"+ {counts['rejected']:,} rejected"
    )
