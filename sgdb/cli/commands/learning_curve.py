"""`sgdb query learning-curve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sgdb.cli.options import TERMINAL, FormatOption, PlotOption, plot_target
from sgdb.cli.output import Format, Output
from sgdb.cli.session import session
from sgdb.wording import counted

if TYPE_CHECKING:
    from sgdb.operations.learning_curve import LearningCurveResult


def learning_curve(
    context: typer.Context,
    named: Annotated[
        str,
        typer.Argument(help="A training's id, uid or name.", metavar="SESSION", show_default=False),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Only this metric; give it again for others.", metavar="NAME"),
    ] = None,
    plot: PlotOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """What a training has logged, metric by epoch: the numbers that its checkpoints bear.

    --plot draws a chart a metric.
    """
    from sgdb.operations import learning_curve as operations

    current = session(context)
    target = plot_target(plot, format)
    options = operations.LearningCurveOptions(named, tuple(metric or ()))
    result = operations.learning_curve(options, current.settings(), current.output.progress())
    if target is not None:
        _draw(result, target, current.output)
    if target != TERMINAL:
        current.output.data(format, operations.CURVE_FIELDS, result.rows, result.to_json())
    if not result.rows:
        current.output.message("no checkpoint of this session bears a number")


def _draw(result: LearningCurveResult, target: str, output: Output) -> None:
    from sgdb.cli.plots import Curves, show

    found = result.session
    title = f"session {found.id}" + (f" ({found.name})" if found.name else "") + f": {found.bot}"
    charts = [Curves(title, "epoch", metric, {metric: line}) for metric, line in result.lines().items()]
    show(charts, target, output)
    for metric, number in result.not_drawn().items():
        output.message(f"not drawn, since not finite: {counted(number, 'value')} of {metric!a}")
