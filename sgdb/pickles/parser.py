"""Pickle opcodes to plain data: strict, streaming, and unable to run anything.

The rules of this machine, all of them enforced here:

- It knows the opcodes that benchmark files use and refuses every other one by name and byte offset.
- A class is a pair of texts looked up in a table that the caller gives; an instance is an inert
  `Instance`. Nothing is imported and nothing is called.
- BUILD happens once, on a fresh instance, with a dict. Dict keys are text and occur once.
- Memo entries are stored in sequence and never overwritten. Frames end where they say, do not nest and
  no opcode crosses their end. STOP is the last byte of the file.
- *Rows* (instances of the classes that the caller marks as rows, and dicts with a `board_state`) are
  handed out in batches as soon as they are appended to a list, and are forgotten; the list stays in
  the tree as a `RowList`. So memory does not grow with the file.
- Only texts, classes and instances that are no rows are remembered for memo reads. A file that reads
  something else back shares objects by reference: `SharedReferenceError` tells the caller to read it
  again with `remember=True`, where everything is kept and nothing is streamed, up to a bound.

The format is described in the comments of CPython's `pickletools` and in PEP 307, 3154 and 574.
`shapes` reads rows that look like an earlier one in a single step; the result is the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from sgdb.errors import DamagedPickleError, LayoutError, UnsafePickleError
from sgdb.pickles.inert import ClassRef, Instance, RowBatch, RowList, batches_of, is_row, shown
from sgdb.pickles.shapes import ShapeBook

WINDOW = 1 << 20  # bytes read at a time
_MARGIN = 1 << 10  # more than any opcode that the loop reads without asking for its bytes
_MAX_TEXT = 1 << 20  # bytes in one text
_MAX_MEMO_BYTES = 1 << 27  # bytes of text remembered
_MAX_MEMO = 3_000_000  # objects remembered
_MAX_HELD = 2_000_000  # plain values alive between two batches of rows
_MAX_HELD_REMEMBERING = 6_000_000
_MAX_STACK = 200_000
_NEVER = 1 << 62

_OPCODES = """
0x80 PROTO 0x95 FRAME 0x94 MEMOIZE 0x71 BINPUT 0x72 LONG_BINPUT 0x68 BINGET 0x6a LONG_BINGET 0x28 MARK
0x2e STOP 0x7d EMPTY_DICT 0x5d EMPTY_LIST 0x29 EMPTY_TUPLE 0x74 TUPLE 0x85 TUPLE1 0x86 TUPLE2 0x87 TUPLE3
0x8c SHORT_BINUNICODE 0x58 BINUNICODE 0x93 STACK_GLOBAL 0x63 GLOBAL 0x81 NEWOBJ 0x62 BUILD 0x61 APPEND
0x65 APPENDS 0x73 SETITEM 0x75 SETITEMS 0x4a BININT 0x4b BININT1 0x4d BININT2 0x8a LONG1 0x47 BINFLOAT
0x4e NONE 0x88 NEWTRUE 0x89 NEWFALSE
0x49 INT 0x4c LONG 0x8b LONG4 0x53 STRING 0x54 BINSTRING 0x55 SHORT_BINSTRING 0x42 BINBYTES
0x43 SHORT_BINBYTES 0x8e BINBYTES8 0x96 BYTEARRAY8 0x97 NEXT_BUFFER 0x98 READONLY_BUFFER 0x56 UNICODE
0x8d BINUNICODE8 0x46 FLOAT 0x6c LIST 0x64 DICT 0x8f EMPTY_SET 0x90 ADDITEMS 0x91 FROZENSET 0x30 POP
0x32 DUP 0x31 POP_MARK 0x67 GET 0x70 PUT 0x82 EXT1 0x83 EXT2 0x84 EXT4 0x52 REDUCE 0x69 INST 0x6f OBJ
0x92 NEWOBJ_EX 0x50 PERSID 0x51 BINPERSID
""".split()
OPCODE_NAMES: Mapping[int, str] = {
    int(code, 16): name for code, name in zip(_OPCODES[::2], _OPCODES[1::2], strict=True)
}


class SharedReferenceError(Exception):
    """The file reads back an object that was not remembered; read it again with `remember=True`."""


class ByteStream(Protocol):
    """Anything with a blocking `read`."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty only at the end."""


class PickleParser:
    """Reads one pickle from `stream`; iterate over `batches()` to the end, then look at `tree`.

    `classes` maps every permitted (module, name) to whether it is a row class. Raises
    DamagedPickleError, UnsafePickleError or LayoutError; with `remember=False` also
    SharedReferenceError, after which the batches seen so far are to be thrown away.
    """

    def __init__(
        self,
        stream: ByteStream,
        classes: Mapping[tuple[str, str], bool],
        *,
        remember: bool = False,
        accelerate: bool = True,
    ) -> None:
        self.tree: Any = None
        self.protocol = -1
        self._read = stream.read
        self._classes = {key: ClassRef(*key, is_row) for key, is_row in classes.items()}
        self._remember = remember
        self._shapes = ShapeBook() if accelerate and not remember else None
        self._buf = b""
        self._base = 0  # offset in the file of _buf[0]
        self._ended = False  # whether _buf reaches to the end of the file
        self._frame_end = _NEVER  # in _buf's coordinates
        self._stop_at = 0  # where the loop has to look up
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._memo_size = 0
        self._memo_bytes = 0
        self._held = 0
        self._lists = 0
        self._row_start = -1  # where the next row began, in _buf's coordinates
        self._streaming_marks: set[int] = set()  # marks whose rows have been handed out already
        self._out: list[RowBatch] = []
        self._texts: dict[str, str] = {}
        self._handlers: dict[int, Callable[[int], int]] = {
            0x80: self._proto, 0x95: self._frame, 0x71: self._binput, 0x72: self._long_binput,
            0x74: self._tuple, 0x85: self._tuple1, 0x86: self._tuple2, 0x87: self._tuple3,
            0x58: self._binunicode, 0x93: self._stack_global, 0x63: self._global, 0x81: self._newobj,
            0x62: self._build, 0x61: self._append, 0x65: self._appends, 0x73: self._setitem,
            0x75: self._setitems, 0x8A: self._long1, 0x47: self._binfloat,
        }  # fmt: skip

    # -- errors ---------------------------------------------------------------------------------

    def _damaged(self, what: str, pos: int) -> DamagedPickleError:
        return DamagedPickleError(f"{what} at byte {self._base + pos}")

    def _unsafe(self, what: str, pos: int, hint: str | None = None) -> UnsafePickleError:
        return UnsafePickleError(f"{what} at byte {self._base + pos}", hint=hint)

    def _truncated(self) -> DamagedPickleError:
        return DamagedPickleError(
            f"the file ends in the middle of the pickle, after {self._base + len(self._buf)} bytes"
        )

    # -- bytes ----------------------------------------------------------------------------------

    def _refill(self, pos: int) -> int:
        """Drops what is read, reads the next window, returns the new position."""
        more = self._read(WINDOW)
        self._ended = not more
        self._buf = self._buf[pos:] + more
        self._base += pos
        if self._frame_end != _NEVER:
            self._frame_end -= pos
        self._row_start = self._row_start - pos if self._row_start >= pos else -1
        if len(self._stack) > _MAX_STACK:
            raise self._damaged(f"more than {_MAX_STACK} values without a container", 0)
        return 0

    def _boundary(self, pos: int) -> int:
        """What the loop calls at the end of a frame or of the window."""
        if pos > self._frame_end:
            raise self._damaged("an opcode crosses the end of its frame", pos)
        if pos == self._frame_end:
            self._frame_end = _NEVER
        if pos > len(self._buf) - _MARGIN and not self._ended:
            pos = self._refill(pos)
        if pos >= len(self._buf):
            if not self._ended:
                return self._boundary(pos)
            raise self._truncated()
        self._set_stop()
        return pos

    def _set_stop(self) -> None:
        soft = len(self._buf) if self._ended else max(len(self._buf) - _MARGIN, 1)
        self._stop_at = min(soft, self._frame_end)

    def _need(self, pos: int, count: int) -> int:
        """Makes `count` bytes at `pos` available; returns the new position."""
        while len(self._buf) - pos < count:
            if self._ended:
                raise self._truncated()
            pos = self._refill(pos)
        self._set_stop()
        return pos

    # -- the machine ----------------------------------------------------------------------------

    def batches(self) -> Iterator[RowBatch]:
        """Runs the pickle; yields rows as they come. Afterwards `tree` is the top-level object."""
        pos = self._boundary(0)
        buf = self._buf
        if buf[0] != 0x80:
            raise self._damaged("no PROTO opcode", 0)
        pos = self._handlers.pop(0x80)(1)
        stack, marks, handlers = self._stack, self._marks, self._handlers
        push, read_memo, out = stack.append, self._memo.get, self._out
        width, ks = 0, b""  # the last row of small integers, a guess for the next
        try:
            while True:
                if pos >= self._stop_at:
                    pos = self._boundary(pos)
                    buf = self._buf
                op = buf[pos]
                pos += 1
                if op == 0x4B:  # BININT1
                    push(buf[pos])
                    pos += 1
                elif op == 0x94:  # MEMOIZE
                    self._memoize(pos)
                elif op == 0x68:  # BINGET
                    value = read_memo(buf[pos])
                    push(self._recall(buf[pos], pos) if value is None else value)
                    pos += 1
                elif op == 0x6A:  # LONG_BINGET
                    index = int.from_bytes(buf[pos : pos + 4], "little")
                    value = read_memo(index)
                    push(self._recall(index, pos) if value is None else value)
                    pos += 4
                elif op == 0x28:  # MARK
                    marks.append(len(stack))
                    end = pos + 2 * width
                    # A row of a board: as many one-byte integers as the last row had, then APPENDS.
                    if width and end < self._stop_at and buf[end] == 0x65 and buf[pos:end:2] == ks:
                        stack.extend(buf[pos + 1 : end : 2])
                        pos = end
                elif op == 0x65:  # APPENDS
                    if type(stack[-1]) is int and marks:
                        width = len(stack) - marks[-1]
                        ks = b"K" * width
                    pos = self._appends(pos)
                    if out:
                        yield from out
                        out.clear()
                elif op == 0x8C:  # SHORT_BINUNICODE
                    size = buf[pos]
                    pos += 1
                    push(self._text(buf[pos : pos + size], pos))
                    pos += size
                elif op == 0x5D:  # EMPTY_LIST
                    push([])
                elif op == 0x4D:  # BININT2
                    push(int.from_bytes(buf[pos : pos + 2], "little"))
                    pos += 2
                elif op == 0x4A:  # BININT
                    push(int.from_bytes(buf[pos : pos + 4], "little", signed=True))
                    pos += 4
                elif op == 0x7D:  # EMPTY_DICT
                    push({})
                elif op == 0x29:  # EMPTY_TUPLE
                    push(())
                elif op == 0x88:  # NEWTRUE
                    push(True)
                elif op == 0x89:  # NEWFALSE
                    push(False)
                elif op == 0x4E:  # NONE
                    push(None)
                elif op == 0x2E:  # STOP
                    self._stop(pos)
                    return
                else:
                    handler = handlers.get(op)
                    if handler is None:
                        raise self._refused(op, pos - 1)
                    pos = handler(pos)
                    buf = self._buf
                    if out:
                        yield from out
                        out.clear()
        except IndexError:
            if pos + 8 >= len(self._buf) and self._ended:
                raise self._truncated() from None
            raise self._damaged("an opcode finds nothing on the stack", pos - 1) from None

    def _refused(self, op: int, pos: int) -> UnsafePickleError:
        name = OPCODE_NAMES.get(op)
        if name is None:
            return self._unsafe(f"unknown opcode 0x{op:02x}", pos)
        return self._unsafe(f"opcode {name}, which benchmark files do not use,", pos, _hint_for(name))

    def _pop_mark(self, pos: int) -> int:
        if not self._marks:
            raise self._damaged("a MARK is missing", pos)
        mark = self._marks.pop()
        if mark in self._streaming_marks:
            self._streaming_marks.discard(mark)
            if self._buf[pos - 1] != 0x65:
                raise LayoutError(
                    f"games or results in something else than a list at byte {self._base + pos - 1}"
                )
        return mark

    def _floor(self) -> int:
        return self._marks[-1] if self._marks else 0

    def _pop(self, count: int, pos: int) -> list[Any]:
        if len(self._stack) - count < self._floor():
            raise self._damaged("an opcode finds nothing on the stack", pos)
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _top(self, kind: type, pos: int) -> Any:
        """The value on top of the stack, which has to be of this exact type."""
        if len(self._stack) <= self._floor() or type(self._stack[-1]) is not kind:
            raise self._damaged(f"an opcode finds no {kind.__name__} to work on", pos)
        return self._stack[-1]

    def _hold(self, count: int, pos: int) -> None:
        self._held += count
        if self._held > (_MAX_HELD_REMEMBERING if self._remember else _MAX_HELD):
            raise LayoutError(
                f"more values in one piece than a benchmark file has, up to byte {self._base + pos}"
            )

    def _proto(self, pos: int) -> int:
        pos = self._need(pos, 1)
        self.protocol = self._buf[pos]
        if not 2 <= self.protocol <= 5:
            raise self._unsafe(
                f"pickle protocol {self.protocol} (2 to 5 are read)", pos, _hint_for("protocol")
            )
        return pos + 1

    def _frame(self, pos: int) -> int:
        if self._frame_end != _NEVER:
            raise self._damaged("a frame inside a frame", pos - 1)
        pos = self._need(pos, 8) + 8
        length = int.from_bytes(self._buf[pos - 8 : pos], "little")
        if length > _NEVER >> 1:
            raise self._damaged("a frame of impossible length", pos - 9)
        self._frame_end = pos + length
        self._row_start = -1  # a row that holds a frame opcode is no example for others
        self._set_stop()
        return pos

    def _stop(self, pos: int) -> None:
        if self._marks or len(self._stack) != 1:
            raise self._damaged("the pickle stops with unfinished values", pos - 1)
        if self._frame_end not in (_NEVER, pos):
            raise self._damaged("the pickle stops inside a frame", pos - 1)
        if pos < len(self._buf) or self._read(1):
            raise self._damaged("more bytes follow after the end of the pickle", pos)
        self.tree = self._stack.pop()

    # -- memo -----------------------------------------------------------------------------------

    def _memoize(self, pos: int) -> None:
        index = self._memo_size
        self._memo_size = index + 1
        if len(self._stack) <= self._floor():
            raise self._damaged("a memo entry of nothing", pos - 1)
        value = self._stack[-1]
        kind = type(value)
        if kind is str:
            self._memo[index] = value
        elif self._remember or kind is ClassRef or (kind is Instance and not value.cls.is_row):
            self._memo[index] = value
            self._hold(1, pos)
        else:
            return
        if len(self._memo) > _MAX_MEMO:
            raise LayoutError(f"more than {_MAX_MEMO} remembered objects, up to byte {self._base + pos}")

    def _put(self, index: int, pos: int) -> None:
        if index != self._memo_size:
            raise self._unsafe(f"memo index {index} out of sequence (expected {self._memo_size})", pos - 1)
        self._memoize(pos)

    def _binput(self, pos: int) -> int:
        self._put(self._buf[pos], pos)
        return pos + 1

    def _long_binput(self, pos: int) -> int:
        self._put(int.from_bytes(self._buf[pos : pos + 4], "little"), pos)
        return pos + 4

    def _recall(self, index: int, pos: int) -> Any:
        if self._shapes is not None:
            value = self._shapes.recall(index)
            if value is not None:
                return value
        if index >= self._memo_size:
            raise self._damaged(f"memo entry {index} is read before it is stored", pos - 1)
        if self._remember:
            return self._memo[index]  # a stored None
        raise SharedReferenceError

    # -- values ---------------------------------------------------------------------------------

    def _text(self, raw: bytes, pos: int) -> str:
        try:
            text = raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise self._damaged("a text that is not UTF-8", pos) from None
        known = self._texts.get(text)
        if known is not None:
            return known
        self._memo_bytes += len(raw) + 50
        if self._memo_bytes > _MAX_MEMO_BYTES:
            raise LayoutError(f"more text than a benchmark file has, up to byte {self._base + pos}")
        self._texts[text] = text
        return text

    def _binunicode(self, pos: int) -> int:
        pos = self._need(pos, 4) + 4
        size = int.from_bytes(self._buf[pos - 4 : pos], "little")
        if size > _MAX_TEXT:
            raise self._damaged(f"a text of {size} bytes", pos - 5)
        pos = self._need(pos, size)
        self._stack.append(self._text(self._buf[pos : pos + size], pos))
        return pos + size

    def _long1(self, pos: int) -> int:
        size = self._buf[pos]
        pos = self._need(pos + 1, size)
        self._stack.append(int.from_bytes(self._buf[pos : pos + size], "little", signed=True))
        return pos + size

    def _binfloat(self, pos: int) -> int:
        pos = self._need(pos, 8)
        self._stack.append(struct.unpack_from(">d", self._buf, pos)[0])
        return pos + 8

    def _tuple(self, pos: int) -> int:
        mark = self._pop_mark(pos)
        values = tuple(self._stack[mark:])
        del self._stack[mark:]
        self._hold(len(values), pos)
        self._stack.append(values)
        return pos

    def _tuple_of(self, count: int, pos: int) -> int:
        values = tuple(self._pop(count, pos - 1))
        self._hold(count, pos)
        self._stack.append(values)
        return pos

    def _tuple1(self, pos: int) -> int:
        return self._tuple_of(1, pos)

    def _tuple2(self, pos: int) -> int:
        return self._tuple_of(2, pos)

    def _tuple3(self, pos: int) -> int:
        return self._tuple_of(3, pos)

    # -- classes and instances ------------------------------------------------------------------

    def _class(self, module: str, name: str, pos: int) -> None:
        known = self._classes.get((module, name))
        if known is None:
            hint = _hint_for("numpy") if module.partition(".")[0] == "numpy" else None
            raise self._unsafe(f"unknown class {shown(module)}.{shown(name)}", pos, hint)
        self._stack.append(known)

    def _stack_global(self, pos: int) -> int:
        module, name = self._pop(2, pos - 1)
        if type(module) is not str or type(name) is not str:
            raise self._unsafe("a class whose name is no text", pos - 1)
        self._class(module, name, pos - 1)
        return pos

    def _global(self, pos: int) -> int:
        lines = self._buf[pos : pos + 512].split(b"\n", 2)
        if len(lines) < 3:
            raise self._damaged("a class name without an end", pos - 1)
        try:
            module, name = lines[0].decode(), lines[1].decode()
        except UnicodeDecodeError:
            raise self._damaged("a class name that is not UTF-8", pos - 1) from None
        self._class(module, name, pos - 1)
        return pos + len(lines[0]) + len(lines[1]) + 2

    def _newobj(self, pos: int) -> int:
        cls, arguments = self._pop(2, pos - 1)
        if type(cls) is not ClassRef or arguments != () or type(arguments) is not tuple:
            raise self._unsafe("an instance made of something else than a known class", pos - 1)
        self._stack.append(Instance(cls))
        return pos

    def _build(self, pos: int) -> int:
        (state,) = self._pop(1, pos - 1)
        instance: Instance = self._top(Instance, pos - 1)
        if instance.state is not None:
            raise self._unsafe("a second BUILD of one instance", pos - 1)
        if type(state) is not dict:
            raise self._unsafe("a BUILD with something else than a dict", pos - 1)
        instance.state = state
        return self._after_row(pos) if instance.cls.is_row else pos

    # -- containers -----------------------------------------------------------------------------

    def _append(self, pos: int) -> int:
        (value,) = self._pop(1, pos - 1)
        return self._extend([value], pos)

    def _appends(self, pos: int) -> int:
        mark = self._pop_mark(pos)
        values = self._stack[mark:]
        del self._stack[mark:]
        return self._extend(values, pos)

    def _extend(self, values: list[Any], pos: int) -> int:
        stack = self._stack
        if len(stack) <= self._floor():
            raise self._damaged("an opcode finds no list to work on", pos - 1)
        target = stack[-1]
        kind = type(target)
        if kind is list:
            if not target and values and not self._remember and all(map(is_row, values)):
                self._emit(self._row_list(len(stack) - 1), values)
            else:
                target.extend(values)
                self._hold(len(values), pos)
        elif kind is RowList:
            if not all(map(is_row, values)):
                raise LayoutError(f"something else among games or results at byte {self._base + pos - 1}")
            self._emit(target, values)
        else:
            raise self._damaged("an opcode finds no list to work on", pos - 1)
        return pos

    def _row_list(self, at: int) -> RowList:
        """The RowList in this place of the stack, put there when an empty list still stands there."""
        if type(self._stack[at]) is not RowList:
            self._stack[at] = RowList(self._lists)
            self._lists += 1
        found: RowList = self._stack[at]
        return found

    def _emit(self, target: RowList, values: list[Any]) -> None:
        self._out.extend(batches_of(target.number, values))
        self._held = 0
        self._row_start = -1

    def _setitem(self, pos: int) -> int:
        pair = self._pop(2, pos - 1)
        self._update(pair, pos)
        return self._after_row(pos) if is_row(self._stack[-1]) else pos

    def _setitems(self, pos: int) -> int:
        mark = self._pop_mark(pos)
        pairs = self._stack[mark:]
        del self._stack[mark:]
        self._update(pairs, pos)
        return self._after_row(pos) if is_row(self._stack[-1]) else pos

    def _update(self, pairs: list[Any], pos: int) -> None:
        target: dict[str, Any] = self._top(dict, pos - 1)
        if len(pairs) % 2:
            raise self._damaged("a dict entry without a value", pos - 1)
        keys = pairs[::2]
        for key in keys:
            if type(key) is not str:
                raise self._unsafe(f"a dict key of type {type(key).__name__}", pos - 1)
        before = len(target)
        target.update(zip(keys, pairs[1::2], strict=True))
        if len(target) != before + len(keys):
            raise self._damaged("a dict key that occurs twice", pos - 1)
        self._hold(len(pairs), pos)

    # -- rows in one step -----------------------------------------------------------------------

    def _after_row(self, pos: int) -> int:
        """A row has just been completed: reads those after it that look like one seen before."""
        shapes, stack, marks = self._shapes, self._stack, self._marks
        if shapes is None or not marks:
            return pos
        mark = marks[-1]
        # The rows have to lie between a MARK and a list that waits for them.
        if not mark or (len(marks) > 1 and marks[-2] >= mark) or len(stack) == mark:
            return pos
        target = stack[mark - 1]
        if not (type(target) is RowList or (type(target) is list and not target)):
            return pos
        limit = min(len(self._buf), self._frame_end)
        start, self._row_start = self._row_start, pos
        found = shapes.read(self._buf, start, pos, limit, self._memo, self._memo_size)
        if found is None or not all(map(is_row, stack[mark:])):
            return pos
        rows = self._row_list(mark - 1)
        self._emit(rows, stack[mark:])
        del stack[mark:]
        self._streaming_marks.add(mark)
        while found is not None:
            self._out.append(RowBatch(rows.number, found.shape, found.rows))
            self._memo_size = found.memo_size
            pos = found.end
            found = shapes.read(self._buf, -1, pos, limit, self._memo, self._memo_size)
        self._row_start = pos
        return pos


def _hint_for(what: str) -> str | None:
    """What to do about a refused opcode or module, where something can be done."""
    if what in ("protocol", "INT", "LONG", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "GET", "PUT"):
        return "load the file where it was written and save it again with pickle.dump(data, file, protocol=4)"
    if what in ("numpy", "REDUCE", "BINBYTES", "SHORT_BINBYTES"):
        return (
            "if this is a numpy value: load the file where it was written, turn arrays into lists with "
            "array.tolist() and numbers with int(), and save it again"
        )
    return None
