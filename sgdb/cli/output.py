"""The only writer to the terminal: data to stdout; progress, questions and messages to stderr."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from tqdm import tqdm

# Control characters (C0, DEL, C1) would let a bot's name rewrite the screen, marks of direction would turn it
# round, and bytes of a file's name that are no text cannot be printed.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    code: f"\\u{code:04x}"
    for code in (
        0x061C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF,
        *range(0xD800, 0xE000),
    )
}  # fmt: skip
# Blanks that fill the last column up: a terminal that is narrower would fold them into empty lines.
_TRAILING = re.compile(r" +(\x1b\[0m)?$", re.MULTILINE)
# Columns whose numbers are names: they are pasted back, so no digits are grouped.
_NAMES = {"seed", "base_seed", "set", "run", "id", "benchmark_set_id", "game_index", "game_id", "pid",
          "epoch", "last_epoch", "session", "session_id", "checkpoint_id"}  # fmt: skip


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


class Canvas(NamedTuple):
    """What a terminal, or a pipe in its place, can show."""

    width: int
    has_color: bool
    has_unicode: bool


def harmless(text: str) -> str:
    """Text without control characters: they are shown as escapes."""
    return text.translate(_CONTROLS)


def cell(value: Any, column: str = "") -> str:
    """A value as a person reads it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return str(value) if column.replace(" ", "_") in _NAMES else f"{value:,}"
    return harmless(json.dumps(value) if isinstance(value, list | dict) else str(value))


def near(path: str) -> str:
    """A path as it is typed from here: relative where it lies below the current folder."""
    folder = str(Path.cwd()) + os.sep
    return path.removeprefix(folder)


def size(count: int) -> str:
    """A number of bytes as a person reads it."""
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.0f} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, list | dict) else value


# Colour 0 is the empty cell. Twelve colours that terminals tell apart, on light and dark backgrounds.
_COLORS = ("red", "green", "yellow", "blue", "magenta", "cyan", "bright_red", "bright_green", "bright_yellow",
           "bright_blue", "bright_magenta", "bright_cyan")  # fmt: skip


def board_text(board: list[list[int]], marked: tuple[int, int] | None = None) -> Any:
    """A board for `Output.rich`: numbers in colour, a dot for an empty cell; one cell may be marked."""
    from rich.text import Text

    text = Text()
    width = len(str(max((value for row in board for value in row), default=0)))
    for number, row in enumerate(board):
        text.append("  ")
        for at, value in enumerate(row):
            style = _COLORS[(value - 1) % len(_COLORS)] if value else "dim"
            shown = (str(value) if value else ".").rjust(width)
            text.append(shown, style=f"{style} reverse" if (number, at) == marked else style)
            text.append(" ")
        text.append("\n")
    return text


class Output:
    """Writes to the two streams it is given."""

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        # A stream that was closed before the process began is None.
        self._stdout = stdout or sys.stdout or io.StringIO()
        self._stderr = stderr or sys.stderr or io.StringIO()
        for stream in (self._stdout, self._stderr):
            if isinstance(stream, io.TextIOWrapper):  # a name may hold what the terminal's encoding has not
                stream.reconfigure(errors="backslashreplace")

    # -- data -----------------------------------------------------------------------------------

    def data(
        self,
        format: Format,
        columns: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        document: Any,
        *,
        title: str | None = None,
    ) -> None:
        """Prints rows as a table, CSV or Markdown, or `document` as JSON."""
        if format is Format.JSON:
            self.json(document)
        elif format is Format.CSV:
            self.stream(format, columns, rows)
        elif format is Format.MARKDOWN:
            self._markdown(columns, rows)
        else:
            self._table(columns, rows, title)

    def stream(self, format: Format, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """Prints rows one by one as they come: a JSON array, CSV or Markdown."""
        if format is Format.JSON:
            opened = False
            for row in rows:
                self._stdout.write(",\n  " if opened else "[\n  ")
                opened = True
                json.dump({name: row[name] for name in columns}, self._stdout, allow_nan=False)
            self._stdout.write("\n]\n" if opened else "[]\n")
        elif format is Format.CSV:
            writer = csv.writer(self._stdout, lineterminator="\n")
            writer.writerow(columns)
            for row in rows:
                writer.writerow([_csv_cell(row[name]) for name in columns])
        else:
            self._markdown(columns, rows)

    def json(self, document: Any) -> None:
        """One JSON document, in ASCII."""
        json.dump(document, self._stdout, indent=2, allow_nan=False)
        self._stdout.write("\n")

    def text(self, text: str) -> None:
        """Lines of data."""
        self._stdout.write(text + "\n")

    def flush(self) -> None:
        """Hands on what has been written, before another process writes to the same terminal."""
        self._stdout.flush()

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """While this lasts, what libraries print goes to stderr, not among the data."""
        with redirect_stdout(self._stderr):
            yield

    def canvas(self) -> Canvas:
        """What can be drawn where data is printed."""
        console = self._console(self._stdout)
        try:
            "█━│…⣿".encode(getattr(self._stdout, "encoding", None) or "utf-8")
            has_unicode = True
        except UnicodeEncodeError:
            has_unicode = False
        has_color = console.is_terminal and not console.is_dumb_terminal and not console.no_color
        return Canvas(console.width, has_color, has_unicode)

    def rich(self, renderable: Any) -> None:
        """Something that rich draws, in colour where the terminal has it."""
        console = self._console(self._stdout)
        console.print(renderable, soft_wrap=not console.is_terminal)  # a file has no width

    def frames(self, renderables: Iterable[Any], delay: float) -> None:
        """Shows one after the other in the same place, `delay` seconds apart, where the terminal can do that;
        elsewhere one below the other, at once."""
        console = self._console(self._stdout)
        if not console.is_terminal or console.is_dumb_terminal:
            for renderable in renderables:
                console.print(renderable, soft_wrap=not console.is_terminal)
            return
        from rich.live import Live

        with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
            for number, renderable in enumerate(renderables):
                if number:
                    time.sleep(delay)
                live.update(renderable, refresh=True)

    def sheet(
        self,
        format: Format,
        columns: Sequence[str],
        rows: Iterable[Mapping[str, str]],
        *,
        right: Collection[str],
    ) -> None:
        """Texts as they are, as a table or as Markdown, under headings as they are; `right` are the columns
        that stand to the right."""
        if format is Format.MARKDOWN:
            self._markdown(columns, rows)
            return
        headings = [(harmless(name), "right" if name in right else "left") for name in columns]
        self._draw(headings, ([harmless(row[name]) for name in columns] for row in rows), None)

    def _table(self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], title: str | None) -> None:
        headings = []
        for name in columns:
            numeric = any(
                isinstance(row[name], int | float) and not isinstance(row[name], bool) for row in rows
            )
            headings.append((name.replace("_", " "), "right" if numeric else "left"))
        self._draw(headings, ([cell(row[name], name) for name in columns] for row in rows), title)

    def _draw(
        self, headings: Sequence[tuple[str, Any]], rows: Iterable[Sequence[str]], title: str | None
    ) -> None:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=box.SIMPLE_HEAD,
            title=title,
            title_justify="left",
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for heading, justify in headings:
            table.add_column(Text(heading), justify=justify, no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row))
        console = self._console(self._stdout)
        console.width = 10_000  # nothing is cut or folded: on a narrow terminal a long line goes on below
        with console.capture() as drawn:
            console.print(table)
        self._stdout.write(_TRAILING.sub(r"\1", drawn.get()))

    def _markdown(self, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        def line(cells: Iterable[str]) -> str:
            return "| " + " | ".join(text.replace("\\", "\\\\").replace("|", "\\|") for text in cells) + " |"

        self.text(line(map(harmless, columns)))
        self.text(line(["---"] * len(columns)))
        for row in rows:
            self.text(line(cell(row[name], name) for name in columns))

    def _console(self, stream: TextIO) -> Console:
        from rich.console import Console

        return Console(file=stream, highlight=False, soft_wrap=False)

    # -- people ---------------------------------------------------------------------------------

    def message(self, text: str) -> None:
        """One line for the person."""
        self.flush()  # the two streams may go to the same place
        self._stderr.write(harmless(text) + "\n")

    def error(self, message: str, hint: str | None = None, causes: Sequence[str] = ()) -> None:
        """What failed, why, and what to do next."""
        self.flush()
        console = self._console(self._stderr)
        from rich.text import Text

        console.print(Text.assemble(("error: ", "bold red"), harmless(message)), soft_wrap=True)
        for cause in causes:
            console.print(Text(f"  because: {harmless(cause)}"), soft_wrap=True)
        if hint:
            console.print(Text.assemble(("  next: ", "bold"), harmless(hint)), soft_wrap=True)

    def traceback(self) -> None:
        """The traceback of the exception being handled."""
        import traceback

        self._stderr.write(traceback.format_exc())

    def confirm(self, question: str) -> bool:
        """Asks on a terminal; the answer is no where nobody can be asked."""
        if not sys.stdin.isatty():
            return False
        self._stderr.write(f"{harmless(question)} [y/N] ")
        self._stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def progress(self) -> TerminalProgress:
        """A progress bar on a terminal, silence elsewhere; notices are printed in any case."""
        return TerminalProgress(self, self._stderr)

    def abandon(self) -> None:
        """Gives stdout up after it has failed, so that nothing fails again when the process ends."""
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stdout.fileno())


class TerminalProgress:
    """Reports an operation's progress with tqdm."""

    def __init__(self, output: Output, stream: TextIO) -> None:
        self._output = output
        self._stream = stream
        self._bar: tqdm[Any] | None = None

    def notice(self, message: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.clear()
        self._output.message(message)

    def text(self, text: str) -> None:
        """A line of data at once, above the bar where both are on the same terminal."""
        if self._bar is not None:
            self._bar.clear()
        self._output.text(text)
        self._output.flush()

    def start(self, total: int, unit: str) -> None:
        """Shows the bar, if there is a terminal."""
        if not self._stream.isatty():
            return
        from tqdm import tqdm

        self._bar = tqdm(
            total=total, unit=unit, unit_scale=True, file=self._stream, leave=False, dynamic_ncols=True
        )

    def advance(self, amount: int, label: str | None = None) -> None:
        """Moves the bar."""
        if self._bar is not None:
            if label is not None:
                self._bar.set_description_str(harmless(label), refresh=False)
            self._bar.update(amount)

    def finish(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
