"""The parser: what it reads, and everything it refuses, by name and byte offset."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sgdb.errors import DamagedPickleError, InputRefusedError, LayoutError, SgdbError, UnsafePickleError
from sgdb.pickles.layouts import CLASSES
from sgdb.pickles.parser import PickleParser, SharedReferenceError
from tests.legacy import (
    MODULES,
    benchmark,
    dump,
    frame,
    instance,
    mapping,
    named,
    sequence,
    stream,
    text,
    write_legacy,
)
from tests.pickles.reading import parsed, parsed_somehow, read

SNAPSHOT = named(MODULES["C"], "GameSnapshot")
CONFIG = named("samegamerl.game.game_config", "GameConfig")


def tree(raw: bytes, **options: Any) -> Any:
    parser = PickleParser(io.BytesIO(raw), CLASSES, **options)
    for _ in parser.batches():
        pass
    return parser.tree


def refused(raw: bytes, kind: type[SgdbError], *words: str, remember: bool = False) -> None:
    with pytest.raises(kind) as caught:
        tree(raw, remember=remember)
    for word in words:
        assert word in caught.value.message


# -- what is read -------------------------------------------------------------------------------------

VALUES = [
    None,
    True,
    False,
    0,
    1,
    255,
    256,
    65535,
    65536,
    -1,
    2**31 - 1,
    -(2**31),
    2**31,
    -(2**31) - 1,
    2**64,
    -(2**600),
    0.0,
    -0.0,
    1.5,
    float("inf"),
    "",
    "a",
    "ü\0\ud800",
    "x" * 300,
    "y" * 70_000,
    (),
    (1,),
    (1, 2),
    (1, 2, 3),
    (1, 2, 3, 4),
    [],
    [1],
    list(range(3000)),
    {},
    {"a": 1},
    {str(i): i for i in range(2500)},
    [[[]], ({},)],
]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("python", [False, True])
def test_plain_values_come_back(protocol: int, python: bool) -> None:
    """Every plain value that a benchmark may hold, by either of CPython's picklers."""
    for value in VALUES:
        found = tree(dump(value, protocol, python=python))
        assert repr(found) == repr(value)
    assert repr(tree(dump(VALUES, protocol), remember=True)) == repr(VALUES)


def test_a_stream_may_give_its_bytes_in_any_pieces() -> None:
    """Reads of a few bytes, of windows, of more than a margin: all the same."""
    raw = dump(benchmark(num_games=60, bots=("a", "b")))
    expected = parsed(raw)
    for step in (1, 7, 100, 1023, 1024, 1025, 5000):
        assert parsed(raw, step=step) == expected


def test_protocol_and_tree_are_told() -> None:
    """`protocol` is the file's own."""
    parser = PickleParser(io.BytesIO(dump([], 3)), CLASSES)
    assert list(parser.batches()) == []
    assert (parser.protocol, parser.tree) == (3, [])


# -- opcodes and names that are refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("REDUCE", b"R"),
        ("INST", b"ios\nsystem\n"),
        ("OBJ", b"o"),
        ("NEWOBJ_EX", b"\x92"),
        ("EXT1", b"\x82\x01"),
        ("EXT2", b"\x83\x01\x00"),
        ("EXT4", b"\x84\x01\x00\x00\x00"),
        ("PERSID", b"Px\n"),
        ("BINPERSID", b"Q"),
        ("NEXT_BUFFER", b"\x97"),
        ("READONLY_BUFFER", b"\x98"),
        ("BYTEARRAY8", b"\x96" + b"\xff" * 8),
        ("LONG4", b"\x8b\xff\xff\xff\x7f"),
        ("LONG", b"L1L\n"),
        ("INT", b"I1\n"),
        ("FLOAT", b"F1\n"),
        ("STRING", b"S'a'\n"),
        ("UNICODE", b"Va\n"),
        ("BINBYTES", b"B\xff\xff\xff\xff"),
        ("BINBYTES8", b"\x8e"),
        ("BINUNICODE8", b"\x8d" + b"\xff" * 8),
        ("SHORT_BINBYTES", b"C\x01a"),
        ("EMPTY_SET", b"\x8f"),
        ("FROZENSET", b"\x91"),
        ("ADDITEMS", b"\x90"),
        ("POP", b"0"),
        ("DUP", b"2"),
        ("POP_MARK", b"1"),
        ("GET", b"g0\n"),
        ("PUT", b"p0\n"),
        ("LIST", b"l"),
        ("DICT", b"d"),
        ("PROTO", b"\x80\x04"),
    ],
)
def test_other_opcodes_are_refused_by_name_and_offset(name: str, code: bytes) -> None:
    """Whatever benchmark files do not use is refused before it does anything."""
    refused(stream(b"N", code), UnsafePickleError, f"opcode {name},", "at byte 3")


def test_unknown_opcodes_are_refused() -> None:
    """Bytes that are no opcode at all."""
    refused(stream(b"\xff"), UnsafePickleError, "unknown opcode 0xff at byte 2")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("os", "system"),
        ("posix", "system"),
        ("subprocess", "Popen"),
        ("copyreg", "_reconstructor"),
        ("samegamerl.evaluation.benchmark_data", "GameSnapshot.__init__"),
        ("samegamerl.evaluation.benchmark_data", "BotPerformance.__class__"),
        ("samegamerl.evaluation", "benchmark_data.GameSnapshot"),
        ("samegamerl.game.game_config", "os"),
        ("samegamerl.evaluation.benchmark_data", "gamesnapshot"),
        ("", ""),
        ("\n", "\x1b[31m"),
    ],
)
def test_classes_are_exact_pairs_of_names(module: str, name: str) -> None:
    """No dotted name, no other spelling, no other module; and the message shows no control characters."""
    with pytest.raises(UnsafePickleError) as caught:
        tree(stream(named(module, name)))
    message = caught.value.message
    assert f"unknown class {f'{module}.{name}'!a}" in message
    assert message.endswith(f"at byte {len(stream(named(module, name))) - 2}")
    if "\n" not in module:
        refused(stream(f"c{module}\n{name}\n".encode()), UnsafePickleError, "unknown class", "at byte 2")


def test_nothing_is_ever_executed(tmp_path: Path) -> None:
    """The classical attack does not even get as far as its class."""
    canary = tmp_path / "canary"

    class Attack:
        def __reduce__(self) -> Any:
            return Path.touch, (canary,)

    for protocol in (2, 3, 4, 5):
        raw = pickle.dumps({"games": [Attack()]}, protocol)
        for remember in (False, True):
            refused(
                raw,
                UnsafePickleError,
                "unknown class",
                "Path.touch" if protocol > 3 else "",
                remember=remember,
            )
    assert not canary.exists()
    pickle.loads(pickle.dumps(Attack()))
    assert canary.exists(), "the attack itself works"


def test_numpy_values_are_refused_with_the_way_out() -> None:
    """An array's first opcodes, as numpy pickles it; and its bytes, should they come first."""
    array = (
        named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    )
    with pytest.raises(UnsafePickleError, match=r"numpy.core.multiarray._reconstruct") as caught:
        tree(stream(array))
    assert "array.tolist()" in (caught.value.hint or "")
    with pytest.raises(UnsafePickleError, match="REDUCE") as caught:
        tree(stream(b"R"))
    assert "array.tolist()" in (caught.value.hint or "")


def test_checkpoints_are_told_apart() -> None:
    """A training checkpoint is a pickle of the same system, and no benchmark."""
    with pytest.raises(UnsafePickleError) as caught:
        tree(stream(named("samegamerl.training.checkpoint_data", "CheckpointData")))
    assert "checkpoint" in (caught.value.hint or "")


@pytest.mark.parametrize("protocol", [0, 1, 6, 200])
def test_other_protocols_are_refused_by_name(protocol: int) -> None:
    """0 and 1 have no PROTO opcode; later ones are not known."""
    raw = dump([1], protocol) if protocol < 2 else stream(b"N", protocol=protocol)
    with pytest.raises(
        UnsafePickleError, match=f"protocol {protocol} " if protocol > 1 else "no PROTO"
    ) as caught:
        tree(raw)
    assert "protocol=4" in (caught.value.hint or "")


# -- damaged streams ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "after 0 bytes"),
        (b"\x80", "after 1 bytes"),
        (stream(b"N") + b"x", "more bytes follow after the end of the pickle at byte 4"),
        (stream(b"N") * 2, "more bytes follow after the end of the pickle at byte 4"),
        (b"\x80\x04" + frame(b"N.") + b"\n", "more bytes follow"),
        (b"\x80\x04" + frame(b"N.", 3), "stops inside a frame at byte 12"),
        (b"\x80\x04" + frame(b"NN.", 2), "unfinished values"),
        (b"\x80\x04" + frame(b"M\x01\x02", 2) + b".", "an opcode crosses the end of its frame"),
        (b"\x80\x04" + frame(b"\x8c\x05abcde", 4) + b".", "an opcode crosses the end of its frame"),
        (b"\x80\x04" + frame(b"X\x05\x00\x00\x00abcde", 4) + b".", "an opcode crosses the end of its frame"),
        (b"\x80\x04" + frame(b"G" + b"\0" * 8, 4) + b".", "an opcode crosses the end of its frame"),
        (b"\x80\x04" + frame(b"cos\nsystem\n"[:3], 2), "without an end"),
        (b"\x80\x04" + frame(frame(b"N.")), "a frame inside a frame at byte 11"),
        (b"\x80\x04" + frame(b"N.", 2**63), "a frame of impossible length at byte 2"),
        (b"\x80\x04\x95\x01\x00", "the file ends in the middle"),
        (stream(), "unfinished values at byte 2"),
        (stream(b"NN"), "unfinished values at byte 4"),
        (stream(b"(N"), "unfinished values at byte 4"),
        (stream(b"N("), "unfinished values"),
        (stream(b"e"), "finds nothing on the stack"),
        (stream(b"N", b"e"), "a MARK is missing at byte 3"),
        (stream(b"(e"), "an opcode finds no"),
        (stream(b"N(K\x01e"), "finds no list to work on at byte 6"),
        (stream(b"a"), "finds nothing on the stack at byte 2"),
        (stream(b"Na"), "finds no list to work on at byte 3"),
        (stream(b"NNa"), "finds no list"),
        (stream(b"](K\x01a"), "finds no list"),
        (stream(b"](K\x01K\x02s"), "finds no dict"),
        (stream(b"]NNs"), "finds no dict"),
        (stream(b"}(", text("a"), b"u"), "a dict entry without a value"),
        (stream(b"\x94"), "a memo entry of nothing at byte 2"),
        (stream(b"N(\x94"), "a memo entry of nothing"),
        (stream(b"h\x00"), "memo entry 0 is read before it is stored at byte 2"),
        (stream(b"j\xff\xff\xff\xff"), "memo entry 4294967295 is read before it is stored"),
        (stream(b"\x8c\x02\xff\xfe"), "a text that is not UTF-8"),
        (stream(b"X\xff\xff\xff\xff"), "a text of 4294967295 bytes, more than 1048576, at byte 2"),
        (stream(b"cabc"), "a class name without an end at byte 2"),
        (stream(b"c\xff\n\xff\n"), "a class name that is not UTF-8"),
        (stream(b"K"), "the file ends in the middle of the pickle, after 4 bytes"),  # STOP is K's number
        (stream(b"\x85"), "finds nothing on the stack"),
        (stream(b"N(\x85"), "finds nothing on the stack"),
        (stream(b"\x93"), "finds nothing on the stack"),
    ],
)
def test_damaged_streams(raw: bytes, words: str) -> None:
    """Each is refused with what is wrong and where."""
    for remember in (False, True):
        refused(raw, DamagedPickleError, words, remember=remember)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (stream(text("a"), b"q\x01"), "memo index 1 out of sequence (expected 0)"),
        (stream(text("a"), b"q\x00q\x00"), "memo index 0 out of sequence (expected 1)"),
        (stream(text("a"), b"r\x00\x00\x00\x80"), "memo index 2147483648 out of sequence"),
        (stream(instance(CONFIG, b"}"), b"}b"), "a second BUILD of one instance"),
        (stream(CONFIG, b")\x81", b"]b"), "a BUILD with something else than a dict"),
        (stream(CONFIG, b")\x81", b"N}\x86b"), "a BUILD with something else than a dict"),
        (stream(b"}}b"), "a BUILD of something else than an instance"),
        (stream(CONFIG, b"}b"), "a BUILD of something else than an instance"),
        (stream(CONFIG, b"K\x01\x85\x81"), "an instance made of something else than a known class"),
        (stream(text("a"), b")\x81"), "an instance made of something else than a known class"),
        (stream(CONFIG, b"]\x81"), "an instance made of something else than a known class"),
        (stream(CONFIG, b")\x81", b")\x81"), "an instance made of something else than a known class"),
        (stream(b"K\x01K\x02\x93"), "a class whose name is no text"),
        (stream(mapping(b"K\x01", b"N")), "a dict key of type int"),
        (stream(mapping(b")", b"N")), "a dict key of type tuple"),
        (stream(mapping(b"N", b"N")), "a dict key of type NoneType"),
    ],
)
def test_what_no_pickler_writes(raw: bytes, words: str) -> None:
    """Sound as bytes, and refused, with the offset."""
    for remember in (False, True):
        refused(raw, UnsafePickleError, words, "at byte ", remember=remember)


def test_a_dict_key_occurs_once() -> None:
    """A second value under one key would hide the first."""
    refused(
        stream(mapping(text("a"), b"N", text("a"), b"N")), DamagedPickleError, "a dict key that occurs twice"
    )
    refused(
        stream(b"}", text("a"), b"Ns", text("a"), b"Ns"),
        DamagedPickleError,
        "a dict key that occurs twice at byte 12",
    )


# -- rows ---------------------------------------------------------------------------------------------

ROW = instance(SNAPSHOT, mapping(text("seed"), b"K\x01"))


@pytest.mark.parametrize(
    "content",
    [
        sequence(ROW, b"N"),
        sequence(b"N", ROW),
        sequence(b"N") + b"(" + ROW + b"e",
        sequence(ROW) + b"(Ne",
        sequence(ROW) + b"Na",
        b"]Na" + ROW + b"a",
        ROW + b"\x85",
        ROW + ROW + b"\x86",
        b"(" + ROW + b"t",
        sequence(mapping(text("board_state"), b"N"), b"K\x01"),
    ],
)
def test_rows_stand_in_lists_of_rows(content: bytes) -> None:
    """A list that holds one row holds nothing else, and no tuple holds any: streamed or not."""
    for remember in (False, True):
        refused(
            stream(content), LayoutError, "games or results in something else than a list", remember=remember
        )


def test_a_row_needs_attributes() -> None:
    """An instance that BUILD has not seen."""
    for content in (
        sequence(SNAPSHOT + b")\x81"),
        b"]" + SNAPSHOT + b")\x81a",
        sequence(ROW, SNAPSHOT + b")\x81"),
    ):
        for remember in (False, True):
            refused(stream(content), LayoutError, "a GameSnapshot without attributes", remember=remember)


def test_rows_are_read_the_same_in_every_way() -> None:
    """One by one by APPEND, in several batches, streamed or remembered."""
    single = stream(mapping(text("games"), b"]" + ROW + b"a" + ROW + b"a"))
    rows, _ = parsed(stream(sequence(ROW, ROW)))
    assert len(rows) == 2
    assert parsed(single) == parsed(single, remember=True) == (rows, [("games", ("rows", 0))])


# -- shared references --------------------------------------------------------------------------------


def test_shared_lists_need_a_second_reading() -> None:
    """The streaming mode says so instead of guessing."""
    raw = stream(b"](", b"]\x94", b"h\x00e")
    with pytest.raises(SharedReferenceError):
        tree(raw)
    assert tree(raw, remember=True) == [[], []]
    assert tree(stream(b"](N\x94h\x00e"), remember=True) == [None, None]


@pytest.mark.parametrize(
    "content",
    [
        b"]\x94h\x00a",
        b"]\x94(h\x00e",
        b"]\x94h\x00\x85a",
        b"}\x94" + text("a") + b"h\x00s",
        CONFIG + b")\x81\x94}" + text("a") + b"h\x00sb",
    ],
)
def test_nothing_holds_itself(content: bytes) -> None:
    """Lists, dicts and instances that contain themselves, directly or through a tuple."""
    refused(stream(content), UnsafePickleError, "read back before it is finished at byte", remember=True)


def test_shared_structures_count_as_written_out() -> None:
    """The billion laughs in lists and tuples, and a wide row shared by a thousand boards."""
    lists = b"".join(b"]\x94(" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"e" for i in range(60))
    laughs = b"](" + b"]\x94(K\x01e" + lists + b"e"
    tuples = b"(" + b")\x94" + b"".join(bytes([0x68, i, 0x68, i, 0x86, 0x94]) for i in range(60)) + b"t"
    wide = b"(]\x94(" + b"K\x01" * 100_000 + b"e" + b"](" + b"h\x00" * 1000 + b"et"
    for content in (laughs, tuples, wide):
        refused(stream(content), LayoutError, "more shared values than a file of this size", remember=True)


# -- size ---------------------------------------------------------------------------------------------

BOMBS = {
    "marks": "b'(' * n",
    "empty lists": "b']' * n",
    "deep lists": "b']' * (n // 2) + b'a' * (n // 2 - 1)",
    "one large list": "b'](' + b'N' * n + b'e'",
    "list after list": "b'](' + b'](NNNNNNNNNNe' * (n // 13) + b'e'",
    "texts": "b'](' + b'e('.join(row(different_texts(i)) for i in range(1600)) + b'e'",
    "memo": "b'\\x8c\\x01a' + b'\\x94' * n",
    "guesses at wide boards": "b'](' + b'K\\x01' * 100000 + b'e' + b'(e' * (n // 20) + b'R'",
    "kept in configs": "b'](' + b'e('.join([row(config())] * (n // 1100)) + b'e'",
    "kept between rows": "b'}(' + b''.join(text(str(i)) + b'](' + b']' * 900 + b'e'"
    " + text('r%d' % i) + b'](' + row() + b'e' for i in range(n // 1100))",
}
_BOMB = """
import io, resource, sys
from sgdb.errors import SgdbError
from sgdb.pickles.layouts import CLASSES
from sgdb.pickles.parser import PickleParser
from tests.legacy import MODULES, instance, mapping, named, stream, text
def made(module, name, items): return instance(named(module, name), mapping(text("x"), b"](" + items + b"e"))
def config(): return made("samegamerl.game.game_config", "GameConfig", b"]" * 900)
def row(items=b""): return made(MODULES["C"], "GameSnapshot", items)
def different_texts(i): return b"".join(text("%040d" % (1000 * i + j)) for j in range(1000))
n = 10_000_000
raw = stream({expression})
resource.setrlimit(resource.RLIMIT_AS, (600_000_000,) * 2)
for remember in (False, True):
    try:
        for batch in PickleParser(io.BytesIO(raw), CLASSES, remember=remember).batches():
            pass
    except SgdbError as error:
        print(type(error).__name__, error.message)
    else:
        sys.exit("accepted")
"""


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.slow
def test_bombs_are_refused_in_bounded_memory(name: str) -> None:
    """Tens of megabytes of the nastiest bytes, in a process whose memory is limited."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _BOMB.replace("{expression}", BOMBS[name])],
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Error") == 2


# -- mutations ----------------------------------------------------------------------------------------


def _agree(raw: bytes) -> None:
    """Fast or slow, a stream is refused or gives the same rows; and no other error comes out."""
    found = []
    for accelerate in (True, False):
        try:
            found.append(repr(parsed_somehow(raw, accelerate=accelerate)))
        except InputRefusedError:
            found.append("refused")
    assert found[0] == found[1]


@given(
    st.lists(
        st.sampled_from(
            [
                b"]",
                b"}",
                b")",
                b"(",
                b"e",
                b"u",
                b"s",
                b"a",
                b"t",
                b"b",
                b"\x81",
                b"\x85",
                b"\x86",
                b"\x94",
                b"N",
                b"K\x01",
                b"\x88",
                b"h\x00",
                b"h\x01",
                b"h\x02",
                b"h\x05",
                text("a"),
                text("board_state"),
                SNAPSHOT,
                CONFIG,
                ROW,
                ROW * 3,
                mapping(text("board_state"), b"K\x02"),
            ]
        ),
        max_size=25,
    )
)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_stream_of_known_opcodes_is_refused_or_read_alike(parts: list[bytes]) -> None:
    """Opcodes in any order."""
    _agree(stream(*parts))


@pytest.mark.no_cover
def test_a_large_file_crosses_windows_and_frames(tmp_path: Path) -> None:
    """More than one window of bytes, in many frames, or in none at all."""
    found = []
    for protocol in (2, 4):
        path = write_legacy(tmp_path / "large", config=(9, 9, 4), num_games=5000, protocol=protocol)
        assert path.stat().st_size > 1 << 20
        found.append(read(path).records)
    assert found[0] == found[1]
    assert len(found[0][3]) == 5000
    raw = path.read_bytes()
    assert parsed(raw) == parsed(raw, accelerate=False)
