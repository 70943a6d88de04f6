"""Migrating a pickle into an empty database, against unpickling it and copying its rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import raw
from benchmarks.figures import Figure, compared
from benchmarks.place import Place, migrate
from benchmarks.timing import Turns, Work, in_turn

FLOOR = "pickle.load + COPY"


def measure(place: Place) -> Iterator[Figure]:
    """The small pickle."""
    yield compared(
        f"migrate {place.effort.games:,} games, {2 * place.effort.games:,} results",
        FLOOR,
        against_copy(place, place.small_pickle, place.effort.turns),
        at_most=1.5,
    )


def against_copy(place: Place, pickle: Path, turns: int) -> Turns:
    """Both ways in turn, each into a fresh database. Raises where they do not end with the same rows."""
    digests = []

    @contextmanager
    def ours() -> Iterator[Work]:
        with place.empty() as settings:
            place.checkpoint()
            yield lambda: migrate(pickle, settings)
            digests.append(raw.digest(settings))

    @contextmanager
    def floor() -> Iterator[Work]:
        with place.empty() as settings:
            raw.switch_triggers_off(settings)
            with raw.connected(settings) as connection:
                place.checkpoint()
                yield lambda: raw.migrate(connection, pickle)
            digests.append(raw.digest(settings))

    found = in_turn(ours, floor, turns)
    assert all(digest == digests[0] for digest in digests), digests
    return found
