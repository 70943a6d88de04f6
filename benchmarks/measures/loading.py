"""A whole set out of the database, as records, against `pickle.load` of the file it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from benchmarks import plain
from benchmarks.figures import Figure, compared
from benchmarks.place import Place
from benchmarks.timing import in_turn, simply
from sgdb.records import BenchmarkData, GameConfig
from sgdb.settings import Settings
from sgdb.storage import PostgresStorage


def measure(place: Place) -> Iterator[Figure]:
    """The small set with both bots: read from the database, and out of what is kept in memory."""
    pickle = place.small_pickle
    settings = place.filled(pickle)
    floor = simply(lambda: plain.load(pickle))
    what = f"load_data() of {place.effort.games:,} games, {2 * place.effort.games:,} results"
    for name, cache_size, at_most in (
        (what, 0, 1.0),
        (f"({what}, again)", getattr(settings, "cache_size", 0), None),
    ):
        sized = settings.model_copy(update={"cache_size": cache_size})
        with closing(storage_of(sized, plain.load(pickle))) as storage:
            _require_equal(storage.load_data(), plain.load(pickle))
            turns = in_turn(simply(storage.load_data), floor, place.effort.turns, times=3)
            yield compared(name, "pickle.load", turns, at_most=at_most)


def storage_of(settings: Settings, data: dict[str, Any]) -> PostgresStorage:
    """The storage of the set that a pickle holds."""
    config = data["config"]
    return PostgresStorage(
        settings, GameConfig(config.num_rows, config.num_cols, config.num_colors), data["base_seed"]
    )


def _require_equal(stored: BenchmarkData | None, loaded: dict[str, Any]) -> None:
    assert stored is not None
    games = [(game.game_id, json.loads(game.board), game.seed) for game in stored.games]
    assert games == [(game.game_id, game.board, game.seed) for game in loaded["games"]]
    assert {bot: [tuple(row[:6]) for row in rows] for bot, rows in stored.results.items()} == {
        bot: [tuple(vars(row).values()) for row in rows] for bot, rows in loaded["results"].items()
    }
