"""Small files that ask for much: time, memory, depth, digits, work in the database."""

from __future__ import annotations

from sgdb.errors import DamagedPickleError, LayoutError, UnsafePickleError, ValueRefusedError
from tests.hostile.cases import (
    CONFIG,
    PERFORMANCE,
    SNAPSHOT,
    Case,
    benchmark,
    config,
    game,
    result,
)
from tests.legacy import (
    MODULES,
    attributes,
    mapping,
    named,
    number,
    recall,
    sequence,
    stream,
    text,
)

_SHARED = "more shared values than a file of this size accounts for"


def _memoized(value: bytes) -> bytes:
    """A list or dict by `sequence` or `mapping`, with a memo entry."""
    return value[:1] + b"\x94" + value[1:]


def _results(*rows: bytes, **entries: bytes) -> bytes:
    """A benchmark with these results of one bot."""
    return benchmark(results=mapping(text("b"), sequence(*rows)), **entries)


# -- depth and sharing --------------------------------------------------------------------------------


def _laughs(levels: int, pair: bytes, first: bytes) -> bytes:
    """A list of values each of which holds the one before twice; `pair` makes a container of two values."""
    return first + b"\x94" + b"".join(recall(i) * 2 + pair + b"\x94" for i in range(levels))


_TUPLES = b"(" + _laughs(40, b"\x86", b")") + b"t"
_LISTS = b"](" + b"]\x94(Ne" + b"".join(b"]\x94(" + recall(i) * 2 + b"e" for i in range(40)) + b"e"
_DICTS = b"](" + b"}\x94" + b"".join(
    b"}\x94(" + text(f"a{i}") + recall(i) + text(f"b{i}") + recall(i) + b"u" for i in range(40)
) + b"e"  # fmt: skip

_DEEP = [
    Case("deep-lists", stream(benchmark(x=b"]" * 50_000 + b"a" * 49_999)), ValueRefusedError,
        "nested too deeply", "fifty thousand lists in each other"),
    Case("deep-tuples", stream(benchmark(x=b")" + b"\x85" * 50_000)), ValueRefusedError, "nested too deeply",
        "the same in tuples"),
    Case("deep-dicts", stream(benchmark(x=(b"}" + text("a")) * 30_000 + b"N" + b"s" * 30_000)),
        ValueRefusedError, "nested too deeply", "the same in dicts"),
    Case("deep-board", stream(benchmark(games=sequence(game(board=b")" + b"\x85" * 30_000)))),
        ValueRefusedError, "field board: 1 rows", "the same for a board"),
    Case("deep-configs",
        stream(benchmark(config=(CONFIG + b")\x81}" + text("x")) * 20_000 + b"N" + b"sb" * 20_000)),
        LayoutError, "more values in one piece", "records in each other"),
    Case("deep-key", stream(benchmark(x=mapping(b")" + b"\x85" * 200_000, b"N"))), UnsafePickleError,
        "a dict key of type tuple", "hashing it goes as deep as it does, on the machine's own stack"),
    Case("laughing-key",
        stream(benchmark(x=mapping(_laughs(40, b"\x86", b")"), b"N"))),
        LayoutError, _SHARED, "hashing it takes 2**40 steps"),
    Case("laughing-tuples", stream(benchmark(x=_TUPLES)), LayoutError, _SHARED, "2**40 values in 250 bytes"),
    Case("laughing-lists", stream(benchmark(x=_LISTS)), LayoutError, _SHARED, "the same in lists"),
    Case("laughing-dicts", stream(benchmark(x=_DICTS)), LayoutError, _SHARED, "the same in dicts"),
    Case("laughing-count", stream(_results(result(tiles_cleared=_TUPLES))), LayoutError, _SHARED,
        "the same where a message would show it"),
    Case("laughing-board",
        stream(benchmark(config=config(1000, 1000), games=sequence(game(
            board=sequence(_memoized(sequence(*[number(1)] * 1000)), recall(0) * 999),
            config=config(1000, 1000))))),
        LayoutError, _SHARED, "a board of a million cells whose rows are all the same list"),
    Case("laughing-results",
        stream(benchmark(results=mapping(text("b0"), _memoized(sequence(*map(result, range(100)))),
            *(text(f"b{i}") + recall(0) for i in range(1, 400))))),
        LayoutError, _SHARED, "one list of results under four hundred names"),
    Case("laughing-games",
        stream(benchmark(games=sequence(game(x=sequence(*[b"N"] * 100)) + b"\x94", recall(0) * 3000))),
        LayoutError, _SHARED, "one game, listed three thousand times"),
]  # fmt: skip

# -- work out of proportion, whoever reads the bytes --------------------------------------------------

# The class, a key, and then configs whose states have equal hashes: those of numbers are modulo 2**61 - 1.
_EQUAL_HASHES = b"".join(
    recall(0) + b")\x81}" + recall(1) + number(1 + k * (2**61 - 1)) + b"sb" for k in range(12_000)
)


def _odd_boards(count: int) -> bytes:
    """Games that look like each other to the last byte of the board, which is no board in every second."""
    keys = ("board", "config", "seed", "game_id")
    table = sequence(SNAPSHOT + b"\x94", *(text(key) + b"\x94" for key in keys), config(1, 6) + b"\x94")
    even, odd = b"](](" + b"K\x01" * 6 + b"ee", b"](](" + b"K\x01" * 3 + b"J\x01\x00\x00\x00Nee"
    rows = [
        recall(0) + b")\x81}(" + recall(1) + (odd if i % 2 else even) + recall(2) + recall(5) + recall(3)
        + number(5) + recall(4) + b"J" + i.to_bytes(4, "little") + b"ub"
        for i in range(count)
    ]  # fmt: skip
    return attributes(table=table, games=sequence(*rows), config=config(1, 6), base_seed=number(1))


def _recalled_texts(texts: int, reads: int) -> bytes:
    """Rows of many texts that look alike, so that they are read in one step, and reads of one of them."""
    keys = sequence(PERFORMANCE + b"\x94", *(text(f"k{i}") + b"\x94" for i in range(texts + 1)))
    row = b"".join(recall(i + 1) + b"\x8c\x00\x94" for i in range(texts)) + recall(texts + 1) + b"K\x01"
    rows = sequence(*[recall(0) + b")\x81}(" + row + b"ub"] * 5)
    last = recall(1 + texts + 1 + 5 * texts - 2)
    results = mapping(text("b"), rows)
    return attributes(keys=keys, games=b"]", results=results, reads=sequence(*[last] * reads))


_TEXT = text("t" * 300_000) + b"\x94"
_A_GAME = named(MODULES["A"], "GameSnapshot")

WORK = [
    Case("boards-of-a-million-cells",
        stream(_results(*map(result, range(50)), config=config(1000, 1000))),
        LayoutError, "boards of 1000x1000x3 are too large",
        "fifty results ask for fifty million cells to be drawn"),
    Case("boards-out-of-proportion",
        stream(_results(*map(result, range(100)), config=config(500, 500))),
        LayoutError, "out of proportion to a file of", "a hundred ask for twenty-five million"),
    Case("a-board-of-a-million-rows",
        stream(_results(result(), config=config(10**6, 1, 2**31 - 1))),
        LayoutError, "too large", "one result asks for a million lists"),
    Case("game-beyond-the-last", stream(_results(result(2_000_001))), ValueRefusedError,
        "results for game 2000001", "a walk along more seeds than anybody has games"),
    Case("game-2**31-1", stream(_results(result(2**31 - 1))), ValueRefusedError,
        "results for game 2147483647", "a walk of minutes"),
    Case("far-1-2-3-4-5-6-7-8",
        stream(attributes(games=sequence(game(2_000_000, cls=_A_GAME)), results=b"}")), LayoutError,
        "cannot be found from the seeds",
        "no base seed, eight numbers in the name, and a game two million seeds away from each"),
    Case("near-1-2-3-4-5-6-7-8", stream(attributes(games=sequence(game(100, cls=_A_GAME)), results=b"}")),
        LayoutError, "cannot be found from the seeds", "ten thousand streams to look along"),
    Case("hashes-alike",
        stream(attributes(games=b"]", x=sequence(CONFIG + b"\x94", text("n") + b"\x94", _EQUAL_HASHES))),
        LayoutError, "has a config", "records that a table of them cannot tell apart: quadratic to look up"),
    Case("odd-boards", stream(_odd_boards(6000)), ValueRefusedError, "a class where plain data is expected",
        "rows that fit a pattern up to the last byte"),
    Case("texts-read-back", stream(_recalled_texts(6000, 60_000)), ValueRefusedError,
        "field game_id is missing", "texts looked for among thousands, thousands of times"),
    Case("text-in-every-row",
        stream(_results(result(note=_TEXT), *(result(i, note=recall(0)) for i in range(1, 300)))),
        ValueRefusedError, "hold more text than a file of this size accounts for",
        "a text named by three hundred rows: it would fill a disk"),
    Case("name-in-every-row",
        stream(_results(result(bot_name=_TEXT), *(result(i, bot_name=recall(0)) for i in range(1, 300)))),
        ValueRefusedError, "hold more text than a file of this size accounts for",
        "the same for the rows' own names"),
    Case("text-under-every-key", stream(benchmark(x=_TEXT, **{f"x{i}": recall(0) for i in range(300)})),
        ValueRefusedError, "more than 1048576 characters of text", "the same at the top level"),
    Case("list-in-every-game",
        stream(benchmark(games=sequence(game(x=_memoized(sequence(*[number(1)] * 9000))),
            *(game(i, x=recall(0)) for i in range(1, 80))))),
        LayoutError, _SHARED, "a long list in eighty games"),
    Case("game-2000000", stream(_results(result(2_000_000))), None, "", "the last game whose board is drawn"),
]  # fmt: skip

# -- sizes --------------------------------------------------------------------------------------------

_SIZES = [
    Case("marks", stream(b"(" * 1_200_000), DamagedPickleError, "more than 200000 values without a container",
        "nothing but beginnings"),
    Case("number-of-2039-bits", stream(benchmark(num_games=b"\x8a\xff" + b"\xff" * 254 + b"\x7f")),
        ValueRefusedError, "an integer of 2039 bits", "a number of six hundred digits for a count"),
    Case("attribute-of-2039-bits", stream(benchmark(x=b"\x8a\xff" + b"\xff" * 254 + b"\x7f")),
        ValueRefusedError, "an integer of 2039 bits is too large", "and for an attribute"),
    Case("attributes-too-many", stream(benchmark(x=sequence(*[number(1)] * 10_001))), ValueRefusedError,
        "nested too deeply or too large", "more than an attribute is for"),
    Case("config-of-ten-thousand-attributes",
        stream(benchmark(config=config(**{f"x{i}": number(1) for i in range(10_001)}))), ValueRefusedError,
        "too large", "or a record"),
    Case("empty-frames", b"\x80\x04" + (b"\x95" + bytes(8)) * 20_000 + benchmark() + b".", None, "",
        "twenty thousand frames with nothing in them: odd, and harmless"),
    Case("largest-config", stream(benchmark(config=config(*[2**31 - 1] * 3), num_games=number(2**31 - 1))),
        None, "", "the largest numbers there are, which nothing may count up to"),
]  # fmt: skip

BOMBS = [*_DEEP, *_SIZES]
