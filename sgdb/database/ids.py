"""Primary keys, known before their rows are written, so that games and results can stream in one go."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Protocol

from sqlalchemy import Connection, text

from sgdb.records import is_run


class IdSource(Protocol):
    """Where new primary keys come from."""

    def take(self, connection: Connection, table: str, count: int) -> Iterator[int]:
        """`count` unused keys of `table`."""


# Finding the sequence by its table's name costs ten times as much as drawing a key: it is found once.
_DRAWN = (
    "WITH owned AS MATERIALIZED (SELECT pg_get_serial_sequence(:table, 'id')::regclass AS sequence)"
    " SELECT {} FROM (SELECT nextval(sequence) AS n FROM owned, generate_series(1, :count)) AS drawn"
)
_BOUNDS, _EVERY_KEY = text(_DRAWN.format("min(n), max(n)")), text(_DRAWN.format("n"))


class SequenceIds:
    """Keys from the table's own sequence, so that plain INSERTs beside sgdb never meet them."""

    def take(self, connection: Connection, table: str, count: int) -> Iterator[int]:
        """`count` keys, mostly but not always consecutive."""
        if not count:
            return iter(())
        wanted = {"table": table, "count": count}
        first, last = connection.execute(_BOUNDS, wanted).one()
        if last - first + 1 == count:
            return iter(range(first, last + 1))
        # Another process drew from the sequence in between: draw again, and look at every key.
        return iter(connection.execute(_EVERY_KEY, wanted).scalars().all())


class DryRunIds:
    """Negative keys, for rows that are rolled back: no sequence is touched."""

    def __init__(self) -> None:
        self._last = 0

    def take(self, connection: Connection, table: str, count: int) -> Iterator[int]:  # noqa: ARG002
        """`count` keys that no row has."""
        first = self._last - 1
        self._last -= count
        return iter(range(first, self._last - 1, -1))


class GameKeys:
    """The primary key of each game_index of one set, kept as runs in which both go on by the same step."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._runs: list[tuple[int, int, int]] = []  # end index, first key, step from key to key

    def add_run(self, start: int, keys: Sequence[int]) -> None:
        """The keys of the games from index `start` on."""
        while keys:
            step = keys[1] - keys[0] if len(keys) > 1 else 1
            length = len(keys)
            if list(keys) != list(range(keys[0], keys[0] + step * length, step)):
                length = 1
                while keys[length] - keys[length - 1] == step:
                    length += 1
            self._add(start, length, keys[0], step)
            start, keys = start + length, keys[length:]

    def _add(self, start: int, length: int, first: int, step: int) -> None:
        at = bisect_right(self._starts, start)
        if at:
            stop, first_before, step_before = self._runs[at - 1]
            goes_on = first == first_before + (start - self._starts[at - 1]) * step_before
            if stop == start and goes_on and (length == 1 or step == step_before):
                self._runs[at - 1] = (start + length, first_before, step_before)
                return
        self._starts.insert(at, start)
        self._runs.insert(at, (start + length, first, step))

    def __getitem__(self, index: int) -> int:
        at = bisect_right(self._starts, index) - 1
        if at < 0 or index >= self._runs[at][0]:
            raise KeyError(index)
        _, first, step = self._runs[at]
        return first + (index - self._starts[at]) * step

    def of(self, indexes: Sequence[int]) -> Sequence[int]:
        """The keys of these games. Raises KeyError."""
        first = indexes[0]
        at = bisect_right(self._starts, first) - 1
        if at >= 0 and first + len(indexes) <= self._runs[at][0] and is_run(indexes):
            step = self._runs[at][2]
            return range(self[first], self[first] + step * len(indexes), step)
        return [self[index] for index in indexes]
