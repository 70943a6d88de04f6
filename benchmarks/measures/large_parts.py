"""Ten games out of a million, and one bot's results on them, against the same SQL on an open connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

from benchmarks import raw
from benchmarks.figures import Figure, compared, measured
from benchmarks.legacy_files import BASE_SEED, BOTS
from benchmarks.place import LARGE, Place
from benchmarks.timing import in_turn, simply
from sgdb.records import BotPerformance, GameSnapshot
from sgdb.storage import PostgresStorage

_COUNT = 10
_TIMES = 200
_SECONDS = 0.010
_NAME = (LARGE.num_rows, LARGE.num_cols, LARGE.num_colors, BASE_SEED)


def measure(place: Place) -> Iterator[Figure]:
    """From the middle of the large set."""
    settings = place.filled(place.large_pickle)
    start = place.effort.large_games // 2
    stop = start + _COUNT
    with (
        closing(PostgresStorage(settings, LARGE, BASE_SEED)) as storage,
        raw.connected(settings, autocommit=True) as connection,
    ):

        def games() -> list[GameSnapshot]:
            return list(storage.iter_games(start, stop))

        def games_by_hand(which: str, *key: int) -> list[tuple[Any, ...]]:
            return raw.read_games(connection, which, key, start, stop)

        def results() -> list[BotPerformance]:
            return storage.load_results(BOTS[0], start, stop)

        def results_by_hand(which: str, *key: int) -> list[tuple[Any, ...]]:
            return raw.read_results(connection, which, key, BOTS[0], start, stop)

        for which, key in ((raw.BY_NAME, _NAME), (raw.BY_ID, (1,))):
            assert [tuple(game) for game in games()] == games_by_hand(which, *key)
            assert [tuple(row[1:]) for row in results()] == results_by_hand(which, *key)
        assert len(games()) == len(results()) == _COUNT

        span = f"games {start:,} to {stop:,}"
        for what, ours, by_hand in (
            (span, games, games_by_hand),
            (f"one bot's results on {span}", results, results_by_hand),
        ):
            turns = in_turn(
                simply(ours), simply(partial(by_hand, raw.BY_NAME, *_NAME)), place.effort.turns, times=_TIMES
            )
            yield compared(what, "the same SQL", turns, at_most=1.5)
            yield measured(f"{what}, at most {1000 * _SECONDS:.0f} ms", turns.ours, at_most=_SECONDS)
            turns = in_turn(
                simply(ours), simply(partial(by_hand, raw.BY_ID, 1)), place.effort.turns, times=_TIMES
            )
            yield compared(f"({what})", "SQL with the set's id", turns)
