"""Eight processes that save results of different bots into one set, against one.

Run as a program, says when it is ready, waits for a line, saves one bot's results and ends.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice

from benchmarks import ROOT, raw
from benchmarks.figures import Figure, compared
from benchmarks.legacy_files import BASE_SEED, outcomes
from benchmarks.place import SMALL, Place
from benchmarks.timing import Turns, Work, in_turn
from sgdb.records import BotPerformance
from sgdb.settings import Settings, load_settings
from sgdb.storage import PostgresStorage

_PROCESSES = 8
_ROWS_A_CALL = 1000


def measure(place: Place) -> Iterator[Figure]:
    """Rows a second, each process saving as many rows as the set has games."""
    games = place.effort.games
    template = place.filled(place.small_pickle)

    @contextmanager
    def saving(processes: int) -> Iterator[Work]:
        with place.copied_of(template) as settings:
            children = [_start(place, settings, f"Bot{number}", games) for number in range(processes)]
            try:
                for child in children:
                    _require(child, "ready")
                place.checkpoint()
                yield lambda: _go(children)
                for child in children:
                    child.communicate()
                assert raw.digest(settings)[1][0] == (2 + processes) * games
            finally:
                for child in children:
                    child.kill()
                    child.wait()

    found = in_turn(lambda: saving(_PROCESSES), lambda: saving(1), place.effort.turns)
    yield compared(
        f"{_PROCESSES} processes saving results into one set",
        "one process",
        Turns(
            [_PROCESSES * games / seconds for seconds in found.ours],
            [games / seconds for seconds in found.floor],
        ),
        unit="rows/s",
        at_least=1.5,
    )


def _start(place: Place, settings: Settings, bot: str, games: int) -> subprocess.Popen[str]:
    assert settings.database_url is not None
    return subprocess.Popen(
        [sys.executable, "-m", __name__, settings.database_url.get_secret_value(), bot, str(games)],
        cwd=ROOT,
        env=place.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _go(children: list[subprocess.Popen[str]]) -> None:
    """Lets all begin, and waits until the last has saved everything."""
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _require(child, "saved")


def _require(child: subprocess.Popen[str], word: str) -> None:
    """Waits until the child says so."""
    assert child.stdout is not None
    said = child.stdout.readline().strip()
    if said != word:
        raise RuntimeError(f"a process that saves has ended: {said!r} where {word!r} was awaited")


def _save(address: str, bot: str, games: int) -> None:
    settings = load_settings({"database_url": address})
    made = islice(outcomes(bot, SMALL.num_rows * SMALL.num_cols), games)
    rows = [BotPerformance(bot, number, *outcome) for number, outcome in enumerate(made)]
    with closing(PostgresStorage(settings, SMALL, BASE_SEED)) as storage:
        assert storage.data_exists()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        for start in range(0, games, _ROWS_A_CALL):
            storage.save_results(bot, rows[start : start + _ROWS_A_CALL])
        sys.stdout.write("saved\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _save(sys.argv[1], sys.argv[2], int(sys.argv[3]))
