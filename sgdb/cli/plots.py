"""Charts of data: bars and curves, as text for the terminal or as a file.

plotext draws the text, matplotlib the files. Both are loaded only when something is drawn.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sgdb.atomic import atomic_file
from sgdb.cli.options import TERMINAL
from sgdb.cli.output import Canvas, Output, harmless
from sgdb.errors import EnvironmentFaultError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What a chart can be saved as, and what would make two files of one chart differ.
_FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
_HIGHEST = 400.0  # inches of a file; matplotlib draws no more than 65,536 dots
_DOTS = 150  # an inch
_LONGEST_NAME = 40  # characters of a bar's name
_WIDEST = 120  # characters of a chart, however wide the terminal is
_CURVE_HEIGHT = 18  # lines
_MARKERS = "*+ox#%@"
_TICKS = 6
_NOTHING = 1e-290  # about where the arithmetic of floats ends
# What plotext draws a frame with, and bars, where the terminal has nothing but ASCII.
_ASCII = str.maketrans("┌┐└┘─│┤├┬┴┼█━", "++++-|+++++#=")


class Bar(NamedTuple):
    """A value under a name, and an interval around it where there is one. All of them are finite."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart. `axis` says what the values are, with the unit. `span` is the part of the axis that is
    shown, at least; `mark` a value to compare with."""

    title: str
    axis: str
    bars: Sequence[Bar]
    span: tuple[float, float] | None = None
    mark: float | None = None


@dataclass(frozen=True, slots=True)
class Curves:
    """A chart of lines: finite points by the name of their line, and what the two axes are, with units."""

    title: str
    x_axis: str
    y_axis: str
    lines: dict[str, Sequence[tuple[float, float]]]


Chart = Bars | Curves


def target_of(value: str | None) -> str | None:
    """The value of a --plot option, after it has been found that a chart can go there: None for no chart,
    TERMINAL, or the path of a file. Raises UsageError, and EnvironmentFaultError where matplotlib is absent.
    """
    if value is None or value == TERMINAL:
        return value
    if Path(value).suffix.lower() not in _FORMATS:
        raise UsageError(
            f"a chart cannot be saved as {value!a}",
            hint=f"let the name end with {', '.join(_FORMATS)}; for a chart in the terminal, put --plot last",
        )
    if find_spec("matplotlib") is None:
        raise EnvironmentFaultError(
            "charts are saved by matplotlib, which is not installed",
            hint="pip install 'sgdb[plot]', or --plot without a file for a chart in the terminal",
        )
    return value


def show(charts: Sequence[Chart], target: str, output: Output) -> None:
    """Draws the charts in the terminal, or saves them in one file. Raises as `save`."""
    if target == TERMINAL:
        for chart in charts:
            output.text(as_text(chart, output.canvas()))
    elif charts:
        save(charts, Path(target))
        output.message(f"wrote {target}")


# -- text -----------------------------------------------------------------------------------------------


def as_text(chart: Chart, canvas: Canvas) -> str:
    """The chart in lines of text, with escape sequences only where there is colour."""
    import plotext

    plotext.terminal.limit(False, False)  # it may be longer than the screen
    figure = plotext.figure
    figure.clear()
    figure.theme("simple")
    width = max(20, min(canvas.width, _WIDEST))
    # What a chart is of stands around it: plotext leaves out a title that is wider than the chart.
    if isinstance(chart, Bars):
        _draw_bars(figure, chart, canvas, width)
        above, below = [chart.title], [chart.axis]
    else:
        above, below = (
            [chart.title, chart.y_axis],
            [chart.x_axis, *_draw_curves(figure, chart, canvas, width)],
        )
    drawn = str(figure.build().string(not canvas.has_color))
    lines = [*map(harmless, above), *filter(None, map(str.rstrip, drawn.splitlines())), *map(harmless, below)]
    text = "\n".join(lines)
    return text if canvas.has_unicode else text.translate(_ASCII).encode("ascii", "backslashreplace").decode()


def _draw_bars(figure: Any, chart: Bars, canvas: Canvas, width: int) -> None:
    """One line a bar; the interval lies over it."""
    number = len(chart.bars)
    low, high = _span(chart)
    places = range(number, 0, -1)
    for at, bar in zip(places, chart.bars, strict=True):
        if bar.value != 0:
            _line(figure, [(0, at), (bar.value, at)], "█")
    if chart.mark is not None:
        _line(figure, [(chart.mark, 1), (chart.mark, max(number, 2))], "│")
    for at, bar in zip(places, chart.bars, strict=True):
        if bar.low is not None and bar.high is not None:
            _line(figure, [(bar.low, at), (bar.high, at)], "━")
    ticks = _ticks(low, high)
    figure.ruler("x").lim(low, high)
    figure.ruler("x").ticks(ticks, [f"{tick:g}" for tick in ticks])
    figure.ruler("y").lim(1, max(number, 2))
    longest = min(_LONGEST_NAME, width // 2)
    names = [_cut(harmless(bar.name), longest, canvas) for bar in chart.bars]
    # plotext takes a blank for no tick at all.
    figure.ruler("y").ticks(list(places), [name if name.strip() else f"'{name}'" for name in names])
    figure.plot_size(width, max(number, 2) + 3)


def _draw_curves(figure: Any, chart: Curves, canvas: Canvas, width: int) -> list[str]:
    """Lines of dots; several have a sign each, which the returned legend explains."""
    is_alone = len(chart.lines) == 1
    legend = []
    for number, (name, points) in enumerate(chart.lines.items()):
        marker = _MARKERS[number % len(_MARKERS)]
        _line(figure, points, "braille" if is_alone and canvas.has_unicode else marker)
        legend.append(f"{marker} {name}")
    xs = [x for points in chart.lines.values() for x, _ in points]
    ticks = _ticks(min(xs), max(xs))
    figure.ruler("x").ticks(ticks, [f"{tick:g}" for tick in ticks])
    figure.plot_size(width, _CURVE_HEIGHT)
    return [] if is_alone else legend


def _line(figure: Any, points: Sequence[tuple[float, float]], marker: str) -> None:
    signal = figure.signal([x for x, _ in points], [y for _, y in points], marker=marker)
    signal.lines()
    figure.draw(signal)


def _cut(text: str, longest: int, canvas: Canvas) -> str:
    dots = "…" if canvas.has_unicode else "..."
    return text if len(text) <= longest else text[: longest - len(dots)] + dots


def _span(chart: Bars) -> tuple[float, float]:
    """The part of the axis that shows everything, zero included."""
    values = [0.0]
    for bar in chart.bars:
        values += [value for value in (bar.value, bar.low, bar.high) if value is not None]
    low, high = min(values), max(values)
    if chart.span is not None:
        low, high = min(low, chart.span[0]), max(high, chart.span[1])
    return (low, high) if high - low > _NOTHING else (low, low + 1)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers in the span, a handful of them."""
    if high - low <= _NOTHING:
        return [low]
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


# -- files ----------------------------------------------------------------------------------------------


def save(charts: Iterable[Chart], path: Path) -> None:
    """Writes the charts into one file, one below the other, in the format that its name ends with.

    A file of that name is replaced; it is there whole or not at all. The same charts give the same bytes.
    Raises UsageError where there is too much to draw, FileAccessError or DiskFullError.
    """
    charts = list(charts)
    ending = path.suffix.lower()
    heights = [_height(chart) for chart in charts]
    if sum(heights) > _HIGHEST:
        raise UsageError("there is too much to draw for one file", hint="narrow it down, as with --bot NAME")
    with _matplotlib():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, sum(heights)), layout="constrained")
        panels = figure.subplots(len(charts), squeeze=False, height_ratios=heights)
        for panel, chart in zip(panels[:, 0], charts, strict=True):
            if isinstance(chart, Bars):
                _plot_bars(panel, chart)
            else:
                _plot_curves(panel, chart)
        image = io.BytesIO()
        figure.savefig(image, format=ending[1:], dpi=_DOTS, metadata=_FORMATS[ending])
    with atomic_file(path, overwrite=True) as file:
        file.write(image.getvalue())


@contextmanager
def _matplotlib() -> Iterator[None]:
    """matplotlib with its own defaults, whatever the user has set; names are no formulas."""
    import warnings

    import matplotlib
    import matplotlib.style

    own: dict[Any, Any] = {"text.parse_math": False, "svg.hashsalt": "sgdb", "axes.unicode_minus": True}
    with (
        warnings.catch_warnings(action="ignore"),  # a letter that the font lacks is drawn as a box
        matplotlib.style.context("default"),
        matplotlib.rc_context(own),
    ):
        yield


def _height(chart: Chart) -> float:
    """Inches of a panel."""
    return 4.5 if isinstance(chart, Curves) else 1.4 + 0.3 * max(2, len(chart.bars))


def _plot_bars(panel: Axes, chart: Bars) -> None:
    names = [_cut(harmless(bar.name), 2 * _LONGEST_NAME, Canvas(0, False, True)) for bar in chart.bars]
    places = range(len(names))
    panel.barh(places, [bar.value for bar in chart.bars], height=0.6, color="tab:blue")
    for place, bar in zip(places, chart.bars, strict=True):
        if bar.low is not None and bar.high is not None:
            panel.plot([bar.low, bar.high], [place, place], color="black", marker="|", linewidth=1.5)
    if chart.mark is not None:
        panel.axvline(chart.mark, color="gray", linestyle="--", linewidth=1)
    panel.set_yticks(places, names)
    panel.invert_yaxis()
    panel.set_xlim(*_span(chart))
    panel.set_title(harmless(chart.title))
    panel.set_xlabel(harmless(chart.axis))


def _plot_curves(panel: Axes, chart: Curves) -> None:
    for name, points in chart.lines.items():
        marker = "." if len(points) <= 50 else None
        panel.plot([x for x, _ in points], [y for _, y in points], marker=marker, label=harmless(name))
    panel.set_title(harmless(chart.title))
    panel.set_xlabel(harmless(chart.x_axis))
    panel.set_ylabel(harmless(chart.y_axis))
    panel.grid(alpha=0.3)
    if len(chart.lines) > 1:
        panel.legend()
