"""The benchmarks run, leave nothing behind, and report what they found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import ROOT, report
from benchmarks.__main__ import LARGE, SMALL
from benchmarks.figures import Figure, compared, measured
from benchmarks.timing import Turns, in_turn, simply


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a run puts its server: outside of pytest's folders, which other sessions of pytest clear up."""
    with tempfile.TemporaryDirectory(prefix="sgdb-test-") as name:
        yield Path(name)


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_two_sides_take_turns() -> None:
    """Ours first, one after the other."""
    said: list[str] = []
    turns = in_turn(simply(lambda: said.append("ours")), simply(lambda: said.append("floor")), 3, times=2)
    assert said == ["ours", "ours", "floor", "floor"] * 3
    assert len(turns.ours) == len(turns.floor) == 3


def test_a_ratio_is_that_of_each_turn() -> None:
    """A turn in which the machine was slow says as much as another."""
    figure = compared("a", "b", Turns([2.0, 30.0, 2.0], [1.0, 10.0, 4.0]), at_most=2.0)
    assert (figure.value, figure.low, figure.high) == (2.0, 0.5, 3.0)
    assert (figure.ours, figure.floor, figure.met) == (2.0, 4.0, True)
    assert compared("a", "b", Turns([3.0], [2.0]), at_least=1.5).met is True
    assert compared("a", "b", Turns([3.0], [2.0]), at_most=1.4).met is False
    assert measured("a", [1.0]).met is None


def test_figures_travel_through_json() -> None:
    """And come out in the table."""
    figures = [
        compared("one | way", "floor", Turns([2.0], [1.0]), at_most=1.5),
        measured("memory", [5e6], unit="B", at_most=1e7),
    ]
    machine = dict.fromkeys(
        ("processor", "cores", "memory_gb", "system", "python", "postgresql", "sgdb", "date"), "x"
    )
    document = json.loads(json.dumps(report.to_json(figures, machine)))
    assert [Figure.from_json(one) for one in document["figures"]] == figures
    assert [one["met"] for one in document["figures"]] == [False, True]


def test_a_published_run_takes_the_place_of_the_last(tmp_path: Path) -> None:
    """The words around the tables stay."""
    machine = {
        "processor": "P", "cores": 2, "memory_gb": 4, "system": "S", "python": "3", "postgresql": "18",
        "sgdb": "1", "date": "2026-11-23",
    }  # fmt: skip
    published = tmp_path / "performance.json"
    page = report.PAGE.read_text(encoding="utf-8")
    for seconds in (2.0, 4.0):
        figures = [compared("what", "floor", Turns([seconds], [1.0]), at_most=3)]
        report.publish("bench", report.to_json(figures, machine), published)
        page = report.page(page, published)
    assert "| what | 4 s | floor | 1 s | 4.00 |  | <= 3.00 | NO |" in page
    assert page.count("| what | sgdb |") == 1
    assert page.split("<!--")[0] == report.PAGE.read_text(encoding="utf-8").split("<!--")[0]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--large",)], ids=["bench", "bench-large"])
def test_every_benchmark_goes_through(tmp_path: Path, folder: Path, arguments: tuple[str, ...]) -> None:
    """On tiny data: both sides of each do the same, or it would end with an error."""
    path = tmp_path / "figures.json"
    run = _start(folder, *arguments, "--quick", "--json", str(path))
    said, _ = run.communicate()
    assert run.returncode == 0, said
    figures = json.loads(path.read_text())["figures"]
    assert len(figures) >= len(LARGE if arguments else SMALL)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, folder: Path) -> None:
    """Neither a server nor its folder, and no traceback."""
    run = _start(folder, "saving", "--json", str(tmp_path / "figures.json"))
    assert run.stdout is not None
    while "what" not in run.stdout.readline():
        pass
    while not list(folder.glob("sgdb-bench-*/home/postgres/postmaster.pid")):
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    run.communicate()
    assert run.returncode == 130
    assert list(folder.iterdir()) == []
