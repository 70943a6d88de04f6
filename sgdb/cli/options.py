"""Options that several commands have in common."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from sgdb.cli.output import Format
from sgdb.errors import UsageError
from sgdb.records import GameConfig

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
WeightsDirOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--weights-dir",
        help="Where weights of checkpoints are that do not lie beside their pickles; may be repeated.",
        metavar="FOLDER",
        parser=path_of,
    ),
]
SetOption = Annotated[
    int, typer.Option("--set", help="Id of the benchmark set (see `sgdb query sets`).", metavar="ID")
]
StartOption = Annotated[int | None, typer.Option(help="First game.", metavar="N", min=0)]
StopOption = Annotated[int | None, typer.Option(help="First game not taken any more.", metavar="N", min=0)]


TERMINAL = "-"  # the value of --plot that is no file
_FILE = re.compile(r"[^-].*\.[A-Za-z]{2,5}", re.DOTALL)
PlotOption = Annotated[
    str | None,
    typer.Option(
        help="Draw a chart instead of the table or, with a FILE.png, .svg or .pdf, into that file, which is "
        "replaced.",
        metavar="[FILE]",
        show_default=False,
    ),
]


def with_plot_values(arguments: list[str]) -> list[str]:
    """The command line in which every --plot has a value: the terminal, unless something follows that ends as
    the name of a file does.

    Typer has no options whose value may be left out.
    """
    completed: list[str] = []
    for at, argument in enumerate(arguments):
        if argument == "--":
            return completed + arguments[at:]
        completed.append(argument)
        following = arguments[at + 1] if at + 1 < len(arguments) else ""
        if argument == "--plot" and following != TERMINAL and not _FILE.fullmatch(following):
            completed.append(TERMINAL)
    return completed


def plot_target(plot: str | None, format: Format) -> str | None:
    """Where the chart goes, after it has been found that one can go there; None for no chart.

    Raises UsageError, or EnvironmentFaultError where what draws it is not installed.
    """
    if plot is None:
        return None
    from sgdb.cli.plots import target_of

    if plot == TERMINAL and format is not Format.TABLE:
        raise UsageError(
            "--plot without a file takes the place of the table, so there is no other format",
            hint="name a file: --plot chart.svg",
        )
    return target_of(plot)


def parse_config(text: str | None) -> GameConfig | None:
    """A config written as ROWSxCOLUMNSxCOLOURS."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})[xX](\d{1,9})[xX](\d{1,9})", text)
    if found is None:
        raise UsageError(
            f"{text!a} is no board config", hint="write it as ROWSxCOLUMNSxCOLOURS, such as 5x7x3"
        )
    return GameConfig(*map(int, found.groups()))
