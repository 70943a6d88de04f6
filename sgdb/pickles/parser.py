"""Pickle opcodes to plain data: strict, streaming, and unable to run anything.

The rules of this machine, all of them enforced here:

- It knows the opcodes that benchmark files use and refuses every other one by name and byte offset.
- A class is a pair of texts looked up in a table that the caller gives; an instance is an inert
  `Instance`. Nothing is imported and nothing is called.
- Where the caller says that the file may hold times, `times` reads those; that is all that REDUCE can do.
- BUILD happens once, on a fresh instance, with a dict. Dict keys are text and occur once.
- Memo entries are stored in sequence and never overwritten. Frames end where they say, do not nest and
  no opcode crosses their end. STOP is the last byte of the file.
- *Rows* (instances of the classes that the caller marks as rows, and dicts with a `board_state`) stand in
  lists, and a list that holds one row holds nothing else.
- Rows are handed out in batches as soon as they are appended, and are forgotten; the list stays in the
  tree as a `RowList`. So memory does not grow with the file.
- Only texts, classes and instances that are no rows are remembered for memo reads. A file that reads
  something else back shares objects by reference: `SharedReferenceError` tells the caller to read it
  again with `remember=True`, where everything is kept and nothing is streamed. There, what is read back
  is finished and grows no more, and counts as if it were written out: no cycles, no bombs. How much that
  may be is in proportion to the file, and so is the work that comes of it.
- What is held at any time is bounded in number and bytes, whatever the file says.

The format is described in the comments of CPython's `pickletools` and in PEP 307, 3154 and 574.
`shapes` reads rows that look like an earlier one in a single step; the result is the same.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sgdb.errors import LayoutError, UnsafePickleError
from sgdb.pickles.inert import ClassRef, Instance, RowBatch, RowList, batches_of, count_values, is_row, shown
from sgdb.pickles.opcodes import OPCODE_NAMES, SAVE_AGAIN, hint_for_module, hint_for_opcode
from sgdb.pickles.shapes import ShapeBook
from sgdb.pickles.times import MAKERS, TIME_BYTES, Maker, made
from sgdb.pickles.window import ByteStream, Window

_MAX_TEXT = 1 << 20  # bytes in one text
_MAX_TEXT_TOTAL = 1 << 27  # bytes of memory in all different texts
_MAX_MEMO = 1_000_000  # objects remembered
_MAX_MEMO_REMEMBERING = 3_000_000
# Values that memo reads may add, as if written out: a bot's results under a second name are about two a byte.
_FREE_SHARED = 250_000
_SHARED_PER_BYTE = 8
_MAX_STATES = 64  # different states of configs that are looked for again
_MAX_STATE = 100_000  # values in one of them
_MAX_HELD = 2_000_000  # plain values alive between two batches of rows
_MAX_HELD_REMEMBERING = 6_000_000
_MAX_STACK = 200_000
_MAX_BOARD_WIDTH = 100  # columns for which the machine guesses a board's rows
_SCALARS = {int, str, bool, type(None)}


class SharedReferenceError(Exception):
    """The file reads back an object that was not remembered; read it again with `remember=True`."""


class PickleParser:
    """Reads one pickle from `stream`; iterate over `batches()` to the end, then look at `tree`.

    `classes` maps every permitted (module, name) to whether it is a row class. With `times`, naive times
    are read as well, as checkpoints have them. Raises DamagedPickleError, UnsafePickleError or LayoutError;
    with `remember=False` also SharedReferenceError, after which the batches seen so far are to be thrown
    away.
    """

    def __init__(
        self,
        stream: ByteStream,
        classes: Mapping[tuple[str, str], bool],
        *,
        remember: bool = False,
        accelerate: bool = True,
        times: bool = False,
    ) -> None:
        self.tree: Any = None
        self.protocol = -1
        self._window = Window(stream)
        self._classes: dict[tuple[str, str], ClassRef | Maker] = {
            key: ClassRef(*key, is_row) for key, is_row in classes.items()
        }
        self._kind = "checkpoint" if times else "benchmark"
        self._remember = remember
        self._shapes = ShapeBook() if accelerate and not remember else None
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._everything: list[Any] = []  # the memo where everything is remembered
        self._memo_size = 0
        self._shared = 0  # values that memo reads have added, as if written out
        self._texts: dict[str, str] = {}
        self._text_bytes = 0
        self._held = 0  # values alive, as far as they have been put into a container
        self._held_at: list[int] = []  # what _held was at each mark
        self._kept = 0  # values in remembered instances
        self._states: dict[Any, dict[str, Any]] = {}  # of instances, by class and items
        self._read_back: set[int] = set()  # ids of containers that were read from the memo
        self._lists = 0
        self._row_start = -1  # offset in the file where the next row began
        self._streaming_marks: set[int] = set()  # marks whose rows have been handed out already
        self._out: list[RowBatch] = []
        self._handlers: dict[int, Callable[[int], int]] = {
            0x95: self._frame, 0x71: self._binput, 0x72: self._long_binput,
            0x74: self._tuple, 0x85: self._tuple1, 0x86: self._tuple2, 0x87: self._tuple3,
            0x58: self._binunicode, 0x93: self._stack_global, 0x63: self._global, 0x81: self._newobj,
            0x62: self._build, 0x61: self._append, 0x65: self._appends, 0x73: self._setitem,
            0x75: self._setitems, 0x8A: self._long1, 0x47: self._binfloat,
        }  # fmt: skip
        if times:
            self._classes |= MAKERS
            self._handlers |= {0x43: self._short_binbytes, 0x52: self._reduce}

    def batches(self) -> Iterator[RowBatch]:  # noqa: C901 - one loop over the bytes, the frequent opcodes inline
        """Runs the pickle; yields rows as they come. Afterwards `tree` is the top-level object."""
        window = self._window
        pos = self._proto()
        buf = window.buf
        stack, marks, handlers = self._stack, self._marks, self._handlers
        push, out, held_at = stack.append, self._out, self._held_at
        # Where everything is remembered, every memo read has to be looked at.
        readable: dict[int, Any] = {} if self._remember else self._memo
        read_memo = readable.get
        width, int_ops = 0, b""  # the last list of small integers, a guess for the next
        try:
            while True:
                if pos >= window.stop_at:
                    pos = self._boundary(pos)
                    buf = window.buf
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
                    held_at.append(self._held)
                    end = pos + 2 * width
                    # A row of a board: as many one-byte integers as the last row had, then APPENDS.
                    if width and end < window.stop_at and buf[end] == 0x65 and buf[pos:end:2] == int_ops:
                        stack.extend(buf[pos + 1 : end : 2])
                        pos = end
                elif op == 0x65:  # APPENDS
                    if type(stack[-1]) is int and marks:
                        width = min(len(stack) - marks[-1], _MAX_BOARD_WIDTH)
                        int_ops = b"K" * width
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
                    buf = window.buf
                    if out:
                        yield from out
                        out.clear()
        except IndexError:
            if window.ends_before(pos):
                raise window.truncated() from None
            raise window.damaged("an opcode finds nothing on the stack", pos - 1) from None

    # -- beginning and end ----------------------------------------------------------------------

    def _proto(self) -> int:
        window = self._window
        pos = window.boundary(0)
        if window.buf[pos] != 0x80:
            raise window.unsafe("no pickle of protocol 2 to 5: no PROTO opcode", pos, SAVE_AGAIN)
        pos = window.need(pos + 1, 1)
        self.protocol = window.buf[pos]
        if not 2 <= self.protocol <= 5:
            raise window.unsafe(f"pickle protocol {self.protocol} (2 to 5 are read)", pos, SAVE_AGAIN)
        return pos + 1

    def _boundary(self, pos: int) -> int:
        if len(self._stack) + len(self._marks) > _MAX_STACK:
            raise self._window.damaged(f"more than {_MAX_STACK} values without a container", pos)
        return self._window.boundary(pos)

    def _frame(self, pos: int) -> int:
        self._row_start = -1  # a row that holds a frame opcode is no example for others
        return self._window.open_frame(pos)

    def _stop(self, pos: int) -> None:
        if self._marks or len(self._stack) != 1:
            raise self._window.damaged("the pickle stops with unfinished values", pos - 1)
        self._window.finish(pos)
        self.tree = self._stack.pop()

    def _refused(self, op: int, pos: int) -> UnsafePickleError:
        name = OPCODE_NAMES.get(op)
        if name is None:
            return self._window.unsafe(f"unknown opcode 0x{op:02x}", pos)
        return self._window.unsafe(
            f"opcode {name}, which {self._kind} files do not use,", pos, hint_for_opcode(name)
        )

    # -- stack ----------------------------------------------------------------------------------

    def _floor(self) -> int:
        return self._marks[-1] if self._marks else 0

    def _pop(self, count: int, pos: int) -> list[Any]:
        if len(self._stack) - count < self._floor():
            raise self._window.damaged("an opcode finds nothing on the stack", pos)
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _pop_to_mark(self, pos: int) -> tuple[list[Any], int]:
        """The values above the last mark, and what was held before them."""
        if not self._marks:
            raise self._window.damaged("a MARK is missing", pos - 1)
        mark = self._marks.pop()
        if mark in self._streaming_marks:
            self._streaming_marks.discard(mark)
            if self._window.buf[pos - 1] != 0x65:
                raise self._misplaced_rows(pos)
        values = self._stack[mark:]
        del self._stack[mark:]
        return values, self._held_at.pop()

    def _hold(self, count: int, pos: int) -> None:
        self._held += count
        if self._held + self._kept > (_MAX_HELD_REMEMBERING if self._remember else _MAX_HELD):
            raise self._too_much(pos)

    def _too_much(self, pos: int) -> LayoutError:
        return LayoutError(
            f"more values in one piece than a {self._kind} file has, up to byte {self._window.base + pos}"
        )

    def _misplaced_rows(self, pos: int) -> LayoutError:
        return LayoutError(
            "games or results in something else than a list of nothing else, "
            f"at byte {self._window.base + pos - 1}"
        )

    def _are_rows(self, values: list[Any], pos: int) -> bool:
        """Whether these are rows: all of them or none. Raises LayoutError for a mixture, and for an
        instance without attributes."""
        kinds = set(map(type, values))
        if Instance not in kinds and dict not in kinds:
            return False
        count = sum(map(is_row, values))
        if 0 < count < len(values):
            raise self._misplaced_rows(pos)
        for value in values if Instance in kinds else ():
            if type(value) is Instance and value.state is None:
                raise LayoutError(
                    f"a {value.cls.name} without attributes, up to byte {self._window.base + pos - 1}"
                )
        return count > 0

    # -- memo -----------------------------------------------------------------------------------

    def _memoize(self, pos: int) -> None:
        index = self._memo_size
        self._memo_size = index + 1
        if len(self._stack) <= self._floor():
            raise self._window.damaged("a memo entry of nothing", pos - 1)
        value = self._stack[-1]
        kind = type(value)
        if self._remember:
            self._everything.append(value)
            full = index >= _MAX_MEMO_REMEMBERING
        elif kind is str or kind is ClassRef or (kind is Instance and not value.cls.is_row):
            self._memo[index] = value
            full = len(self._memo) > _MAX_MEMO
        else:
            return
        if full:
            raise LayoutError(
                f"more remembered objects than a {self._kind} file has, up to byte {self._window.base + pos}"
            )

    def _put(self, index: int, pos: int) -> None:
        if index != self._memo_size:
            raise self._window.unsafe(
                f"memo index {index} out of sequence (expected {self._memo_size})", pos - 1
            )
        self._memoize(pos)

    def _binput(self, pos: int) -> int:
        self._put(self._window.buf[pos], pos)
        return pos + 1

    def _long_binput(self, pos: int) -> int:
        self._put(int.from_bytes(self._window.buf[pos : pos + 4], "little"), pos)
        return pos + 4

    def _recall(self, index: int, pos: int) -> Any:
        """A memo read that needs a closer look."""
        if index >= self._memo_size:
            raise self._window.damaged(f"memo entry {index} is read before it is stored", pos - 1)
        if self._remember:
            value = self._everything[index]
            if type(value) in (list, tuple, dict, Instance):
                self._read_back.add(id(value))
                self._share(value, pos)
            return value
        if self._shapes is not None:
            value = self._shapes.recall(index)
            if value is not None:
                return value
        raise SharedReferenceError

    def _share(self, value: Any, pos: int) -> None:
        """Counts something that is read back as if it were written out once more."""
        offset = self._window.base + pos
        room = _FREE_SHARED + _SHARED_PER_BYTE * offset - self._shared
        count = count_values(value, room)
        if count > room:
            raise LayoutError(
                f"more shared values than a file of this size accounts for, up to byte {offset}"
            )
        self._shared += count
        self._hold(count, pos)

    def _growing(self, target: Any, pos: int) -> None:
        """Refuses to add to something that has been read back already."""
        if self._read_back and id(target) in self._read_back:
            raise self._window.unsafe("an object that is read back before it is finished", pos)

    # -- values ---------------------------------------------------------------------------------

    def _text(self, raw: bytes, pos: int) -> str:
        try:
            text = raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise self._window.damaged("a text that is not UTF-8", pos) from None
        known = self._texts.get(text)
        if known is not None:
            return known
        self._text_bytes += sys.getsizeof(text) + 50  # one character beyond ASCII widens all of them
        if self._text_bytes > _MAX_TEXT_TOTAL:
            raise LayoutError(f"more text than a {self._kind} file has, up to byte {self._window.base + pos}")
        self._texts[text] = text
        return text

    def _binunicode(self, pos: int) -> int:
        window = self._window
        pos = window.need(pos, 4) + 4
        size = int.from_bytes(window.buf[pos - 4 : pos], "little")
        if size > _MAX_TEXT:
            raise window.damaged(f"a text of {size} bytes, more than {_MAX_TEXT},", pos - 5)
        pos = window.need(pos, size)
        self._stack.append(self._text(window.buf[pos : pos + size], pos))
        return pos + size

    def _long1(self, pos: int) -> int:
        window = self._window
        size = window.buf[pos]
        pos = window.need(pos + 1, size)
        self._stack.append(int.from_bytes(window.buf[pos : pos + size], "little", signed=True))
        return pos + size

    def _binfloat(self, pos: int) -> int:
        pos = self._window.need(pos, 8)
        self._stack.append(struct.unpack_from(">d", self._window.buf, pos)[0])
        return pos + 8

    def _tuple(self, pos: int) -> int:
        values, _ = self._pop_to_mark(pos)
        return self._push_tuple(values, pos)

    def _tuple1(self, pos: int) -> int:
        return self._push_tuple(self._pop(1, pos - 1), pos)

    def _tuple2(self, pos: int) -> int:
        return self._push_tuple(self._pop(2, pos - 1), pos)

    def _tuple3(self, pos: int) -> int:
        return self._push_tuple(self._pop(3, pos - 1), pos)

    def _push_tuple(self, values: list[Any], pos: int) -> int:
        if self._are_rows(values, pos):
            raise self._misplaced_rows(pos)
        self._hold(len(values), pos)
        self._stack.append(tuple(values))
        return pos

    # -- classes and instances ------------------------------------------------------------------

    def _class(self, module: str, name: str, pos: int) -> None:
        known = self._classes.get((module, name))
        if known is None:
            raise self._window.unsafe(
                f"unknown class {shown(f'{module}.{name}')}", pos, hint_for_module(module)
            )
        self._stack.append(known)

    def _stack_global(self, pos: int) -> int:
        module, name = self._pop(2, pos - 1)
        if type(module) is not str or type(name) is not str:
            raise self._window.unsafe("a class whose name is no text", pos - 1)
        self._class(module, name, pos - 1)
        return pos

    def _global(self, pos: int) -> int:
        lines = self._window.buf[pos : pos + 512].split(b"\n", 2)
        if len(lines) < 3:
            raise self._window.damaged("a class name without an end", pos - 1)
        try:
            module, name = lines[0].decode(), lines[1].decode()
        except UnicodeDecodeError:
            raise self._window.damaged("a class name that is not UTF-8", pos - 1) from None
        self._class(module, name, pos - 1)
        return pos + len(lines[0]) + len(lines[1]) + 2

    def _short_binbytes(self, pos: int) -> int:
        window = self._window
        size = window.buf[pos]
        if size != TIME_BYTES:
            raise window.unsafe(f"{size} bytes that are no time,", pos - 1)
        pos = window.need(pos + 1, size)
        self._stack.append(window.buf[pos : pos + size])
        return pos + size

    def _reduce(self, pos: int) -> int:
        maker, arguments = self._pop(2, pos - 1)
        value = made(maker, arguments, self.protocol)
        if value is None:
            raise self._window.unsafe("a REDUCE that makes something else than a time", pos - 1)
        self._stack.append(value)
        return pos

    def _newobj(self, pos: int) -> int:
        cls, arguments = self._pop(2, pos - 1)
        if type(cls) is not ClassRef or type(arguments) is not tuple or arguments:
            raise self._window.unsafe("an instance made of something else than a known class", pos - 1)
        self._stack.append(Instance(cls))
        return pos

    def _build(self, pos: int) -> int:
        (state,) = self._pop(1, pos - 1)
        instance = self._stack[-1] if len(self._stack) > self._floor() else None
        if type(instance) is not Instance:
            raise self._window.unsafe("a BUILD of something else than an instance", pos - 1)
        if instance.state is not None:
            raise self._window.unsafe("a second BUILD of one instance", pos - 1)
        if type(state) is not dict:
            raise self._window.unsafe("a BUILD with something else than a dict", pos - 1)
        self._growing(instance, pos - 1)
        instance.state = state
        if instance.cls.is_row:
            return self._after_row(pos)
        if not self._remember:
            instance.state = self._keep(instance.cls, state, pos)
        return pos

    def _keep(self, cls: ClassRef, state: dict[str, Any], pos: int) -> dict[str, Any]:
        """The state of an instance that may be remembered: one for all that are equal, and counted.

        Only a few different ones are looked for again. More are none of a benchmark, and could be chosen so
        that their hashes, which depend on numbers only, are all the same.
        """
        kinds = tuple(map(type, state.values()))
        if _SCALARS.issuperset(kinds):
            key = (cls, kinds, tuple(state.items()))  # the kinds, because 1 and True are equal
            known = self._states.get(key)
            if known is not None:
                return known
            if len(self._states) < _MAX_STATES:
                self._states[key] = state
        count = count_values(state, _MAX_STATE)
        if count > _MAX_STATE:  # it may hold itself, and has no end then
            raise self._too_much(pos)
        self._kept += count
        self._hold(0, pos)
        return state

    # -- containers -----------------------------------------------------------------------------

    def _append(self, pos: int) -> int:
        return self._extend(self._pop(1, pos - 1), self._held, pos)

    def _appends(self, pos: int) -> int:
        return self._extend(*self._pop_to_mark(pos), pos)

    def _extend(self, values: list[Any], held_before: int, pos: int) -> int:
        at = len(self._stack) - 1
        target = self._stack[at] if at >= self._floor() else None
        kind = type(target)
        if kind is not list and kind is not RowList:
            raise self._window.damaged("an opcode finds no list to work on", pos - 1)
        if not values:
            return pos
        rows = self._are_rows(values, pos)
        if kind is list and (self._remember or not rows):
            assert type(target) is list
            self._growing(target, pos - 1)
            if target and is_row(target[0]) != rows:
                raise self._misplaced_rows(pos)
            target.extend(values)
            self._hold(len(values), pos)
        elif not rows or (kind is list and target):
            raise self._misplaced_rows(pos)
        else:
            self._emit(self._row_list(at), values, held_before)
        return pos

    def _row_list(self, at: int) -> RowList:
        """The RowList in this place of the stack, put there when an empty list still stands there."""
        if type(self._stack[at]) is not RowList:
            self._stack[at] = RowList(self._lists)
            self._lists += 1
        found: RowList = self._stack[at]
        return found

    def _emit(self, target: RowList, values: list[Any], held_before: int) -> None:
        self._out.extend(batches_of(target.number, values))
        self._held = held_before
        self._row_start = -1

    def _setitem(self, pos: int) -> int:
        return self._update(self._pop(2, pos - 1), pos)

    def _setitems(self, pos: int) -> int:
        return self._update(self._pop_to_mark(pos)[0], pos)

    def _update(self, pairs: list[Any], pos: int) -> int:
        target = self._stack[-1] if len(self._stack) > self._floor() else None
        if type(target) is not dict:
            raise self._window.damaged("an opcode finds no dict to work on", pos - 1)
        if len(pairs) % 2:
            raise self._window.damaged("a dict entry without a value", pos - 1)
        self._growing(target, pos - 1)
        keys = pairs[::2]
        for key in keys:
            if type(key) is not str:
                raise self._window.unsafe(f"a dict key of type {type(key).__name__}", pos - 1)
        before = len(target)
        target.update(zip(keys, pairs[1::2], strict=True))
        if len(target) != before + len(keys):
            raise self._window.damaged("a dict key that occurs twice", pos - 1)
        self._hold(len(pairs), pos)
        return self._after_row(pos) if is_row(target) else pos

    # -- rows in one step -----------------------------------------------------------------------

    def _after_row(self, pos: int) -> int:
        """A row has just been completed: reads those after it that look like one seen before."""
        shapes, stack, marks, window = self._shapes, self._stack, self._marks, self._window
        if shapes is None or not marks:
            return pos
        mark = marks[-1]
        # The rows have to lie between a MARK and a list that waits for them.
        if not mark or (len(marks) > 1 and marks[-2] >= mark) or len(stack) == mark:
            return pos
        target = stack[mark - 1]
        if not (type(target) is RowList or (type(target) is list and not target)):
            return pos
        buf, limit = window.buf, min(len(window.buf), window.frame_end)
        start, self._row_start = self._row_start - window.base, window.base + pos
        found = shapes.read(buf, start, pos, limit, self._memo, self._memo_size)
        if found is None or not all(map(is_row, stack[mark:])):
            return pos
        rows = self._row_list(mark - 1)
        self._are_rows(stack[mark:], pos)
        self._emit(rows, stack[mark:], self._held_at[-1])
        del stack[mark:]
        self._streaming_marks.add(mark)
        while found is not None:
            self._out.append(RowBatch(rows.number, found.shape, found.rows, by_pattern=True))
            self._memo_size = found.memo_size
            pos = found.end
            found = shapes.read(buf, -1, pos, limit, self._memo, self._memo_size)
        self._row_start = window.base + pos
        return pos
