"""Files whose bytes are not what they claim: frames, marks, the stack, the memo, lengths, texts, keys."""

from __future__ import annotations

import struct

from sgdb.errors import DamagedPickleError, LayoutError, SgdbError, UnsafePickleError
from tests.hostile.cases import (
    CONFIG,
    SNAPSHOT,
    Case,
    benchmark,
    beside,
    config,
    game,
    old,
    result,
)
from tests.legacy import attributes, frame, mapping, number, recall, sequence, stream, text

GOOD = benchmark() + b"."
_ALL_ONES = b"\xff" * 8


def _damaged(name: str, raw: bytes, words: str, why: str) -> Case:
    return Case(name, raw, DamagedPickleError, words, why)


def _unsafe(name: str, raw: bytes, words: str, why: str, unmarked: int = -1) -> Case:
    return Case(name, raw, UnsafePickleError, words, why, unmarked)


def _long(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "little") + raw


# -- beginning, end and frames ------------------------------------------------------------------------

_ENDS = [
    _damaged("empty", b"", "after 0 bytes", "no byte at all"),
    _damaged("only-proto", b"\x80\x04", "after 2 bytes", "nothing behind the first opcode"),
    _damaged("half-proto", b"\x80", "after 1 bytes", "not even that"),
    _damaged("only-stop", stream(), "unfinished values", "an end with nothing before it"),
    _damaged("no-stop", b"\x80\x04" + benchmark(), "the file ends in the middle of the pickle", "no end"),
    _damaged("trailing-newline", b"\x80\x04" + GOOD + b"\n", "more bytes follow", "one byte too many"),
    _damaged("trailing-zeros", b"\x80\x04" + GOOD + bytes(4096), "more bytes follow", "a disk's padding"),
    _damaged("two-pickles", (b"\x80\x04" + GOOD) * 2, "more bytes follow", "which of the two is meant?"),
    _damaged("two-values", stream(benchmark() + benchmark()), "unfinished values",
        "one of them would be lost"),
    _unsafe("proto-0", stream(benchmark(), protocol=0), "pickle protocol 0", "no file of protocol 0 says so",
        0),
    _unsafe("proto-1", stream(benchmark(), protocol=1), "pickle protocol 1", "nor one of protocol 1", 1),
    _unsafe("proto-6", stream(benchmark(), protocol=6), "pickle protocol 6",
        "a protocol that does not exist yet"),
    _unsafe("proto-255", stream(benchmark(), protocol=255), "pickle protocol 255", "nor ever will"),
    _unsafe("proto-twice", stream(b"\x80\x02" + benchmark()), "opcode PROTO,",
        "the protocol changes on the way"),
    _unsafe("proto-late", b"N0" + b"\x80\x04" + GOOD, "no PROTO opcode", "something stands before it", 1),
    _unsafe("unmarked-0", old(b"(lp0\n"), "no PROTO opcode", "protocol 0 without anything evil", 0),
    _unsafe("unmarked-1", old(b"]q\x00"), "no PROTO opcode", "protocol 1 without anything evil", 1),
    _damaged("frame-too-long", b"\x80\x04" + frame(GOOD, len(GOOD) + 5), "stops inside a frame",
        "the file is shorter"),
    _damaged("frame-too-short", b"\x80\x04" + frame(GOOD, len(GOOD) - 1) + b".", "more bytes follow",
        "an end outside its frame, and another behind it"),
    _damaged("frame-cuts-an-opcode", b"\x80\x04" + frame(GOOD, 4), "an opcode crosses the end of its frame",
        "a frame ends in the middle of a text"),
    _damaged("frame-in-a-frame", b"\x80\x04" + frame(frame(GOOD)), "a frame inside a frame",
        "frames do not nest"),
    _damaged("frame-2**63", b"\x80\x04" + frame(GOOD, 2**63), "a frame of impossible length",
        "more than a signed length"),
    _damaged("frame-2**64-1", b"\x80\x04" + frame(GOOD, 2**64 - 1), "a frame of impossible length",
        "minus one"),
    _damaged("frame-2**40", b"\x80\x04" + frame(GOOD, 2**40), "stops inside a frame",
        "a terabyte, asked for at once"),
    _damaged("frame-cut-off", b"\x80\x04\x95\x10\0\0", "the file ends in the middle",
        "not even its length is there"),
]  # fmt: skip

# -- marks and the stack ------------------------------------------------------------------------------

_STACK = [
    _damaged("mark-missing", stream(b"]N" + b"e"), "a MARK is missing", "APPENDS without its beginning"),
    _damaged("mark-left-over", stream(b"(" + benchmark()), "unfinished values",
        "a beginning without its end"),
    _damaged("mark-at-the-top", stream(benchmark() + b"("), "unfinished values",
        "the same behind the benchmark"),
    _damaged("tuple-without-a-mark", stream(b"Nt"), "a MARK is missing", "TUPLE without its beginning"),
    _damaged("appends-to-nothing", stream(b"(Ne"), "finds no list", "nothing below the mark"),
    _damaged("appends-to-a-dict", stream(b"}(Ne"), "finds no list", "APPENDS to a dict"),
    _damaged("appends-to-a-text", stream(text("x") + b"(Ne"), "finds no list",
        "APPENDS calls `append` on anything"),
    _damaged("append-to-an-instance", beside(config() + b"Na"), "finds no list", "or `extend`"),
    _damaged("setitems-on-a-list", stream(b"](" + text("x") + b"Nu"), "finds no dict", "SETITEMS on a list"),
    _damaged("setitems-odd", stream(b"}(" + text("x") + b"u"), "a dict entry without a value",
        "a key too many"),
    _damaged("setitem-on-nothing", stream(b"NNs"), "finds no dict", "less on the stack than is taken"),
    _damaged("append-on-nothing", stream(b"Na"), "finds no list", "the same for APPEND"),
    _damaged("build-on-nothing", stream(b"b"), "finds nothing", "the same for BUILD"),
    _damaged("newobj-on-nothing", stream(b")\x81"), "finds nothing", "the same for NEWOBJ"),
    _damaged("tuple3-on-nothing", stream(b"NN\x87"), "finds nothing", "the same for TUPLE3"),
    _damaged("below-the-mark", stream(b"N(\x85"), "finds nothing", "a value from before the mark"),
    _unsafe("build-below-the-mark", beside(CONFIG + b")\x81(}b"), "a BUILD of something else",
        "an instance from before the mark"),
    _unsafe("pop", beside(b"N"), "opcode POP,", "values that are made and thrown away"),
    _unsafe("pop-everything", stream(b"N00"), "opcode POP,", "more than there are"),
    _unsafe("dup", beside(b"]2" + b"0"), "opcode DUP,", "the same object twice, without the memo"),
    _unsafe("pop-mark", stream(b"(NNN1" + benchmark()), "opcode POP_MARK,", "many values thrown away"),
    _unsafe("list-opcode", beside(b"(NNl"), "opcode LIST,", "as protocol 0 makes lists"),
    _unsafe("dict-opcode", beside(b"(NNd"), "opcode DICT,", "as protocol 0 makes dicts, with any key"),
    _unsafe("unknown-opcode", stream(b"\xfe"), "unknown opcode 0xfe", "no opcode at all"),
    _unsafe("zero-opcode", stream(b"\x00"), "unknown opcode 0x00", "a disk's zeros"),
]  # fmt: skip

# -- the memo -----------------------------------------------------------------------------------------

_MEMO = [
    _damaged("memo-early", stream(recall(0)), "read before it is stored", "nothing has been stored"),
    _damaged("memo-far", stream(b"j\xff\xff\xff\xff"), "memo entry 4294967295 is read", "the largest index"),
    _damaged("memo-of-nothing", stream(b"\x94"), "a memo entry of nothing", "MEMOIZE with an empty stack"),
    _damaged("memo-of-a-mark", stream(b"N(\x94"), "a memo entry of nothing", "MEMOIZE right after a mark"),
    _unsafe("memo-gap", beside(b"Nq\x07"), "memo index 7 out of sequence", "an index that leaves others out"),
    _unsafe("memo-huge", beside(b"Nr\x00\x00\x00\x08"), "memo index 134217728 out of sequence",
        "nine bytes for a table of a gigabyte"),
    _unsafe("memo-largest", beside(b"Nr\xff\xff\xff\xff"), "memo index 4294967295 out of sequence",
        "or of many"),
    _unsafe("memo-overwritten", stream(text("a") + b"q\x00q\x00"), "memo index 0 out of sequence",
        "an entry takes another's place"),
    _unsafe("memo-swapped", beside(mapping(text("a") + b"q\x00", text("b") + b"q\x00")), "out of sequence",
        "a name that means something else from here on"),
    _unsafe("memo-get-text", beside(b"g0\n"), "opcode GET,", "an index as digits"),
    _unsafe("memo-get-negative", beside(b"g-1\n"), "opcode GET,", "an index below zero"),
    _unsafe("memo-put-text", beside(b"Np0\n"), "opcode PUT,", "an index as digits"),
    _unsafe("memo-put-digits", beside(b"Np" + b"9" * 5000 + b"\n"), "opcode PUT,",
        "an index of five thousand digits"),
    _unsafe("list-in-itself", stream(benchmark(x=b"]\x94" + recall(0) + b"a")),
        "read back before it is finished", "a list that holds itself"),
    _unsafe("list-in-a-tuple-in-itself", stream(benchmark(x=b"]\x94(" + recall(0) + b"\x85e")),
        "read back before it is finished", "by way of a tuple"),
    _unsafe("dict-in-itself", stream(benchmark(x=b"}\x94" + text("x") + recall(0) + b"s")),
        "read back before it is finished", "a dict that holds itself"),
    _unsafe("grown-after-use", stream(benchmark(x=sequence(b"]\x94", recall(0) + b"Na"))),
        "read back before it is finished", "what has been used is changed"),
    _unsafe("results-grown-after-use",
        stream(benchmark(results=mapping(text("a"), b"]\x94(" + result() + b"e",
                                         text("b"), recall(0) + result(1) + b"a"))),
        "read back before it is finished", "another bot's results get one more"),
    _damaged("memo-in-a-class-name", beside(recall(3) + recall(4) + b"\x93"), "read before it is stored",
        "a class by two texts that are not there"),
]  # fmt: skip

# -- texts, numbers and bytes -------------------------------------------------------------------------

_VALUES = [
    _damaged("text-too-long", stream(b"X\xff\xff\xff\xff"), "a text of 4294967295 bytes",
        "four gigabytes, asked for at once"),
    _damaged("text-longer-than-the-file", stream(b"X\x00\x00\x10\x00abc"), "the file ends in the middle",
        "a megabyte that is not there"),
    _damaged("short-text-cut-off", b"\x80\x04\x8c\xffabc.", "the file ends in the middle",
        "255 bytes that are not there"),
    _damaged("text-of-a-megabyte-and-one", stream(benchmark(x=b"X" + _long(b"x" * 1048577))),
        "a text of 1048577 bytes", "and really there"),
    _damaged("text-not-utf-8", stream(benchmark(x=b"\x8c\x02\xff\xfe")), "a text that is not UTF-8",
        "bytes that are no text"),
    _damaged("text-overlong", stream(benchmark(x=b"\x8c\x02\xc0\x80")), "a text that is not UTF-8",
        "a NUL in disguise"),
    _damaged("text-beyond-unicode", stream(benchmark(x=b"\x8c\x04\xf4\x90\x80\x80")),
        "a text that is not UTF-8", "no such character"),
    _unsafe("binunicode8", beside(b"\x8d" + _ALL_ONES), "opcode BINUNICODE8,", "a length of 2**64 - 1"),
    _unsafe("binbytes", beside(b"B" + _long(b"x")), "opcode BINBYTES,", "bytes are no value of a benchmark"),
    _unsafe("binbytes-4-gigabytes", beside(b"B\xff\xff\xff\xff"), "opcode BINBYTES,",
        "of which there are none"),
    _unsafe("binbytes8", beside(b"\x8e" + _ALL_ONES), "opcode BINBYTES8,", "2**64 - 1 of them"),
    _unsafe("bytearray8-terabyte", beside(b"\x96" + (2**40).to_bytes(8, "little")), "opcode BYTEARRAY8,",
        "a terabyte, to be cleared first"),
    _unsafe("string-0", old(b"S'\\x00'\n"), "no PROTO opcode", "a text with escapes", 0),
    _unsafe("string", beside(b"S'it'\n", 2), "opcode STRING,", "bytes of Python 2 in some encoding"),
    _unsafe("binstring-negative", beside(b"T\xff\xff\xff\xff", 2), "opcode BINSTRING,",
        "a length below zero"),
    _unsafe("unicode-escapes", beside(b"V\\ud800\\u0000\n", 2), "opcode UNICODE,", "a text with escapes"),
    _unsafe("int-text", beside(b"I1\n", 2), "opcode INT,", "digits"),
    _unsafe("int-bool", beside(b"I01\n", 2), "opcode INT,", "digits that mean True"),
    _unsafe("int-digits", beside(b"I" + b"9" * 200_000 + b"\n", 2), "opcode INT,",
        "digits without end: quadratic to read"),
    _unsafe("long-digits", beside(b"L" + b"7" * 4000 + b"L\n", 2), "opcode LONG,", "digits without end"),
    _unsafe("long4-negative", beside(b"\x8b\xff\xff\xff\xff"), "opcode LONG4,", "a length below zero"),
    _unsafe("long4-2-gigabytes", beside(b"\x8b\xff\xff\xff\x7f"), "opcode LONG4,",
        "a number of sixteen billion bits"),
    _unsafe("long4-large", beside(b"\x8b" + _long(b"\x7f" * 100_000)), "opcode LONG4,",
        "a number of eight hundred thousand bits"),
    _unsafe("float-text", beside(b"F1e400\n", 2), "opcode FLOAT,", "a float in digits"),
    _unsafe("set", beside(b"\x8f(NNN\x90"), "opcode EMPTY_SET,", "a set"),
    _unsafe("frozenset", beside(b"(NN\x91"), "opcode FROZENSET,", "a set whose members are hashed at once"),
    _damaged("long1-cut-off", b"\x80\x04\x8a\xff\x01.", "the file ends in the middle",
        "a number that is not there"),
    _damaged("float-cut-off", b"\x80\x04G\x00.", "the file ends in the middle", "half a float"),
]  # fmt: skip

# -- keys ---------------------------------------------------------------------------------------------

_NAN = b"G" + struct.pack(">d", float("nan"))


def _key(name: str, key: bytes, words: str, why: str, error: type[SgdbError] = UnsafePickleError) -> Case:
    return Case(f"key-{name}", stream(benchmark(x=mapping(key, b"N"))), error, words, why)


_KEYS = [
    _key("number", number(1), "a dict key of type int", "a number"),
    _key("none", b"N", "a dict key of type NoneType", "nothing"),
    _key("bool", b"\x88", "a dict key of type bool", "equal to 1"),
    _key("nan", _NAN, "a dict key of type float", "not equal to itself"),
    _key("tuple", b"N\x85", "a dict key of type tuple", "hashed as deep as it goes"),
    _key("list", b"]", "a dict key of type list", "cannot be hashed"),
    _key("dict", b"}", "a dict key of type dict", "nor this"),
    _key("class", CONFIG, "a dict key of type ClassRef", "a class"),
    _key("instance", config(), "a dict key of type Instance", "its class decides what its hash is"),
    Case("key-twice", stream(benchmark(x=mapping(text("a"), b"N", text("a"), b"N"))), DamagedPickleError,
        "a dict key that occurs twice", "which of the two is meant?"),
    Case("key-twice-later",
        stream(attributes(config=config(), games=b"]") + text("games") + sequence(game()) + b"s"),
        DamagedPickleError, "a dict key that occurs twice", "games that replace others"),
    Case("bot-twice",
        stream(benchmark(results=mapping(text("b"), sequence(result()), text("b"), sequence(result())))),
        DamagedPickleError, "a dict key that occurs twice", "a bot's results that replace others"),
]  # fmt: skip

# -- rows in the wrong place --------------------------------------------------------------------------

_PLACE = "games or results in an unexpected place"
_ROWS = "games or results in something else than a list of nothing else"
_PLACES = [
    Case(f"rows-{name}", stream(raw), LayoutError, words, why)
    for name, raw, words, why in (
        ("in-a-tuple", benchmark(games=game() + b"\x85"), _ROWS, "games in a tuple"),
        ("among-numbers", benchmark(games=sequence(game(), number(1))), _ROWS, "a number among games"),
        ("after-numbers", benchmark(games=sequence(number(1)) + b"(" + game() + b"e"), _ROWS, "games last"),
        ("mixed", benchmark(games=sequence(game(), result())), "games and results in one list", "both"),
        ("swapped", benchmark(games=sequence(result())), "games holds results", "results for games"),
        ("results", benchmark(results=mapping(text("b"), sequence(game()))), "holds games", "no results"),
        ("in-the-config", benchmark(config=config(x=sequence(game()))), _PLACE, "games in the config"),
        ("in-a-game", benchmark(games=sequence(game(x=sequence(game(1))))), _PLACE, "games in a game"),
        ("for-a-board", benchmark(games=sequence(game(board=sequence(game(1))))), _PLACE, "for a board"),
        ("beside", benchmark(more=sequence(game())), _PLACE, "games under another key"),
        ("not-in-a-list", benchmark(games=game()), "games is a GameSnapshot, not a list", "one game"),
        ("in-a-dict", benchmark(games=attributes(a=game())), "games is a dict, not a list", "in a dict"),
        ("twice-named", benchmark(games=sequence(attributes(board_state=b"]", board=b"]", seed=b"N"))),
         "a game with both names of one field", "one field under two names"),
    )
] + [
    Case("top-level-list", stream(sequence(game())), LayoutError,
        "a list of games or results, not a benchmark", "no dict"),
    Case("top-level-class", stream(SNAPSHOT), LayoutError, "not a benchmark", "a class"),
    Case("top-level-instance", stream(config()), LayoutError, "a GameConfig, not a benchmark", "an object"),
    Case("top-level-text", stream(text("games")), LayoutError, "not a benchmark", "a text"),
    Case("top-level-none", stream(b"N"), LayoutError, "None, not a benchmark", "nothing"),
    Case("no-games", stream(attributes(results=b"}")), LayoutError, "a dict without 'games'", "another dict"),
    Case("no-config", stream(attributes(games=b"]", results=b"}")), LayoutError, "has a config",
        "nothing about the boards"),
    Case("results-a-list", stream(benchmark(results=sequence(result()))), LayoutError,
        "not a dict of lists by bot", "no bots"),
    Case("results-a-dict-of-dicts", stream(benchmark(results=attributes(b=attributes(x=result())))),
        LayoutError, "not a list of results", "dicts for lists"),
]  # fmt: skip

STREAMS = [*_ENDS, *_STACK, *_MEMO, *_VALUES, *_KEYS, *_PLACES]
