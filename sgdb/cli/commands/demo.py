"""`sgdb demo`."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from sgdb.cli.options import path_of
from sgdb.cli.session import session


def demo(
    context: typer.Context,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Use this folder and leave it there afterwards.",
            metavar="FOLDER",
            parser=path_of,
        ),
    ] = None,
) -> None:
    """Show the whole way on small made-up pickles.

    Init, dry run, migration, verification, query: runs the real commands on a database of its own. Your
    own data and settings are left alone.
    """
    from sgdb.operations.demo import DemoOptions
    from sgdb.operations.demo import demo as prepare

    output = session(context).output
    with prepare(DemoOptions(keep)) as prepared:
        output.text("Small legacy pickles, as the old benchmark system left them behind:")
        for path in sorted((prepared.folder / "pickles").iterdir()):
            output.text(f"  pickles/{path.name}")
        for arguments in prepared.commands:
            output.text(f"\n$ sgdb {shlex.join(arguments)}")
            output.flush()
            done = subprocess.run(
                [sys.executable, "-m", "sgdb", *arguments],
                env=prepared.environment,
                cwd=prepared.folder,
                check=False,
            )
            if done.returncode:
                raise typer.Exit(done.returncode)
    output.text("\nThat was the demo; " + (f"it is kept in {keep}." if keep else "nothing of it is left."))
    output.text("Now your own files:")
    output.text("  sgdb init")
    output.text("  sgdb migrate-pickles FOLDER --dry-run")
    output.text("  sgdb migrate-pickles FOLDER")
