"""Comparing a pickle with the rows that it became, against unpickling it."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import plain
from benchmarks.figures import Figure, compared
from benchmarks.place import Place
from benchmarks.timing import in_turn, simply
from sgdb.operations.verify import VerifyOptions, verify


def measure(place: Place) -> Iterator[Figure]:
    """The small pickle and its set, which are equal."""
    pickle = place.small_pickle
    settings = place.filled(pickle)
    options = VerifyOptions(paths=(pickle,))
    assert verify(options, settings).equal
    yield compared(
        f"verify {place.effort.games:,} games, {2 * place.effort.games:,} results",
        "pickle.load",
        in_turn(
            simply(lambda: verify(options, settings)),
            simply(lambda: plain.load(pickle)),
            place.effort.turns,
        ),
        at_most=3.0,
    )
