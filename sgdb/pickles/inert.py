"""What a pickle becomes here: plain data and inert records, none of which can run anything."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from sgdb.pickles.times import Maker


class ClassRef(NamedTuple):
    """The name of a known class. `is_row` says whether its instances are handed out as rows."""

    module: str
    name: str
    is_row: bool


class Instance:
    """An inert record: a class name and its attributes. `state` is None until BUILD has been seen."""

    __slots__ = ("cls", "state")

    def __init__(self, cls: ClassRef, state: dict[str, Any] | None = None) -> None:
        self.cls = cls
        self.state = state


class Shape(NamedTuple):
    """What rows of one batch have in common: class (None for a dict) and attribute names in order.

    Where `text_board` is (rows, columns), the value called `board` or `board_state` is the board's JSON
    text instead of nested lists.
    """

    cls: ClassRef | None
    names: tuple[str, ...]
    text_board: tuple[int, int] | None = None


class RowBatch(NamedTuple):
    """Rows of one shape, next in the list with this number. Each row is the tuple of its values.

    Of rows that were read by a pattern (see `shapes`) every value is small, or one for all of them.
    """

    list_number: int
    shape: Shape
    rows: list[tuple[Any, ...]]
    by_pattern: bool = False

    def count_values(self, most: int) -> int:
        """How many values it takes to hold these rows, a board's text counting as four and one for 16
        characters; counting ends beyond `most`."""
        shape, rows = self.shape, self.rows
        if self.by_pattern:
            values = 1 + len(shape.names)
            if shape.text_board is not None:
                num_rows, num_cols = shape.text_board
                values += 3 + num_rows * (num_cols + 1) // 8
            return len(rows) * values
        count = 0
        for row in rows:
            count += count_values(row, most - count)
            if count > most:
                break
        return count


class RowList:
    """Stands in the tree for a list whose items were handed out as rows."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


_CONTAINERS = {list, tuple, dict, Instance}


def shown(value: object, limit: int = 80) -> str:
    """Any value for an error message: in ASCII, escaped, shortened, and quick whatever it holds."""
    out = _brief(value, 3)
    return out if len(out) <= limit else out[: limit - 3] + "..."


def _brief(value: object, depth: int) -> str:
    if isinstance(value, str):
        return ascii(value[:200])
    if type(value) is int:
        return str(value) if value.bit_length() <= 256 else f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if type(value) in (list, tuple, dict) and depth == 0:
        return "..."
    if type(value) is list:
        return f"[{_brief_items(value, depth)}]"
    if type(value) is tuple:
        return f"({_brief_items(value, depth)})"
    if type(value) is dict:
        return f"{{{_brief_items(value, depth)}}}"
    if type(value) is Instance:
        return f"a {value.cls.name}"
    if type(value) is datetime:
        return value.isoformat()
    if type(value) is bytes:
        return f"{len(value)} bytes"
    return "a class" if type(value) in (ClassRef, Maker) else "games or results"


def _brief_items(value: list[Any] | tuple[Any, ...] | dict[str, Any], depth: int) -> str:
    """The first few items; of a dict its keys."""
    items = [_brief(item, depth - 1) for item in islice(value, 8)]
    return ", ".join([*items, "..."] if len(value) > 8 else items)


def count_values(value: object, most: int) -> int:
    """How many values it takes to write this out with nothing shared; counting ends beyond `most`.

    What is counted must be free of cycles, or at least larger than `most` because of them.
    """
    count, pending = 0, [value]
    while pending and count <= most:
        item = pending.pop()
        if type(item) is Instance:
            item = item.state or {}
        children: Collection[Any] = ()
        if type(item) is dict:
            children = item.values()
            count += len(item)
        elif type(item) is list or type(item) is tuple:
            children = item
        count += 1 + len(children)
        pending.extend(child for child in children if type(child) in _CONTAINERS)
    return count


def is_row(value: object) -> bool:
    """Whether a list of such values is handed out as rows."""
    if type(value) is Instance:
        return value.cls.is_row
    return type(value) is dict and "board_state" in value


def batches_of(number: int, items: list[Any], size: int = 1000) -> Iterator[RowBatch]:
    """Rows that the machine built one by one, as batches of equal shape."""
    shape = Shape(None, ())
    rows: list[tuple[Any, ...]] = []
    for item in items:
        cls, state = (item.cls, item.state or {}) if type(item) is Instance else (None, item)
        names = tuple(state)
        if names != shape.names or cls != shape.cls or len(rows) >= size:
            if rows:
                yield RowBatch(number, shape, rows)
            shape, rows = Shape(cls, names), []
        rows.append(tuple(state.values()))
    if rows:
        yield RowBatch(number, shape, rows)
