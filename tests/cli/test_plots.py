"""Charts, in the terminal and as files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdb.cli.options import with_plot_values
from sgdb.cli.output import Canvas, Output
from sgdb.cli.plots import Bar, Bars, Chart, Curves, as_text, save, target_of
from sgdb.errors import EnvironmentFaultError, UsageError
from sgdb.settings import Settings
from tests.cli.conftest import Process
from tests.legacy import write_legacy
from tests.steps import migrate

PLAIN = Canvas(80, has_color=False, has_unicode=True)
BARS = Bars(
    "set 1", "part completed", [Bar("A", 0.25, 0.1, 0.4), Bar("B", 1.0), Bar("C", 0.0)], (0.0, 1.0), 0.5
)
CURVES = Curves("session 1", "epoch", "loss", {"loss": [(0, 1.0), (1, 0.5), (2, 0.4)]})
_NUMBERS = st.floats(-1e12, 1e12)
_NAMES = st.text(max_size=60)


def test_bars_are_as_long_as_their_values() -> None:
    """Each in its line, with the interval and the mark over it."""
    lines = as_text(BARS, PLAIN).splitlines()
    assert (lines[0], lines[-1]) == ("set 1", "part completed")
    bars = {line.split("┤")[0].strip(): line.split("┤")[1] for line in lines if "┤" in line}
    assert list(bars) == ["A", "B", "C"]
    width = len(bars["B"].rstrip("│"))
    assert bars["B"].count("█") + bars["B"].count("│") >= width
    assert bars["A"].count("█") + bars["A"].count("━") == pytest.approx(0.4 * width, abs=2)
    assert bars["A"].index("━") == pytest.approx(0.1 * width, abs=1)
    assert bars["C"].index("│") == pytest.approx(0.5 * width, abs=1)
    assert "█" not in bars["C"]


def test_a_chart_is_as_wide_as_the_terminal_and_as_long_as_it_must_be() -> None:
    """Names that are too long are cut; a hundred bars have a line each, whatever the screen's height."""
    many = Bars("t", "a", [Bar(f"bot {number} " + "x" * 200, number) for number in range(100)])
    for width in (20, 40, 80, 500):
        lines = as_text(many, PLAIN._replace(width=width)).splitlines()
        assert max(map(len, lines)) <= width
        assert sum("┤" in line for line in lines) == 100


def test_several_lines_have_signs_that_are_explained() -> None:
    """One alone needs none."""
    assert "loss" in as_text(CURVES, PLAIN)
    both = Curves("t", "epoch", "value", {"loss": [(0, 1), (9, 0)], "reward": [(0, 0), (9, 1)]})
    lines = as_text(both, PLAIN).splitlines()
    assert lines[-2:] == ["* loss", "+ reward"]
    assert any("*" in line for line in lines[2:-3])
    assert any("+" in line for line in lines[2:-3])


def test_colour_and_ascii() -> None:
    """Escape sequences only where there is colour, and nothing but ASCII where there is nothing else."""
    assert "\x1b" not in as_text(BARS, PLAIN)
    assert "\x1b[" in as_text(BARS, PLAIN._replace(has_color=True))
    for chart in (BARS, CURVES, Bars("\u2603", "a", [Bar("\u2603" * 50, 1.0)])):
        text = as_text(chart, PLAIN._replace(has_unicode=False))
        assert text.isascii()
        assert "\\u25" not in text
        assert "\\u28" not in text
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert not Output(ascii_only, io.StringIO()).canvas().has_unicode
    assert Output(io.StringIO(), io.StringIO()).canvas() == Canvas(80, False, True)


_BARS = st.one_of(
    st.tuples(_NAMES, _NUMBERS).map(lambda parts: Bar(*parts)),
    st.tuples(_NAMES, _NUMBERS, _NUMBERS, _NUMBERS).map(lambda parts: Bar(*parts)),
)


@settings(deadline=None, max_examples=40)
@given(bars=st.lists(_BARS, min_size=1, max_size=4), title=_NAMES, is_unicode=st.booleans())
def test_any_bars_can_be_drawn(bars: list[Bar], title: str, is_unicode: bool) -> None:
    """Equal values, huge ones, names with line ends and escape sequences: a line a bar, and no control."""
    text = as_text(Bars(title, "axis", bars), PLAIN._replace(has_unicode=is_unicode))
    assert not {"\x1b", "\r", "\x07", "\x9b"} & set(text)
    assert len(text.splitlines()) <= max(2, len(bars)) + 5


_POINTS = st.lists(st.tuples(st.integers(0, 10**6), _NUMBERS), min_size=1, max_size=30)


@settings(deadline=None, max_examples=15)
@given(st.dictionaries(_NAMES, _POINTS, min_size=1, max_size=9))
def test_any_curves_can_be_drawn(lines: dict[str, list[tuple[float, float]]]) -> None:
    """A single point included."""
    assert as_text(Curves("t", "x", "y", dict(lines)), PLAIN)


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.PDF"])
def test_the_same_charts_are_the_same_file(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the day, and whatever matplotlib is set to; formulas and missing letters in names are text."""
    hostile = Bars("$x^2$ \\frac{", "a", [Bar("$$", 1.0, 0.5, 1.5), Bar("\u2603\x1b\U0001f600", -1.0)])
    charts: list[Chart] = [BARS, CURVES, hostile]
    save(charts, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    assert first[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")
    if name.endswith("svg"):
        ElementTree.fromstring(first)
    import matplotlib

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    with matplotlib.rc_context({"axes.facecolor": "red", "figure.dpi": 30}):
        save(charts, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first


def test_too_much_for_a_file(tmp_path: Path) -> None:
    """Is said before anything is written."""
    with pytest.raises(UsageError, match="too much"):
        save([Bars("t", "a", [Bar("b", 1.0)] * 2000)], tmp_path / "a.png")
    assert list(tmp_path.glob("a*")) == []


def test_where_a_chart_can_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is said at once, with what can."""
    assert target_of(None) is None
    assert target_of("-") == "-"
    assert target_of("a/b.PNG") == "a/b.PNG"
    for name in ("a.gif", "a", "", ".png"):
        with pytest.raises(UsageError, match="saved as") as caught:
            target_of(name)
        assert ".png, .svg, .pdf" in str(caught.value.hint)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EnvironmentFaultError) as fault:
        target_of("a.png")
    assert "pip install 'sgdb[plot]'" in str(fault.value.hint)
    assert target_of("-") == "-"


@pytest.mark.parametrize(
    ("given_", "meant"),
    [
        (["--plot"], ["--plot", "-"]),
        (["--plot", "a.png", "-f", "csv"], ["--plot", "a.png", "-f", "csv"]),
        (["--plot", "a.gif"], ["--plot", "a.gif"]),
        (["--plot", "-f", "csv"], ["--plot", "-", "-f", "csv"]),
        (["--plot", "-"], ["--plot", "-"]),
        (["--plot", "A", "B"], ["--plot", "-", "A", "B"]),
        (["--plot=a"], ["--plot=a"]),
        (["--", "--plot"], ["--", "--plot"]),
        ([], []),
    ],
)
def test_plot_without_a_file(given_: list[str], meant: list[str]) -> None:
    """Stands for the terminal, wherever it is."""
    assert with_plot_values(given_) == meant


class TestCommands:
    @pytest.fixture(autouse=True)
    def _filled(self, settings: Settings, tmp_path: Path) -> None:
        migrate(settings, write_legacy(tmp_path / "a.pkl", num_games=40, bots=("A", "B\x1b[31m")))

    def test_in_the_terminal(self, sgdb_process: Process) -> None:
        """In place of the table; what is said besides stays on stderr."""
        done = sgdb_process("query", "bot-performance", "--plot")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("set 1: 5x5x3, seed 42\n")
        assert done.stdout.endswith("part of the boards completed, from 0 to 1\n")
        assert "\x1b" not in done.stdout
        done = sgdb_process("query", "bot-performance", "--sort", "moves", "--plot")
        assert "moves made, mean of the boards" in done.stdout
        done = sgdb_process("query", "leaderboard", "--plot", "--by", "tiles", "--resamples", "200")
        assert "40 boards of 5x5x3" in done.stdout
        assert "middle half" in done.stdout
        done = sgdb_process("query", "compare", "--plot", "A", "B\x1b[31m", "--resamples", "200")
        assert "probability that A does better" in done.stdout
        assert done.stdout.count("┤") == 3

    def test_into_a_file(self, sgdb_process: Process, tmp_path: Path) -> None:
        """Beside the data, in whatever format that is printed; the file is replaced."""
        (tmp_path / "chart.png").write_text("old")
        done = sgdb_process("query", "leaderboard", "--plot", "chart.png", "-f", "json", "--resamples", "200")
        assert (done.returncode, done.stderr) == (0, "wrote chart.png\n")
        assert len(json.loads(done.stdout)["leagues"]) == 1
        assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
        done = sgdb_process("query", "bot-performance", "--plot", "chart.svg")
        assert "wrote chart.svg" in done.stderr
        assert "completed" not in done.stderr

    def test_mistakes(self, sgdb_process: Process, tmp_path: Path) -> None:
        """Found before the database is asked; a folder that cannot be written to is no bug."""
        for arguments in (
            ["query", "bot-performance", "--plot", "chart.gif"],
            ["query", "compare", "A", "B", "--plot", "chart.gif"],
            ["query", "leaderboard", "--plot", "-f", "json"],
        ):
            done = sgdb_process(*arguments, SGDB_DATABASE_URL="postgresql://127.0.0.1:1/none")
            assert (done.returncode, done.stdout) == (2, "")
        done = sgdb_process("query", "bot-performance", "--plot", "nowhere/chart.png")
        assert done.returncode == 3
        assert "nowhere" in done.stderr

    def test_nothing_to_draw(self, sgdb_process: Process) -> None:
        """Says so, and writes no file."""
        done = sgdb_process("query", "bot-performance", "--seed", "7", "--plot", "chart.png")
        assert done.returncode == 0
        assert "no results of that kind" in done.stderr
        assert "wrote" not in done.stderr


def test_no_command_loads_what_draws_unless_it_draws(database_url: str, tmp_path: Path) -> None:
    """Tables have to come at once."""
    program = (
        "import sys\nfrom sgdb.cli.app import run\nrun(['query', 'bot-performance'])\n"
        "print([name for name in ('matplotlib', 'plotext') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SGDB_DATABASE_URL": database_url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
