"""Options that several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sgdb.cli.output import Format

FormatOption = Annotated[
    Format, typer.Option("--format", "-f", help="How to print the data.", case_sensitive=False)
]


def path_of(text: str) -> Path:
    """A path as it was typed. An empty one, from an unset variable of a script, is not the current folder."""
    if not text:
        raise typer.BadParameter("an empty path")
    return Path(text)


PathsArgument = Annotated[
    list[Path] | None,
    typer.Argument(help="Files or folders.", metavar="PATH", show_default=False, parser=path_of),
]
SetOption = Annotated[
    int, typer.Option("--set", help="Id of the benchmark set (see `sgdb query sets`).", metavar="ID")
]
StartOption = Annotated[int | None, typer.Option(help="First game.", metavar="N", min=0)]
StopOption = Annotated[int | None, typer.Option(help="First game not taken any more.", metavar="N", min=0)]
