"""Rows that look like an earlier row, read in one step each instead of opcode by opcode.

A benchmark file is a long run of records that differ only in their numbers. When the machine of `parser`
has built one row, `ShapeBook` turns that row's own bytes into a regular expression in which the numbers
and the board are open and everything else (opcodes, memo reads, texts) stands as it is. As long as the
bytes match, the machine would have done exactly the same with them; where they don't, it goes on itself.

What is open: BININT1/BININT2/BININT, NEWTRUE/NEWFALSE, BINFLOAT, and a list of equally long lists of
one-digit integers, which becomes JSON text. A row with anything else is left to the machine.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from typing import Any, NamedTuple

from sgdb.pickles.inert import ClassRef, Instance, Shape

_BATCH = 1000
_MAX_SHAPES = 16
_MAX_ROW = 1 << 16  # bytes
_MAX_RUNS = 200_000

_CELLS = bytes(range(10))
_BLANK = bytes.maketrans(_CELLS, bytes(10))
_TO_JSON = bytes.maketrans(b"K]e" + _CELLS, b",[]" + b"0123456789")
_INT = rb"(K.|M..|J....)"
_BOOL = rb"([\x88\x89])"
_FLOAT = rb"(G........)"

Column = Callable[[tuple[bytes, ...]], Iterable[Any] | None]


class Found(NamedTuple):
    """Rows read in one go, where they end, and the number of memo entries after them."""

    shape: Shape
    rows: list[tuple[Any, ...]]
    end: int
    memo_size: int


# Opcode and argument as one value: integers of 1, 2 and 4 bytes.
_INTEGERS = {b"K": struct.Struct("<xB"), b"M": struct.Struct("<xH"), b"J": struct.Struct("<xi")}


def _read_ints(raw: tuple[bytes, ...]) -> Iterable[int]:
    joined, opcode = b"".join(raw), raw[0][:1]
    reader = _INTEGERS[opcode]
    # Where the first has this opcode, and so has what comes after its length, all are as long.
    if len(joined) == reader.size * len(raw) and joined[:: reader.size] == opcode * len(raw):
        return [value for (value,) in reader.iter_unpack(joined)]
    return [_read_int(value) for value in raw]


def _read_int(raw: bytes) -> int:
    value: int = _INTEGERS[raw[:1]].unpack(raw)[0]
    return value


def _read_bools(raw: tuple[bytes, ...]) -> Iterable[bool]:
    return [value == b"\x88" for value in raw]


def _read_floats(raw: tuple[bytes, ...]) -> Iterable[float]:
    return [struct.unpack_from(">d", value, 1)[0] for value in raw]


class _Boards:
    """Reads boards whose bytes are, but for the cells, those of `blank`."""

    def __init__(self, blank: bytes) -> None:
        self._blank = blank
        self._length = len(self._texts(blank))

    @staticmethod
    def _texts(raw: bytes) -> str:
        """JSON of boards one after another, separated by commas."""
        text = raw.translate(_TO_JSON, delete=b"\x94(").decode("ascii")
        return text.replace("[,", "[").replace("][", "],[")

    def fits(self, raw: bytes) -> bool:
        return raw.translate(_BLANK) == self._blank

    def __call__(self, raw: tuple[bytes, ...]) -> list[str] | None:
        """JSON texts, or None when some board is built otherwise."""
        joined = b"".join(raw)
        if joined.translate(_BLANK) != self._blank * len(raw):
            return None
        text, length = self._texts(joined), self._length
        return [text[at : at + length] for at in range(0, len(text), length + 1)]


class _Learned:
    """One row's pattern."""

    def __init__(
        self, shape: Shape, pattern: bytes, slots: list[Any], memos: int, texts: list[tuple[int, str]]
    ) -> None:
        self.shape = shape
        self.pattern = pattern
        self.memos = memos
        self.texts = dict(texts)  # by their place among the row's memo entries
        self._slots = slots  # a reader of a column (callable) or, as a one-tuple, a constant
        self._match = re.compile(pattern, re.DOTALL).match
        # Rows tried at a time. What follows an odd board has been matched in vain, so there it shrinks to
        # the rows before: a file of odd boards costs twice the work of its rows, and not a thousand times.
        self._most = _BATCH

    def take(self, buf: bytes, pos: int, limit: int) -> tuple[list[tuple[Any, ...]], int]:
        """Rows from `pos` on, at most a batch, and where they end."""
        rows, end, whole = self._take(buf, pos, limit, self._most)
        self._most = min(2 * self._most, _BATCH) if whole else max(len(rows), 1)
        return rows, end

    def _take(self, buf: bytes, pos: int, limit: int, most: int) -> tuple[list[tuple[Any, ...]], int, bool]:
        """The same, and whether every board was sound."""
        match, raw, start = self._match, [], pos
        for _ in range(most):
            found = match(buf, pos, limit)
            if found is None:
                break
            raw.append(found.groups())
            pos = found.end()
        if not raw:
            return [], pos, True
        columns: list[Iterable[Any]] = []
        opened = iter(zip(*raw, strict=True))
        for slot in self._slots:
            if type(slot) is tuple:
                columns.append(repeat(slot[0]))
                continue
            bytes_column = next(opened)
            values = slot(bytes_column)
            if values is None:  # the rows before the first odd board are good
                good = next(i for i, value in enumerate(bytes_column) if not slot.fits(value))
                rows, end, _ = self._take(buf, start, limit, good)
                return rows, end, False
            columns.append(values)
        return list(zip(*columns, strict=False)), pos, True


class ShapeBook:
    """The row shapes of one file, learned while reading it."""

    def __init__(self) -> None:
        self._learned: list[_Learned] = []
        self._attempts = 0
        self._rows = 0
        # What the skipped rows would have put into the memo: (first index, end, entries a row, texts).
        self._runs: list[tuple[int, int, int, Mapping[int, str]]] = []

    def recall(self, index: int) -> str | None:
        """The text with this memo index, if a row read here stored one."""
        at = bisect_right(self._runs, index, key=lambda run: run[0]) - 1
        if at < 0 or index >= self._runs[at][1]:
            return None
        first, _, stride, texts = self._runs[at]
        return texts.get((index - first) % stride)

    def read(
        self, buf: bytes, start: int, pos: int, limit: int, memo: Mapping[int, Any], memo_size: int
    ) -> Found | None:
        """Rows from `pos` up to `limit`, or None. `start`, if not negative, is where an example began that
        ends at `pos`."""
        if len(self._runs) >= _MAX_RUNS:
            return None
        for learned in self._learned:
            rows, end = learned.take(buf, pos, limit)
            if rows:
                return self._found(learned, rows, end, memo_size)
        if 0 <= start < pos <= start + _MAX_ROW and (self._attempts < 50 or self._rows > 20 * self._attempts):
            self._attempts += 1
            example = _Example(buf[start:pos], lambda index: memo.get(index) or self.recall(index)).learn()
            if example is not None and all(example.pattern != old.pattern for old in self._learned):
                self._learned.insert(0, example)
                del self._learned[_MAX_SHAPES:]
                rows, end = example.take(buf, pos, limit)
                if rows:
                    return self._found(example, rows, end, memo_size)
        return None

    def _found(self, learned: _Learned, rows: list[tuple[Any, ...]], end: int, memo_size: int) -> Found:
        if self._learned[0] is not learned:
            self._learned.remove(learned)
            self._learned.insert(0, learned)
        after = memo_size + len(rows) * learned.memos
        if learned.texts:
            self._runs.append((memo_size, after, learned.memos, learned.texts))
        self._rows += len(rows)
        return Found(learned.shape, rows, end, after)


class _UnlearnableError(Exception):
    """The example holds something that is not worth a pattern."""


class _Example:
    """Walks once over the bytes of a row that the machine has already accepted."""

    def __init__(self, raw: bytes, recall: Callable[[int], Any]) -> None:
        self._raw = raw
        self._at = 0
        self._recall = recall
        self._memos = 0
        self._pattern: list[bytes] = []
        self._literal = 0  # where the bytes begin that are still to be put into the pattern as they are
        self._slots: list[Any] = []
        self._texts: list[tuple[int, str]] = []
        self._board: tuple[int, int] | None = None

    def learn(self) -> _Learned | None:
        """The pattern, or None where this kind of row is better left to the machine."""
        try:
            cls, names = self._row()
        except (_UnlearnableError, IndexError):
            return None
        if not any(callable(slot) for slot in self._slots):
            return None
        self._close(b"")
        # What follows must be the next row or the list's end: a row that goes on is left to the machine.
        self._pattern.append(rb"(?=[}e])" if cls is None else rb"(?=[hje])")
        shape = Shape(cls, names, self._board)
        return _Learned(shape, b"".join(self._pattern), self._slots, self._memos, self._texts)

    def _close(self, slot: bytes) -> None:
        """Ends the literal bytes here and adds an open place."""
        self._pattern.append(re.escape(self._raw[self._literal : self._at]))
        self._pattern.append(slot)

    def _take(self, expected: bytes) -> None:
        if not self._raw.startswith(expected, self._at):
            raise _UnlearnableError
        self._at += len(expected)

    def _maybe_memo(self) -> None:
        if self._raw[self._at] == 0x94:
            self._at += 1
            self._memos += 1

    def _get(self) -> Any:
        """The value of a memo read that stands here."""
        op = self._raw[self._at]
        size = {0x68: 1, 0x6A: 4}.get(op)
        if size is None:
            raise _UnlearnableError
        self._at += 1 + size
        value = self._recall(int.from_bytes(self._raw[self._at - size : self._at], "little"))
        if value is None:
            raise _UnlearnableError
        return value

    def _row(self) -> tuple[ClassRef | None, tuple[str, ...]]:
        cls = None
        if self._raw[0] != 0x7D:
            cls = self._get()
            if type(cls) is not ClassRef or not cls.is_row:
                raise _UnlearnableError
            self._take(b")\x81")
            self._maybe_memo()
        names = self._entries(self._open_value)
        if cls is not None:
            self._take(b"b")
        if self._at != len(self._raw):
            raise _UnlearnableError
        return cls, tuple(names)

    def _entries(self, value: Callable[[str], Any]) -> dict[str, Any]:
        """A dict's opcodes from EMPTY_DICT to SETITEMS, its keys being memo reads."""
        self._take(b"}")
        self._maybe_memo()
        self._take(b"(")
        found: dict[str, Any] = {}
        while self._raw[self._at] != 0x75:
            key = self._get()
            if type(key) is not str or key in found:
                raise _UnlearnableError
            found[key] = value(key)
        self._at += 1
        return found

    def _open_value(self, key: str) -> None:
        """One value of the row: an open place, or a constant."""
        op = self._raw[self._at]
        for codes, size, slot, reader in (
            (b"K", 2, _INT, _read_ints), (b"M", 3, _INT, _read_ints), (b"J", 5, _INT, _read_ints),
            (b"\x88\x89", 1, _BOOL, _read_bools), (b"G", 9, _FLOAT, _read_floats),
        ):  # fmt: skip
            if op in codes:
                self._close(slot)
                self._at += size
                self._literal = self._at
                self._slots.append(reader)
                return
        if op == 0x5D:
            self._open_board(key)
        else:
            self._slots.append((self._constant(key),))

    def _open_board(self, key: str) -> None:
        if key not in ("board", "board_state"):
            raise _UnlearnableError
        start, memos_before = self._at, self._memos
        self._take(b"]")
        self._maybe_memo()
        self._take(b"(")
        widths = []
        while self._raw[self._at] == 0x5D:
            self._take(b"]")
            self._maybe_memo()
            self._take(b"(")
            row = self._at
            while self._raw[self._at] == 0x4B:
                if self._raw[self._at + 1] > 9:
                    raise _UnlearnableError
                self._at += 2
            widths.append((self._at - row) // 2)
            self._take(b"e")
        self._take(b"e")
        raw, end = self._raw[start : self._at], self._at
        # Boards without memo entries in every list would have lengths that vary.
        memos = self._memos - memos_before
        if not widths or not widths[0] or len(set(widths)) > 1 or memos not in (0, len(widths) + 1):
            raise _UnlearnableError
        self._board = (len(widths), widths[0])
        self._at = start
        self._close(b"(" + re.escape(raw[:4]) + b".{%d})" % (len(raw) - 4))
        self._at = self._literal = end
        self._slots.append(_Boards(raw.translate(_BLANK)))

    def _constant(self, key: str) -> Any:  # noqa: ARG002 - same signature as _open_value
        """A value that has to be the same, byte for byte, in every row of this shape."""
        op = self._raw[self._at]
        if op == 0x4E:
            self._at += 1
            return None
        if op == 0x8C:
            end = self._at + 2 + self._raw[self._at + 1]
            text = self._raw[self._at + 2 : end].decode("utf-8", "surrogatepass")
            self._at = end
            if self._raw[end] == 0x94:
                self._texts.append((self._memos, text))
            self._maybe_memo()
            return text
        if op in b"KMJ":
            size = {0x4B: 2, 0x4D: 3, 0x4A: 5}[op]
            self._at += size
            return _read_int(self._raw[self._at - size : self._at])
        value = self._get()
        if type(value) is not ClassRef:
            return value
        if value.is_row:
            raise _UnlearnableError
        self._take(b")\x81")
        self._maybe_memo()
        instance = Instance(value, self._entries(self._constant))
        self._take(b"b")
        return instance
