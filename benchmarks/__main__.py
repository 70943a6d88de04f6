"""`python -m benchmarks`: measures, prints each figure as it is found, and writes all of them as JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType

from benchmarks import ROOT, report
from benchmarks.figures import Figure
from benchmarks.machine import describe_machine, in_words
from benchmarks.place import Effort, place

SMALL = ("parsing", "migrating", "loading", "verifying", "saving", "backing_up", "starting")
# Those that fill the large set's database with more come last.
LARGE = ("large_migrating", "large_walking", "large_parts", "large_backing_up", "large_totals")
QUICK = Effort(turns=1, games=200, large_turns=1, large_games=2000, large_bots=4)


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmarks that were asked for; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SMALL + LARGE)}")
    parser.add_argument("--large", action="store_true", help="those of a million games instead of the others")
    parser.add_argument("--quick", action="store_true", help="tiny data, one turn: shows that all works")
    parser.add_argument("--turns", type=int, metavar="N", help="turns of each comparison")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    parser.add_argument("--publish", action="store_true", help="put them into docs/performance.md as well")
    given = parser.parse_args(arguments)
    names = given.names or (LARGE if given.large else SMALL)
    if unknown := set(names) - {*SMALL, *LARGE}:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if given.publish and (given.names or given.quick):
        parser.error("published are whole runs")
    run = "bench-large" if given.large else "bench"
    effort = QUICK if given.quick else Effort()
    if given.turns:
        effort = Effort(turns=given.turns, large_turns=given.turns)

    _prepare_process()
    try:
        figures = _measure(names, effort)
    except KeyboardInterrupt:
        return 130
    document = report.to_json(figures, describe_machine())
    path = given.json or ROOT / "benchmarks" / "results" / f"{run}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if given.publish:
        report.publish(run, document)
        report.PAGE.write_text(report.page(report.PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    missed = sum(figure.met is False for figure in figures)
    print(
        f"\n{missed} of {sum(figure.goal is not None for figure in figures)} goals missed; written to {path}"
    )
    return 1 if missed and not given.quick else 0


def _measure(names: tuple[str, ...], effort: Effort) -> list[Figure]:
    figures = []
    print(f"{in_words(describe_machine())}\n\n{report.heading()}", flush=True)
    with place(effort) as here:
        for name in names:
            for figure in import_module(f"benchmarks.measures.{name}").measure(here):
                figures.append(figure)
                print(report.line(figure), flush=True)
    return figures


def _prepare_process() -> None:
    """No setting of the user's counts, and whatever ends a run ends it tidily."""
    for name in list(os.environ):
        if name.upper().startswith(("SGDB_", "PG")):
            del os.environ[name]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores Ctrl-C
    signal.signal(signal.SIGTERM, _terminated)


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
