"""`sgdb checkpoints`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sgdb.cli.checkpoint_rows import COLUMNS, checkpoint_rows
from sgdb.cli.options import FormatOption, path_of
from sgdb.cli.output import Format, Output, cell, near, size
from sgdb.cli.session import session
from sgdb.wording import counted

if TYPE_CHECKING:
    from sgdb.operations.checkpoints import CheckpointResult, PruneResult

checkpoints = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List, fetch, add and prune checkpoints of trainings.",
)

CheckpointArgument = Annotated[
    int, typer.Argument(help="Its id.", metavar="CHECKPOINT", show_default=False, min=1)
]
SessionArgument = Annotated[
    str, typer.Argument(help="The session's id, uid or name.", metavar="SESSION", show_default=False)
]
_SHOWN = 10  # epochs named in a message
_BOT_COLUMNS = ("bot", "version", "results", "sets")


@checkpoints.command("list")
def list_(
    context: typer.Context,
    of: Annotated[
        str | None,
        typer.Option("--session", help="Only those of one session: its id, uid or name.", metavar="SESSION"),
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """List checkpoints by session and epoch, with where their weights are.

    In the database, in a file of the folder of checkpoints, in the column that other programs fill, or
    somewhere of which only a path is known.
    """
    from sgdb.operations.checkpoints import list_checkpoints

    current = session(context)
    found = list_checkpoints(of, current.settings(), current.output.progress())
    documents = [each.to_json() for each in found]
    current.output.data(format, COLUMNS, checkpoint_rows(documents, format), documents)


@checkpoints.command()
def show(context: typer.Context, checkpoint: CheckpointArgument, format: FormatOption = Format.TABLE) -> None:
    """Show one checkpoint and where it leads: the session that made it, and the bots that are it.

    csv and markdown hold the bots only, with how many results each has in how many sets.
    """
    from sgdb.operations.checkpoints import show_checkpoint

    current = session(context)
    found = show_checkpoint(checkpoint, current.settings(), current.output.progress())
    output = current.output
    rows = [
        {"bot": bot.name, "version": bot.version, "results": bot.results, "sets": bot.sets}
        for bot in found.bots
    ]
    if format is Format.TABLE:
        _describe(found, output)
        if not rows:
            return
        output.text("")
    output.data(format, _BOT_COLUMNS, rows, found.to_json())


@checkpoints.command()
def get(
    context: typer.Context,
    checkpoint: CheckpointArgument,
    to: Annotated[Path, typer.Option("--to", help="File to write.", metavar="FILE", parser=path_of)],
    optimizer: Annotated[
        bool, typer.Option("--optimizer", help="The optimizer's state instead of the weights.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Write a checkpoint's weights into a file.

    It gets its name when all of it is there and its hash is that of what was stored.
    """
    from sgdb.operations.checkpoints import GetOptions
    from sgdb.operations.checkpoints import get as run

    current = session(context)
    options = GetOptions(checkpoint, to, optimizer, overwrite)
    document = run(options, current.settings(), current.output.progress())
    if format is Format.TABLE:
        current.output.text(near(document["path"]))
        current.output.message(f"{size(document['bytes'])} of checkpoint {document['checkpoint_id']}")
    else:
        current.output.data(format, list(document), [document], document)


def _metric_of(text: str) -> tuple[str, int | float]:
    name, sign, value = text.rpartition("=")
    if not sign or not name:
        raise typer.BadParameter(f"{text!a} is no NAME=NUMBER")
    try:
        return name, int(value)
    except ValueError:
        pass
    try:
        return name, float(value)
    except ValueError:
        raise typer.BadParameter(f"{value!a} is no number") from None


@checkpoints.command()
def put(
    context: typer.Context,
    to: SessionArgument,
    epoch: Annotated[int, typer.Option(help="After which epoch, from 0.", metavar="N", min=0, max=2**31 - 1)],
    weights: Annotated[
        Path | None, typer.Option(help="File with the weights.", metavar="FILE", parser=path_of)
    ] = None,
    optimizer: Annotated[
        Path | None, typer.Option(help="File with the optimizer's state.", metavar="FILE", parser=path_of)
    ] = None,
    metric: Annotated[
        list[Any] | None,
        typer.Option(help="A metric, may be repeated.", metavar="NAME=NUMBER", parser=_metric_of),
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Add a checkpoint to a session, out of files.

    The same checkpoint again changes nothing; another one for an epoch that is there is refused.
    """
    from sgdb.operations.checkpoints import PutOptions
    from sgdb.operations.checkpoints import put as run

    current = session(context)
    options = PutOptions(to, epoch, weights, optimizer, dict(metric or ()))
    document = run(options, current.settings(), current.output.progress())
    if format is Format.TABLE:
        said = "is there already" if document["status"] == "identical" else "added"
        current.output.message(f"epoch {epoch} of session {document['session_id']}: {said}")
    else:
        current.output.data(format, list(document), [document], document)


@checkpoints.command()
def prune(
    context: typer.Context,
    of: SessionArgument,
    keep_last: Annotated[int | None, typer.Option(help="Keep the last N.", metavar="N", min=1)] = None,
    keep_best: Annotated[
        int | None, typer.Option(help="Keep the N best by a metric.", metavar="N", min=1)
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="By which metric; the highest are best.", metavar="NAME")
    ] = None,
    lowest: Annotated[bool, typer.Option("--lowest", help="The lowest are best, as of a loss.")] = False,
    every: Annotated[
        int | None, typer.Option(help="Keep each epoch that is a multiple of K.", metavar="K", min=1)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Tell, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Go on without asking.")] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Remove a session's checkpoints, but those that any of the rules keeps.

    A checkpoint that a bot is stays in any case. Bytes that no other checkpoint needs go with the rows, those
    in files too, and so do files that are left over from a pruning that broke off. Shows first what would go
    and asks; without a terminal and without --yes the answer is no, and it exits with 1.
    """
    from sgdb.operations.checkpoints import PruneOptions
    from sgdb.operations.checkpoints import prune as run

    current = session(context)
    output, settings = current.output, current.settings()
    options = PruneOptions(of, keep_last, keep_best, metric, lowest, every, dry_run)
    if not (yes or dry_run):
        looked = run(replace(options, dry_run=True), settings, output.progress())
        if not looked.is_empty:
            output.message(_said(looked))
            if looked.pruned:
                output.message(f"epochs that would go: {_epochs(looked)}")
            if not output.confirm("Remove them?"):
                output.message("nothing was changed (--yes goes on without asking)")
                raise typer.Exit(1)
    result = run(options, settings, output.progress())
    if result.pruned or format is not Format.TABLE:
        document = result.to_json()
        output.data(format, COLUMNS, checkpoint_rows(document["pruned"], format), document)
    if format is Format.TABLE:
        output.message(_said(result))
        if dry_run:
            output.message("dry run: nothing was changed")


def _epochs(result: PruneResult) -> str:
    """Those of the checkpoints that go, the first of many."""
    epochs = [checkpoint.epoch for checkpoint in result.pruned]
    more = len(epochs) - _SHOWN
    named = ", ".join(map(str, epochs[:_SHOWN]))
    return named if more <= 0 else f"{named} and {more:,} more (--dry-run lists them)"


def _said(result: PruneResult) -> str:
    """What goes, in a sentence."""
    if result.is_empty:
        return f"nothing to remove; kept: {len(result.kept)}"
    goes = "would go" if result.dry_run else "gone"
    said = f"{counted(len(result.pruned), 'checkpoint')} {goes}, {size(sum(result.freed.values()))}"
    said += f"; kept: {len(result.kept)}"
    bots = [epoch for epoch, reasons in result.kept.items() if reasons == ["bot"]]
    if bots:
        said += f" ({len(bots)} of them only because a bot is this checkpoint)"
    if result.left_over:
        many = size(sum(result.left_over.values()))
        said += f"; files that no checkpoint needs any more, {goes}: {len(result.left_over)}, {many}"
    return said


def _describe(found: CheckpointResult, output: Output) -> None:
    document = found.to_json()
    lineage = document["lineage"]["session"]
    lines = {
        "checkpoint": f"{document['id']}, epoch {document['epoch']}",
        "session": f"{lineage['id']}, {lineage['name'] or 'without a name'}, {lineage['status']}",
        "agent": document["agent"],
        "weights": _where(document["weights"]),
        "optimizer": _where(document["optimizer"]),
        "file": document["file_path"],
        "metrics": document["metrics"],
        "notes": document["metadata"],
        "created": document["created_at"],
        "bots": None if found.bots else "none",
    }
    for name, value in lines.items():
        if value is not None:
            output.text(f"{name + ':':<12} {cell(value, 'id')}")


def _where(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    parts = [found["place"], size(found["bytes"]) if found["bytes"] is not None else None, found["sha256"]]
    return ", ".join(part for part in parts if part)
