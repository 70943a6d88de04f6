"""The parser alone, to columns of values, against `pickle.load` to plain objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import plain
from benchmarks.figures import Figure, compared
from benchmarks.place import Place
from benchmarks.timing import in_turn, simply
from sgdb.pickles.files import FileSource
from sgdb.pickles.layouts import CLASSES
from sgdb.pickles.parser import PickleParser


def measure(place: Place) -> Iterator[Figure]:
    """The small pickle, once."""
    pickle = place.small_pickle
    loaded = plain.load(pickle)
    assert parse(pickle) == len(loaded["games"]) + sum(map(len, loaded["results"].values()))
    yield compared(
        f"parse {place.effort.games:,} games, {2 * place.effort.games:,} results",
        "pickle.load",
        in_turn(
            simply(lambda: parse(pickle)), simply(lambda: plain.load(pickle)), place.effort.turns, times=3
        ),
        at_most=2.0,
    )


def parse(pickle: Path) -> int:
    """Runs the parser over the file; returns the number of rows."""
    with FileSource(pickle).open() as stream:
        return sum(len(batch.rows) for batch in PickleParser(stream, CLASSES).batches())
