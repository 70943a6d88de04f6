"""Migrating a million games: against unpickling and copying them, against ten thousand; and its memory.

Run as a program, migrates the pickle that it is given and prints its peak memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks import memory
from benchmarks.figures import Figure, compared, measured
from benchmarks.measures.migrating import FLOOR, against_copy
from benchmarks.place import Place, migrate
from benchmarks.timing import Turns
from sgdb.settings import load_settings


def measure(place: Place) -> Iterator[Figure]:
    """Time, time a row, and memory."""
    games, small_games = place.effort.large_games, place.effort.games
    small = against_copy(place, place.small_of_large, place.effort.turns)
    large = against_copy(place, place.large_pickle, place.effort.large_turns)
    yield compared(f"migrate {games:,} games, {2 * games:,} results", FLOOR, large, at_most=1.5)
    yield compared(
        f"seconds a game, migrating {games:,}",
        f"migrating {small_games:,}",
        Turns(
            [seconds / games for seconds in large.ours],
            [median(small.ours) / small_games for _ in large.ours],
        ),
        at_most=1.2,
    )
    large_peak = _peak("migrate", place.large_pickle, place)
    yield compared(
        f"peak memory, migrating {games:,} games",
        f"migrating {small_games:,}",
        Turns([large_peak], [_peak("migrate", place.small_of_large, place)]),
        unit="B",
        at_most=1.2,
    )
    yield measured(
        f"(peak memory of pickle.load, {games:,} games)", [_peak("load", place.large_pickle, place)], unit="B"
    )


def _peak(what: str, pickle: Path, place: Place) -> int:
    with place.empty() as settings:
        assert settings.database_url is not None
        address = settings.database_url.get_secret_value()
        return memory.of_child(__name__, what, pickle, address, environment=place.environment)


def _run(what: str, pickle: Path, address: str) -> None:
    if what == "migrate":
        migrate(pickle, load_settings({"database_url": address}))
    else:
        from benchmarks import plain

        plain.load(pickle)


if __name__ == "__main__":
    _run(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    sys.stdout.write(f"{memory.peak()}\n")
