"""The command line as a whole: global options, the list of commands, and where an error becomes an exit."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

import sgdb
from sgdb.cli.lazy import lazy_group
from sgdb.cli.options import path_of, with_plot_values
from sgdb.cli.output import Output
from sgdb.cli.session import Session, session
from sgdb.errors import EnvironmentFaultError, SgdbError, UsageError

INTERRUPTED = 130
BUG = 70

COMMANDS = {
    "init": "init:init",
    "status": "status:status",
    "stats": "stats:stats",
    "migrate-pickles": "migrate_pickles:migrate_pickles",
    "verify": "verify:verify",
    "rollback": "rollback:rollback",
    "export": "export:export",
    "import": "import_:import_",
    "sync": "sync:sync",
    "demo": "demo:demo",
    "query": "query:query",
    "backup": "backup:backup",
    "benchmark": "benchmark:benchmark",
    "sessions": "sessions:sessions",
    "checkpoints": "checkpoints:checkpoints",
    "server": "server:server",
}

app = typer.Typer(
    name="sgdb",
    cls=lazy_group(COMMANDS),
    help="Moves SameGame benchmark data out of pickle files into PostgreSQL without losing a value.",
    epilog="First steps: sgdb init, then sgdb migrate-pickles FOLDER. No server has to be installed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: shown at once, and brackets are brackets
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sgdb {sgdb.__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    database_url: Annotated[
        str | None,
        typer.Option(
            help="Server to use instead of the embedded one, as postgresql://USER@HOST:PORT/DATABASE. "
            "[env: SGDB_DATABASE_URL]",
            metavar="URL",
        ),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the embedded server's data; selects that server. [env: SGDB_HOME]",
            metavar="FOLDER",
            parser=path_of,
        ),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(help="The [environments.NAME] of sgdb.toml to use. [env: SGDB_ENV]", metavar="NAME"),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Moves SameGame benchmark data out of pickle files into PostgreSQL without losing a value."""
    del version
    current = session(context)
    current.debug = debug
    if database_url == "":
        raise UsageError("--database-url is empty", hint="leave it out to use the embedded server")
    current.overrides = {"database_url": database_url, "home": home, "env": env}


def run(arguments: list[str]) -> int:
    """Runs one command line; returns its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    current = Session(Output())
    try:
        code = _run(arguments, current)
        current.output.flush()
    except BrokenPipeError:  # whoever read the output has left, as `| head` does
        current.output.abandon()
        return _ended_by_sigpipe()
    except OSError as error:  # most often a stream: files and databases have errors of their own
        current.output.abandon()
        what = f"cannot use {error.filename}" if error.filename else "cannot write the output"
        current.output.error(f"{what}: {error.strerror or error}", "see to it and run the command again")
        return EnvironmentFaultError.exit_code
    return code


def _ended_by_sigpipe() -> int:
    """Ends the process as such a pipe ends other programs. The signal is not left to itself from the
    beginning: it would strike as well where a process that plays has gone, before results are saved."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    return EnvironmentFaultError.exit_code


def _run(arguments: list[str], current: Session) -> int:
    try:
        app(args=with_plot_values(arguments), prog_name="sgdb", obj=current)
    except SystemExit as exit_:
        if isinstance(exit_.__context__, BrokenPipeError):  # of which Typer makes an exit code of its own
            raise exit_.__context__ from None
        code = exit_.code if isinstance(exit_.code, int) else 0
        if code == INTERRUPTED:
            current.output.message("interrupted")
        return code
    except KeyboardInterrupt:
        current.output.message("interrupted")
        return INTERRUPTED
    except SgdbError as error:
        if current.debug:
            current.output.traceback()
        current.output.error(error.message, error.hint, _causes(error))
        return error.exit_code
    except OSError:
        if current.debug:
            current.output.traceback()
        raise
    except Exception as error:
        if current.debug:
            current.output.traceback()
        current.output.error(
            f"this is a bug in sgdb: {type(error).__name__}: {error}",
            "run the command again with --debug and report what it prints",
        )
        return BUG
    return 0


def _terminated(_number: int, _frame: FrameType | None) -> None:
    """`kill` asks for the same orderly end as Ctrl-C."""
    raise KeyboardInterrupt


def _causes(error: BaseException) -> list[str]:
    """The errors behind an error, as far as they add something to what has been said."""
    lines: list[str] = []
    said = str(error)
    cause = error.__cause__
    while cause is not None:
        line = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
        repeated = isinstance(cause, OSError) and cause.strerror and cause.strerror in said
        if isinstance(cause, SgdbError | OSError) and line not in said and not repeated:
            lines.append(line)
            said += line
        cause = cause.__cause__
    return lines
