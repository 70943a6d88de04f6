"""What a pickle becomes here: plain data and inert records, none of which can run anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sgdb.errors import LayoutError


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
    """Rows of one shape, next in the list with this number. Each row is the tuple of its values."""

    list_number: int
    shape: Shape
    rows: list[tuple[Any, ...]]


class RowList:
    """Stands in the tree for a list whose items were handed out as rows."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


def shown(text: object, limit: int = 80) -> str:
    """A value for an error message: escaped and shortened."""
    try:
        out = ascii(text)
    except ValueError:  # an integer of more digits than Python prints
        out = "an enormous integer"
    return out if len(out) <= limit else out[: limit - 1] + "…"


def is_row(value: object) -> bool:
    """Whether a list of such values is handed out as rows."""
    if type(value) is Instance:
        return value.cls.is_row
    return type(value) is dict and "board_state" in value


def batches_of(number: int, items: list[Any], size: int = 1000) -> Iterator[RowBatch]:
    """Rows that the machine built one by one, as batches of equal shape.

    Raises LayoutError for an instance without attributes.
    """
    shape: Shape | None = None
    rows: list[tuple[Any, ...]] = []
    for item in items:
        cls, state = (item.cls, item.state) if type(item) is Instance else (None, item)
        if state is None:
            raise LayoutError(f"a {cls.name if cls else 'row'} without attributes")
        names = tuple(state)
        if shape is None or names != shape.names or cls != shape.cls or len(rows) >= size:
            if rows and shape is not None:
                yield RowBatch(number, shape, rows)
            shape, rows = Shape(cls, names), []
        rows.append(tuple(state.values()))
    if rows and shape is not None:
        yield RowBatch(number, shape, rows)
