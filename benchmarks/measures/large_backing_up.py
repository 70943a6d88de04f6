"""A backup of a million games that is not proven, against the same pg_dump by hand."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Figure
from benchmarks.measures.backing_up import of_pickle
from benchmarks.place import Place


def measure(place: Place) -> Iterator[Figure]:
    """The large set."""
    yield of_pickle(place, place.large_pickle, place.effort.large_games, place.effort.large_turns)
