"""How data and messages are laid out."""

from __future__ import annotations

import csv
import io
import json

import pytest

from sgdb.cli.output import Format, Output, board_text, cell, harmless, size

ROWS = [{"name": "a|b", "n": 1234567, "x": 0.5, "ok": True}, {"name": None, "n": 2, "x": None, "ok": False}]
COLUMNS = ("name", "n", "x", "ok")


def _printed(format: Format) -> str:
    out = io.StringIO()
    Output(out, io.StringIO()).data(format, COLUMNS, ROWS, ROWS)
    return out.getvalue()


def test_each_format_holds_the_data() -> None:
    """JSON is the document, CSV is for programs, Markdown escapes bars, a table is for people."""
    assert json.loads(_printed(Format.JSON)) == ROWS
    assert list(csv.reader(io.StringIO(_printed(Format.CSV)))) == [
        ["name", "n", "x", "ok"],
        ["a|b", "1234567", "0.5", "true"],
        ["", "2", "", "false"],
    ]
    markdown = _printed(Format.MARKDOWN).splitlines()
    assert markdown[0] == "| name | n | x | ok |"
    assert markdown[2] == "| a\\|b | 1,234,567 | 0.500 | yes |"
    assert "1,234,567" in _printed(Format.TABLE)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_streamed_json_is_one_document(count: int) -> None:
    """An array, however many rows come."""
    out = io.StringIO()
    Output(out, io.StringIO()).stream(Format.JSON, ("n",), ({"n": number} for number in range(count)))
    assert json.loads(out.getvalue()) == [{"n": number} for number in range(count)]


def test_control_characters_cannot_reach_the_terminal() -> None:
    """A bot's name that would clear the screen is shown as escapes, in every place where people look."""
    name = "\x1b[2Jbot\r\n\x9b31m\x7f"
    assert harmless(name) == "\\x1b[2Jbot\\x0d\\x0a\\x9b31m\\x7f"
    out, err = io.StringIO(), io.StringIO()
    output = Output(out, err)
    for format in (Format.TABLE, Format.MARKDOWN, Format.JSON):
        output.data(format, ("bot",), [{"bot": name}], [{"bot": name}])
    output.message(name)
    output.error(name, name, [name])
    written = out.getvalue() + err.getvalue()
    assert not {"\x1b", "\r", "\x9b", "\x7f"} & set(written)


def test_brackets_in_names_are_no_markup() -> None:
    """rich would take [red] for a colour."""
    out = io.StringIO()
    Output(out, io.StringIO()).data(Format.TABLE, ("bot",), [{"bot": "[red]bot[/red]"}], None)
    assert "[red]bot[/red]" in out.getvalue()


def test_a_table_in_a_pipe_is_never_cut() -> None:
    """A pipe has no width."""
    out = io.StringIO()
    Output(out, io.StringIO()).data(Format.TABLE, ("bot",), [{"bot": "x" * 500}], None)
    assert "x" * 500 in out.getvalue()


def test_a_table_has_no_blanks_at_the_ends_of_its_lines() -> None:
    """A narrow terminal would fold them into lines of their own."""
    out = io.StringIO()
    rows = [{"bot": "a", "note": "long enough"}, {"bot": "b", "note": None}]
    Output(out, io.StringIO()).data(Format.TABLE, ("bot", "note"), rows, None, title="bots")
    lines = out.getvalue().splitlines()
    assert lines == ["bots", "bot  note", "─" * 16, "a    long enough", "b"]


def test_cells_and_sizes_as_people_read_them() -> None:
    """Nothing for nothing; bytes in powers of 1000; numbers that are names as they are typed."""
    assert [cell(1000, column) for column in ("games", "id", "last epoch", "checkpoint id")] == [
        "1,000",
        "1000",
        "1000",
        "1000",
    ]
    assert [cell(value) for value in (None, True, 1.23456, 1000, {"a": 1}, "x")] == [
        "",
        "yes",
        "1.235",
        "1,000",
        '{"a": 1}',
        "x",
    ]
    assert [size(count) for count in (0, 999, 1000, 2_500_000, 10**16)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "2.5 MB",
        "10000.0 TB",
    ]


def test_boards_are_drawn_with_their_numbers() -> None:
    """An empty cell is a dot; columns of two-digit colours line up."""
    assert board_text([[1, 0], [2, 1]]).plain == "  1 . \n  2 1 \n"
    assert board_text([[12, 1]]).plain == "  12  1 \n"


def test_nobody_to_ask_means_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """A destructive command does not go on when stdin is no terminal."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert Output(io.StringIO(), io.StringIO()).confirm("Really?") is False


def test_progress_is_silent_where_there_is_no_terminal() -> None:
    """Notices are printed in any case."""
    err = io.StringIO()
    progress = Output(io.StringIO(), err).progress()
    progress.start(10, "B")
    progress.advance(5, "file")
    progress.notice("something")
    progress.finish()
    assert err.getvalue() == "something\n"


def test_lines_of_data_stand_above_the_bar() -> None:
    """Where both are on one terminal, the bar is wiped away before a line is written."""
    terminal = Terminal()
    progress = Output(terminal, terminal).progress()
    progress.start(2, "file")
    progress.text("out/first.pkl")
    progress.advance(1)
    progress.finish()
    line = next(line for line in terminal.getvalue().split("\n") if line.endswith("out/first.pkl"))
    assert "file" in line  # the bar was there
    assert line.split("\r")[-1] == "out/first.pkl"


class Terminal(io.StringIO):
    """Keeps what is written to it, as a terminal would."""

    def isatty(self) -> bool:
        """Yes."""
        return True
