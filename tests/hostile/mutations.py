"""Damage by design: sound files, changed at random in bytes, opcodes, memo indexes, numbers and lengths.

`mutated(seed, number)` is the same file in every process and on every day, so a number is all that is needed
to see a finding again.
"""

from __future__ import annotations

import copy
import pickletools
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any

from tests.hostile.calls import CALLS
from tests.legacy import benchmark, dump, frame, named, number, recall, text

Chunks = list[bytes]

# Opcodes without an argument, those that sgdb knows and those that it refuses.
_BARE = [bytes((code,)) for code in b"(.})]tuesab\x81\x85\x86\x87\x93\x94\x88\x89N"]
_REFUSED = [bytes((code,)) for code in b"012RoQld\x8f\x90\x91\x92\x97\x98"]
_NUMBERS = [
    0, 1, 2, 9, 10, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 2**1024, -1,
    -(2**31), -(2**63), -(2**63) - 1, 2000000, 2000001,
]  # fmt: skip
_TEXTS = [
    "", "a", "games", "results", "config", "num_games", "base_seed", "board", "board_state", "seed",
    "game_id", "game_index", "bot_name", "completed", "num_rows", "__class__", "\0", "\ud800", "\x1b[2J",
    "$float", "x" * 300,
]  # fmt: skip
_BYTES = b"\x00\x01\x09\x0a\x7f\x80\xff" + bytes(range(0x81, 0x99)) + b"()}]tuesabKMJGhjqrNcX\x8c."


def _shared(data: dict[str, Any]) -> dict[str, Any]:
    """Objects in two places, which need the second way of reading."""
    data["games"][1].board = data["games"][0].board
    data["results"]["twin"] = data["results"]["a"]
    return data


def _odd(data: dict[str, Any]) -> dict[str, Any]:
    """Attributes, other names, tuples, a game listed twice."""
    vars(data["games"][0]).update(
        note={"a": [1, (2.5, None)]}, board=tuple(map(tuple, data["games"][0].board))
    )
    vars(data["results"]["a"][1]).update(bot_name="other", seconds=0.25)
    data["games"].append(copy.copy(data["games"][1]))
    return {**data, "comment": ["x"]}


@cache
def samples() -> list[Chunks]:
    """Small files of every layout, protocol and way of writing, as lists of their opcodes without frames."""
    some = ((2, 2, 3), 3, 42, ("a", "b"))
    made = [
        (benchmark("C", *some), 4), (benchmark("C", (1, 3, 4), 2, -7, ("a",), num_results=4), 5),
        (benchmark("A", *some), 4), (benchmark("A", (3, 2, 12), 4, 1, shared_config=False), 3),
        (benchmark("B", *some), 2), (benchmark("D", (2, 3, 3), 4), 4), (benchmark("D", (2, 2, 3), 2), 2),
        (_shared(benchmark("C", *some)), 4), (_odd(benchmark("B", *some)), 5),
        (benchmark("C", num_games=0), 4),
    ]  # fmt: skip
    raws = [dump(data, protocol, optimize=optimize) for data, protocol in made for optimize in (False, True)]
    return [list(_opcodes(raw)) for raw in raws]


def _opcodes(raw: bytes) -> Iterator[bytes]:
    places = [(position or 0, opcode.name) for opcode, _, position in pickletools.genops(raw)]
    ends = [position for position, _ in places[1:]] + [len(raw)]
    for (start, name), end in zip(places, ends, strict=True):
        if name != "FRAME":
            yield raw[start:end]


# -- opcodes ------------------------------------------------------------------------------------------


def _place(draw: Random, chunks: Chunks) -> int:
    """Any opcode but PROTO, which would only end it all."""
    return draw.randrange(1, len(chunks)) if len(chunks) > 1 else 0


def _one_of_kind(draw: Random, chunks: Chunks, kinds: bytes) -> int:
    found = [at for at, chunk in enumerate(chunks) if chunk[:1] in kinds and chunk]
    return draw.choice(found) if found else _place(draw, chunks)


def _any_chunk(draw: Random) -> bytes:
    kind = draw.randrange(8)
    if kind == 0:
        return draw.choice(_REFUSED)
    if kind == 1:
        return number(draw.choice(_NUMBERS))
    if kind == 2:
        return text(draw.choice(_TEXTS))
    if kind == 3:
        return recall(draw.choice((draw.randrange(40), draw.randrange(2**32))))
    if kind == 4:
        return draw.choice(draw.choice(samples()))
    return draw.choice(_BARE)


def _replace(draw: Random, chunks: Chunks) -> None:
    chunks[_place(draw, chunks)] = _any_chunk(draw)


def _insert(draw: Random, chunks: Chunks) -> None:
    chunks.insert(_place(draw, chunks), _any_chunk(draw))


def _remove(draw: Random, chunks: Chunks) -> None:
    del chunks[_place(draw, chunks)]


def _remove_several(draw: Random, chunks: Chunks) -> None:
    start = _place(draw, chunks)
    del chunks[start : start + draw.randrange(1, 30)]


def _double(draw: Random, chunks: Chunks) -> None:
    start = _place(draw, chunks)
    piece = chunks[start : start + draw.choice((1, 2, 5, 20, 60))]
    chunks[start:start] = piece * draw.choice((1, 1, 1, 2, 30))


def _move(draw: Random, chunks: Chunks) -> None:
    start = _place(draw, chunks)
    end = start + draw.randrange(1, 40)
    piece = chunks[start:end]
    del chunks[start:end]
    where = _place(draw, chunks)
    chunks[where:where] = piece


def _swap(draw: Random, chunks: Chunks) -> None:
    one, other = _place(draw, chunks), _place(draw, chunks)
    chunks[one], chunks[other] = chunks[other], chunks[one]


def _change_memo(draw: Random, chunks: Chunks) -> None:
    at = _one_of_kind(draw, chunks, b"hjqr")
    index = int.from_bytes(chunks[at][1:5], "little") + draw.choice((-2, -1, 1, 2, 256, 2**31))
    index = draw.choice((index, draw.randrange(60))) % 2**32
    if chunks[at][:1] in b"qr":
        chunks[at] = b"r" + index.to_bytes(4, "little") if index > 255 else b"q" + bytes((index,))
    else:
        chunks[at] = recall(index)


def _change_number(draw: Random, chunks: Chunks) -> None:
    chunks[_one_of_kind(draw, chunks, b"KMJ\x8a\x88\x89")] = number(draw.choice(_NUMBERS))


def _change_text(draw: Random, chunks: Chunks) -> None:
    chunks[_one_of_kind(draw, chunks, b"X\x8c")] = text(draw.choice(_TEXTS))


def _change_length(draw: Random, chunks: Chunks) -> None:
    """The length of a text or number, and not its bytes."""
    at = _one_of_kind(draw, chunks, b"X\x8c\x8a")
    chunk = chunks[at]
    if len(chunk) > 1:
        chunks[at] = (
            chunk[:1] + bytes((draw.choice((0, 1, chunk[1] - 1, chunk[1] + 1, 255)) % 256,)) + chunk[2:]
        )


def _change_class(draw: Random, chunks: Chunks) -> None:
    at = _one_of_kind(draw, chunks, b"c\x93")
    names = [
        name for chunk in draw.choice(samples()) if chunk[:1] == b"c" for name in chunk[1:].split(b"\n")[:2]
    ]
    module = draw.choice(names or [b"os"]).decode()
    chunks[at] = draw.choice((named(module, "GameConfig"), f"c{module}\nGameSnapshot\n".encode()))


def _splice(draw: Random, chunks: Chunks) -> None:
    """The beginning of this file and the end of another."""
    other = draw.choice(samples())
    chunks[_place(draw, chunks) :] = other[draw.randrange(len(other)) :]


def _borrow(draw: Random, chunks: Chunks) -> None:
    """A piece of another file in between."""
    other = draw.choice(samples())
    start, at = draw.randrange(len(other)), _place(draw, chunks)
    chunks[at : at + draw.choice((0, 0, 5, 20))] = other[start : start + draw.randrange(1, 40)]


def _attack(draw: Random, chunks: Chunks) -> None:
    """A call in between."""
    chunks.insert(_place(draw, chunks), draw.choice(CALLS).raw[2:60])


def _deepen(draw: Random, chunks: Chunks) -> None:
    """A value deep in containers."""
    at, depth = _place(draw, chunks), draw.choice((3, 30, 3000))
    opening, closing = draw.choice(((b"]", b"a"), (b"", b"\x85"), (b"(", b"t"), (b"](", b"e")))
    chunks[at] = opening * depth + chunks[at] + closing * depth


def _exchange(draw: Random, chunks: Chunks) -> None:
    """A plain value for another, so that the stack comes out right."""
    values = b"KMJ\x8a\x88\x89NX\x8cG"
    chunks[_one_of_kind(draw, chunks, values)] = draw.choice(
        (b"N", b"]", b"}", b")", b"\x88", b"G" + draw.randbytes(8), number(draw.choice(_NUMBERS)))
    )


def _row(draw: Random, chunks: Chunks) -> slice:
    """From the end of one record to the end of another: mostly, a row."""
    ends = [at + 1 for at, chunk in enumerate(chunks) if chunk in (b"b", b"u")]
    if len(ends) < 2:
        return slice(_place(draw, chunks), len(chunks))
    first = draw.randrange(len(ends) - 1)
    return slice(ends[first], ends[first + 1])


def _double_row(draw: Random, chunks: Chunks) -> None:
    row = _row(draw, chunks)
    chunks[row.start : row.start] = chunks[row] * draw.choice((1, 1, 2, 40))


def _remove_row(draw: Random, chunks: Chunks) -> None:
    del chunks[_row(draw, chunks)]


def _move_row(draw: Random, chunks: Chunks) -> None:
    row = _row(draw, chunks)
    piece = chunks[row]
    del chunks[row]
    where = _row(draw, chunks).start
    chunks[where:where] = piece


def _leave_memo_out(draw: Random, chunks: Chunks) -> None:
    """An idle memo entry less, so that all that come after are read under another number."""
    del chunks[_one_of_kind(draw, chunks, b"\x94q")]


Mutator = Callable[[Random, Chunks], None]
_GENTLE: list[Mutator] = [
    _change_number, _change_number, _change_text, _exchange, _exchange, _change_memo, _double_row,
    _remove_row, _move_row, _leave_memo_out,
]  # fmt: skip
_ROUGH: list[Mutator] = [
    _replace, _replace, _insert, _remove, _remove_several, _double, _move, _swap, _change_memo,
    _change_length, _change_class, _splice, _borrow, _attack, _deepen,
]  # fmt: skip

# -- bytes --------------------------------------------------------------------------------------------


def _flip(draw: Random, raw: bytearray) -> None:
    raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)


def _set(draw: Random, raw: bytearray) -> None:
    raw[draw.randrange(len(raw))] = draw.choice((draw.randrange(256), draw.choice(_BYTES)))


def _cut(draw: Random, raw: bytearray) -> None:
    start = draw.randrange(len(raw))
    del raw[start : start + draw.choice((1, 2, 4, 20))]


def _truncate(draw: Random, raw: bytearray) -> None:
    del raw[draw.randrange(len(raw)) :]


def _stuff(draw: Random, raw: bytearray) -> None:
    at = draw.randrange(len(raw))
    raw[at:at] = draw.randbytes(draw.choice((1, 2, 4, 16)))


def _repeat(draw: Random, raw: bytearray) -> None:
    start, at = draw.randrange(len(raw)), draw.randrange(len(raw))
    raw[at:at] = raw[start : start + draw.choice((1, 4, 40, 200))]


_OF_BYTES: list[Callable[[Random, bytearray], None]] = [
    _flip,
    _flip,
    _set,
    _set,
    _cut,
    _truncate,
    _stuff,
    _repeat,
]


def _framed(draw: Random, content: bytes) -> bytes:
    """In one frame or in two, of the right length or not."""
    cut = draw.choice((len(content), len(content), draw.randrange(2, len(content) + 1)))
    lie = draw.choice((0, 0, 0, 0, 0, -1, 1, 2**62, 2**63))
    first = frame(content[2:cut], (cut - 2 + lie) % 2**64)
    return content[:2] + first + (frame(content[cut:]) if cut < len(content) else b"")


def mutated(seed: int, number_: int) -> bytes:
    """One changed file: the `number_`-th of this seed."""
    draw = Random(f"{seed}/{number_}")
    chunks = list(draw.choice(samples()))
    how = draw.choice(("gentle", "gentle", "rough", "bytes"))
    if how != "bytes":
        for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 6))):
            if chunks:  # there may be nothing left to change
                draw.choice(_GENTLE if how == "gentle" else _ROUGH)(draw, chunks)
    content = b"".join(chunks)
    raw = bytearray(_framed(draw, content) if draw.random() < 0.3 and len(content) > 2 else content)
    for _ in range(draw.choice((1, 1, 1, 2, 3)) if how == "bytes" else draw.choice((0, 0, 0, 0, 0, 1))):
        if raw:
            draw.choice(_OF_BYTES)(draw, raw)
    return bytes(raw)
