"""Walking all games of a million through `iter_games`: the memory that takes.

Run as a program, walks the set at the address that it is given and prints how far the memory rose.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing

from benchmarks import memory
from benchmarks.figures import MEGABYTE, Figure, measured
from benchmarks.legacy_files import BASE_SEED
from benchmarks.place import LARGE, Place
from sgdb.settings import load_settings
from sgdb.storage import PostgresStorage


def measure(place: Place) -> Iterator[Figure]:
    """How far the memory of the process rises while it walks."""
    settings = place.filled(place.large_pickle)
    assert settings.database_url is not None
    rise = memory.of_child(
        __name__,
        settings.database_url.get_secret_value(),
        place.effort.large_games,
        environment=place.environment,
    )
    yield measured(
        f"memory that iter_games adds, walking {place.effort.large_games:,} games",
        [rise],
        unit="B",
        at_most=10 * MEGABYTE,
    )


def _walk(address: str, expected: int) -> int:
    with closing(PostgresStorage(load_settings({"database_url": address}), LARGE, BASE_SEED)) as storage:
        next(iter(storage.iter_games(0, 1)))  # what the first call of all loads is not the walk's
        memory.forget_peak()
        before = memory.now()
        assert sum(1 for _ in storage.iter_games()) == expected
        return max(0, memory.peak() - before)


if __name__ == "__main__":
    sys.stdout.write(f"{_walk(sys.argv[1], int(sys.argv[2]))}\n")
