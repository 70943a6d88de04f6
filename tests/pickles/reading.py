"""What the tests of this folder read pickles with."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sgdb.pickles.files import FileSource, Source
from sgdb.pickles.inert import ClassRef, Instance, RowList
from sgdb.pickles.layouts import CLASSES, split_tree
from sgdb.pickles.legacy import Games, LegacyFile, Results
from sgdb.pickles.parser import PickleParser, SharedReferenceError
from sgdb.pickles.window import ByteStream
from sgdb.records import BotPerformance, GameSnapshot


class BytesSource:
    """A pickle in memory; what is read next time can be changed."""

    def __init__(self, raw: bytes, name: str = "file.pkl") -> None:
        self.raw = raw
        self.name = name

    @contextmanager
    def open(self) -> Iterator[ByteStream]:
        yield io.BytesIO(self.raw)


class Trickle:
    """A stream that gives a few bytes at a time, as a pipe or a chunked archive may."""

    def __init__(self, raw: bytes, size: int) -> None:
        self._file = io.BytesIO(raw)
        self._size = size

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._size))


@dataclass
class Read:
    """A legacy file and all its rows."""

    file: LegacyFile
    games: list[GameSnapshot] = field(default_factory=list)
    results: dict[str, list[BotPerformance]] = field(default_factory=dict)

    @property
    def records(self) -> tuple[Any, ...]:
        """Everything that has to be the same however the file was pickled."""
        contents = self.file.contents
        return contents.config, contents.num_games, contents.base_seed, self.games, self.results


def read(source: Any, **options: Any) -> Read:
    """Reads a path, bytes or a source to its end."""
    if isinstance(source, bytes):
        source = BytesSource(source)
    elif not hasattr(source, "open") or hasattr(source, "suffix"):
        source = FileSource(source)
    opened: Source = source
    found = Read(LegacyFile.read(opened, **options))
    for part in found.file.rows():
        if isinstance(part, Games):
            found.games.extend(part.rows)
        elif isinstance(part, Results):
            found.results.setdefault(part.key, []).extend(part.rows)
    return found


def parsed(raw: bytes, *, accelerate: bool = True, remember: bool = False, step: int | None = None) -> Any:
    """All rows and the tree as plain data in which nothing tells how they were read."""
    stream: ByteStream = io.BytesIO(raw) if step is None else Trickle(raw, step)
    parser = PickleParser(stream, CLASSES, remember=remember, accelerate=accelerate)
    batches = list(parser.batches())
    tree = parser.tree
    if remember:
        tree, batches = split_tree(tree)
    order: dict[int, int] = {}  # lists by their first appearance
    rows = []
    for number, shape, values, _ in batches:
        for row in values:
            named = dict(zip(shape.names, row, strict=True))
            if shape.text_board:
                key = "board" if shape.cls else "board_state"
                named[key] = json.loads(named[key])
            rows.append((order.setdefault(number, len(order)), _plain(shape.cls), _plain(named)))
    return rows, _plain(tree, order)


def parsed_somehow(raw: bytes, *, accelerate: bool) -> Any:
    """As `parsed`, in the second way where the first does not do."""
    try:
        return parsed(raw, accelerate=accelerate)
    except SharedReferenceError:
        return parsed(raw, remember=True)


def _plain(value: Any, order: dict[int, int] | None = None) -> Any:
    """Data whose `repr` tells values and types apart."""
    if type(value) is Instance:
        return ("instance", value.cls.module, value.cls.name, _plain(value.state))
    if type(value) is ClassRef:
        return ("class", value.module, value.name)
    if type(value) is RowList:
        return ("rows", (order or {}).get(value.number))
    if type(value) is dict:
        return [(key, _plain(item, order)) for key, item in value.items()]
    if type(value) in (list, tuple):
        return (type(value).__name__, [_plain(item, order) for item in value])
    return (type(value).__name__, repr(value))
