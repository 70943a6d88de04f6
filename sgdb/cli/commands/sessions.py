"""`sgdb sessions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sgdb.cli.checkpoint_rows import COLUMNS, checkpoint_rows
from sgdb.cli.options import FormatOption
from sgdb.cli.output import Format, Output, cell, harmless
from sgdb.cli.session import session

if TYPE_CHECKING:
    from sgdb.operations.sessions import SessionResult

_FIELDS = ("id", "name", "bot", "status", "config", "started_at", "ended_at", "checkpoints", "last_epoch")

sessions = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Show trainings that programs have told of."
)


@sessions.command("list")
def list_(
    context: typer.Context,
    bot: Annotated[str | None, typer.Option(help="Only trainings of this bot.", metavar="NAME")] = None,
    status: Annotated[
        str | None,
        typer.Option(
            help="Only those that are running, stale, completed, failed or interrupted.", metavar="STATUS"
        ),
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """List training sessions, newest first.

    A session is stale when it is running as far as anybody has said, but its program has given no sign of
    life for a while: it has died, or cannot reach the database.
    """
    from sgdb.operations.sessions import SessionsOptions, list_sessions

    current = session(context)
    found = list_sessions(SessionsOptions(bot, status), current.settings(), current.output.progress())
    documents = [each.to_json() for each in found]
    rows = [
        {name: document[name] for name in _FIELDS} | {"config": each.config and str(each.config)}
        for each, document in zip(found, documents, strict=True)
    ]
    current.output.data(format, _FIELDS, rows, documents)


@sessions.command()
def show(
    context: typer.Context,
    named: Annotated[str, typer.Argument(help="Its id, uid or name.", metavar="SESSION", show_default=False)],
    format: FormatOption = Format.TABLE,
) -> None:
    """Show one training session: what it was given, how it went, and its checkpoints.

    csv and markdown hold the checkpoints only.
    """
    from sgdb.operations.sessions import show_session

    current = session(context)
    found = show_session(named, current.settings(), current.output.progress())
    output = current.output
    if format is Format.TABLE:
        _describe(found, output)
        if not found.checkpoints:
            return
        output.text("")
    document = found.to_json()
    output.data(format, COLUMNS, checkpoint_rows(document["epochs"], format), document)


def _describe(found: SessionResult, output: Output) -> None:
    document = found.to_json()
    lines = {
        "session": f"{document['id']}, {document['uid']}",
        "name": document["name"],
        "bot": document["bot"],
        "status": document["status"],
        "config": found.session.config and str(found.session.config),
        "started": document["started_at"],
        "ended": document["ended_at"],
        "heartbeat": document["heartbeat_at"],
        "given": document["hyperparameters"],
        "result": document["final_metrics"],
        "notes": document["metadata"],
    }
    for name, value in lines.items():
        if value is not None:
            output.text(f"{name + ':':<10} {harmless(cell(value, 'id'))}")
