"""Options that several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sgdb.cli.output import Format

FormatOption = Annotated[
    Format, typer.Option("--format", "-f", help="How to print the data.", case_sensitive=False)
]
PathsArgument = Annotated[
    list[Path] | None, typer.Argument(help="Files or folders.", metavar="PATH", show_default=False)
]
SetOption = Annotated[
    int, typer.Option("--set", help="Id of the benchmark set (see `sgdb query sets`).", metavar="ID")
]
StartOption = Annotated[int | None, typer.Option(help="First game.", metavar="N", min=0)]
StopOption = Annotated[int | None, typer.Option(help="First game not taken any more.", metavar="N", min=0)]
