"""`sgdb server`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from sgdb.cli.options import FormatOption
from sgdb.cli.output import Format
from sgdb.cli.session import session

if TYPE_CHECKING:
    from sgdb.operations.server import ServerResult

server = typer.Typer(
    help="Rule the embedded PostgreSQL. Commands start it by themselves when they need it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _act(context: typer.Context, action: str, format: Format) -> ServerResult:
    from sgdb.operations.server import ServerAction
    from sgdb.operations.server import server as run

    current = session(context)
    result = run(ServerAction(action), current.settings(), current.output.progress())
    output, found, document = current.output, result.status, result.to_json()
    if format is not Format.TABLE:
        output.data(format, list(document), [document], document)
        return result
    state = f"running, pid {found.pid}" if found.running else "stopped" if result.exists else "not set up yet"
    output.text(f"server:   {state}")
    output.text(f"version:  PostgreSQL {found.version}")
    output.text(f"data:     {found.data_folder}")
    if found.socket_folder:
        output.text(f"socket:   {found.socket_folder}")
    output.text(f"log:      {found.log_file}")
    return result


@server.command()
def start(context: typer.Context, format: FormatOption = Format.TABLE) -> None:
    """Start the embedded server; set it up first where there is none."""
    result = _act(context, "start", format)
    if not result.changed:
        session(context).output.message("it was running already")


@server.command()
def stop(context: typer.Context, format: FormatOption = Format.TABLE) -> None:
    """Stop the embedded server. The next command that needs it starts it again."""
    result = _act(context, "stop", format)
    if not result.changed:
        session(context).output.message("it was not running")


@server.command()
def status(context: typer.Context, format: FormatOption = Format.TABLE) -> None:
    """Show whether the embedded server runs. Starts nothing."""
    _act(context, "status", format)
