"""Ten games out of a million, and one bot's results on them, against the same SQL on an open connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from benchmarks import raw
from benchmarks.figures import Figure, compared, measured
from benchmarks.legacy_files import BASE_SEED, BOTS
from benchmarks.place import LARGE, Place
from benchmarks.timing import in_turn, simply
from sgdb.storage import PostgresStorage

_COUNT = 10
_TIMES = 200
_SECONDS = 0.010


def measure(place: Place) -> Iterator[Figure]:
    """From the middle of the large set."""
    settings = place.filled(place.large_pickle)
    start = place.effort.large_games // 2
    stop = start + _COUNT
    with (
        closing(PostgresStorage(settings, LARGE, BASE_SEED)) as storage,
        raw.connected(settings, autocommit=True) as connection,
    ):
        games = [tuple(game) for game in storage.iter_games(start, stop)]
        rows = storage.load_results(BOTS[0], start, stop)
        assert games == raw.read_games(connection, 1, start, stop)
        assert [tuple(row[1:]) for row in rows] == raw.read_results(connection, 1, BOTS[0], start, stop)
        assert len(games) == len(rows) == _COUNT

        for what, ours, floor in (
            (
                f"games {start:,} to {stop:,}",
                lambda: list(storage.iter_games(start, stop)),
                lambda: raw.read_games(connection, 1, start, stop),
            ),
            (
                f"one bot's results on games {start:,} to {stop:,}",
                lambda: storage.load_results(BOTS[0], start, stop),
                lambda: raw.read_results(connection, 1, BOTS[0], start, stop),
            ),
        ):
            turns = in_turn(simply(ours), simply(floor), place.effort.turns, times=_TIMES)
            yield compared(what, "the same SQL", turns, at_most=1.5)
            yield measured(f"{what}, at most {1000 * _SECONDS:.0f} ms", turns.ours, at_most=_SECONDS)
