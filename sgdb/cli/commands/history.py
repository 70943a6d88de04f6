"""`sgdb query history`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sgdb.cli.options import FormatOption, SetOption
from sgdb.cli.output import Format, board_text, harmless
from sgdb.cli.session import session
from sgdb.errors import UsageError
from sgdb.wording import counted

if TYPE_CHECKING:
    from sgdb.operations.history import History, Step

_LONGEST_DELAY = 60.0


def history(
    context: typer.Context,
    set_id: SetOption,
    game: Annotated[int, typer.Option(help="Index of the game.", metavar="N", min=0)],
    bot: Annotated[str, typer.Option(help="The bot's name.", metavar="NAME")],
    play: Annotated[bool, typer.Option("--play", help="Play the moves back, board by board.")] = False,
    delay: Annotated[
        float,
        typer.Option(
            help="Seconds between two boards on a terminal.", metavar="S", min=0, max=_LONGEST_DELAY
        ),
    ] = 0.5,
    format: FormatOption = Format.TABLE,
) -> None:
    """The moves that a bot made in a game, if they were recorded (`sgdb benchmark run --record-moves`).

    With --play the boards are drawn in place on a terminal, the cell that is clicked next marked, and one
    below the other elsewhere.
    """
    from sgdb.operations import history as operations

    if play and format is not Format.TABLE:
        raise UsageError("--play draws boards, so it takes no --format", hint="leave one of the two out")
    if not 0 <= delay <= _LONGEST_DELAY:  # not every parser refuses "nan"
        raise UsageError(f"boards cannot be {delay} seconds apart")
    current = session(context)
    options = operations.HistoryOptions(set_id, game, bot)
    found = operations.history(options, current.settings(), current.output.progress())
    if play:
        current.output.frames(_frames(found), delay)
    else:
        rows = (
            [step.row for step in found.steps() if step.cell is not None] if format is not Format.JSON else []
        )
        current.output.data(format, operations.MOVE_FIELDS, rows, found.to_json())


def _frames(found: History) -> Iterator[Any]:
    """The start, and the board after each move, each with a line about it."""
    from rich.console import Group
    from rich.text import Text

    name = harmless(found.options.bot)
    for step in found.steps():
        marked = found.moves[step.move] if step.move < len(found.moves) else None
        yield Group(
            Text(f"{name}, game {found.options.game}: {_said(step, len(found.moves))}"),
            board_text(step.board, marked),
        )


def _said(step: Step, count: int) -> str:
    if step.cell is None:
        return f"{counted(step.left, 'tile')}, {counted(count, 'move')}"
    row, col = step.cell
    return f"move {step.move} of {count}, row {row}, column {col}: {step.removed} gone, {step.left} left"
