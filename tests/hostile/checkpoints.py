"""Checkpoint files that want more than to hold a time: the one call that is read must not become another."""

from __future__ import annotations

from sgdb.errors import DamagedPickleError, LayoutError, SgdbError, UnsafePickleError, ValueRefusedError
from tests.hostile.calls import EXTENSION, NAME, OPEN
from tests.hostile.cases import CONFIG, SNAPSHOT, Case, call, classic, config
from tests.legacy import attributes, instance, mapping, named, number, recall, sequence, stream, text
from tests.legacy_checkpoints import MODULE

TOP = named(MODULE, "CheckpointData")
DATETIME = named("datetime", "datetime")
RAW = bytes((7, 233, 1, 2, 3, 4, 5, 0, 0, 6))  # 2025-01-02 03:04:05.000006
NO_TIME = "a REDUCE that makes something else than a time"


def small(raw: bytes) -> bytes:
    """SHORT_BINBYTES."""
    return b"C" + bytes((len(raw),)) + raw


def time(raw: bytes = RAW) -> bytes:
    """A time as every protocol from 3 on has it."""
    return DATETIME + small(raw) + b"\x85R"


def checkpoint(protocol: int = 4, top: bytes = TOP, **fields: bytes) -> bytes:
    """A sound checkpoint; fields may be replaced and added."""
    usual = {"experiment_name": text("e"), "epoch": number(1), "timestamp": time()}
    return stream(instance(top, attributes(**usual | fields)), protocol=protocol)


def state(name: str, **fields: bytes) -> bytes:
    """One of its states."""
    return instance(named(MODULE, name), attributes(**fields))


def _case(error: type[SgdbError], name: str, raw: bytes, words: str, why: str) -> Case:
    return Case(f"checkpoint-{name}", raw, error, words, why)


def _unsafe(name: str, raw: bytes, words: str, why: str) -> Case:
    return _case(UnsafePickleError, name, raw, words, why)


def _no_time(name: str, value: bytes, why: str, protocol: int = 4) -> Case:
    return _unsafe(name, checkpoint(protocol, timestamp=value), NO_TIME, why)


def _encoded(argument: bytes, encoding: str = "latin1") -> bytes:
    """A time as protocol 2 has it."""
    made = classic("_codecs", "encode") + argument + text(encoding) + b"\x86R"
    return classic("datetime", "datetime") + made + b"\x85R"


_LISTS = b"]\x94" + b"".join(b"](" + recall(at) * 2 + b"e\x94" for at in range(60))

_CALLS = [
    _unsafe("mkdir", checkpoint(metadata=call("os", "mkdir", NAME)), "unknown class 'os.mkdir'",
        "REDUCE is read, so who is called?"),
    _unsafe("eval", checkpoint(timestamp=call("builtins", "eval", text(f"[{OPEN}][0]"))),
        "unknown class 'builtins.eval'", "in the very place of the time"),
    _no_time("reduce-of-a-class", TOP + b")R", "a class of the file's own"),
    _no_time("reduce-of-a-state", state("TrainingState") + b")R", "an instance"),
    _no_time("reduce-of-a-text", text("datetime.datetime") + small(RAW) + b"\x85R", "a text"),
    _no_time("reduce-of-a-time", time() + small(RAW) + b"\x85R", "what REDUCE has made before"),
    _no_time("arguments-in-a-list", DATETIME + b"](" + small(RAW) + b"eR", "arguments that are no tuple"),
    _no_time("no-arguments", DATETIME + b")R", "a time of nothing"),
    _no_time("with-a-zone", DATETIME + small(RAW) + b"N\x86R", "a time with a zone, be it None"),
    _unsafe("with-utc",
        checkpoint(timestamp=DATETIME + small(RAW) + named("datetime", "timezone") + b"\x86R"),
        "unknown class 'datetime.timezone'", "and with a real one"),
    _no_time("by-numbers", DATETIME + b"(" + number(2025) + number(1) + number(1) + b"tR",
        "a time by its numbers, which could be large"),
    _no_time("by-text", DATETIME + text(RAW.decode("latin-1")) + b"\x85R", "as Python 2 has it"),
    _no_time("by-encode", _encoded(text(RAW.decode("latin-1"))), "as protocol 2 has it, in protocol 4"),
    _no_time("encode-utf-8", _encoded(text("0123456789"), "utf-8"), "another encoding", 2),
    _no_time("encode-rot13", _encoded(text("0123456789"), "rot13"), "one that is code", 2),
    _no_time("encode-much", _encoded(text("x" * 100_000)), "a large text", 2),
    _no_time("encode-little", _encoded(text("x")), "a small one", 2),
    _no_time("encode-nothing", _encoded(text("")), "an empty one", 2),
    _no_time("encode-wide", _encoded(text("012345678\u0100")), "a character that Latin-1 has not", 2),
    _no_time("encode-a-number", _encoded(number(10)), "no text at all", 2),
    _no_time("encode-alone", classic("_codecs", "encode") + text("0123456789") + b"\x85R",
        "without an encoding", 2),
    _unsafe("codecs", checkpoint(timestamp=call("codecs", "encode", NAME, text("latin1"))),
        "unknown class 'codecs.encode'", "the same function under its public name"),
    _unsafe("decode", checkpoint(timestamp=call("_codecs", "decode", NAME, text("latin1"))),
        "unknown class '_codecs.decode'", "its neighbour"),
    _unsafe("method", checkpoint(timestamp=call("datetime", "datetime.fromtimestamp", number(0))),
        "unknown class 'datetime.datetime.fromtimestamp'", "a dotted name"),
    _unsafe("date", checkpoint(timestamp=call("datetime", "date", small(RAW[:4]))),
        "unknown class 'datetime.date'", "a relative"),
    _unsafe("subclass", checkpoint(timestamp=call("pandas", "Timestamp", small(RAW))),
        "unknown class 'pandas.Timestamp'", "a subclass of another package"),
    _unsafe("c-module", checkpoint(timestamp=call("_datetime", "datetime", small(RAW))),
        "unknown class '_datetime.datetime'", "the same class under another module's name"),
    _unsafe("newobj", checkpoint(timestamp=DATETIME + b")\x81"), "something else than a known class",
        "NEWOBJ instead of REDUCE"),
    _unsafe("newobj-ex", checkpoint(timestamp=DATETIME + b")}\x92"),
        "opcode NEWOBJ_EX, which checkpoint files do not use", "or NEWOBJ_EX"),
    _unsafe("build", checkpoint(timestamp=time() + b"}b"), "a BUILD of something else than an instance",
        "attributes for a time"),
    _unsafe("ext", checkpoint(metadata=b"\x82" + bytes((EXTENSION,))), "opcode EXT1,", "an extension code"),
    _unsafe("inst", checkpoint(2, classic(MODULE, "CheckpointData"), timestamp=time(),
        metadata=b"(" + NAME + b"ios\nmkdir\n"), "opcode INST,", "INST calls at once"),
    _unsafe("obj", checkpoint(metadata=b"(" + DATETIME + small(RAW) + b"o"), "opcode OBJ,", "so does OBJ"),
    _unsafe("persid", checkpoint(metadata=b"Px\n"), "opcode PERSID,", "something of the reader's"),
    _unsafe("snapshot", checkpoint(metadata=SNAPSHOT + b")\x81}b"), "unknown class", "a benchmark's class"),
    _unsafe("numpy", checkpoint(loss_history=sequence(call("numpy.core.multiarray", "scalar"))),
        "unknown class 'numpy.core.multiarray.scalar'", "what people forget to convert"),
]  # fmt: skip

_BYTES = [
    *(
        _unsafe(f"{size}-bytes", checkpoint(timestamp=DATETIME + small(bytes(size)) + b"\x85R"),
            f"{size} bytes that are no time", "too few or too many")
        for size in (0, 9, 11, 255)
    ),
    *(
        _no_time(f"no-{name}", time(raw), f"a {name} that there is not")
        for name, raw in {
            "year": b"\0\0" + RAW[2:], "late-year": b"\xff\xff" + RAW[2:], "month": RAW[:2] + b"\0" + RAW[3:],
            "thirteenth-month": RAW[:2] + b"\x0d" + RAW[3:], "fold": RAW[:2] + b"\x8d" + RAW[3:],
            "day": RAW[:3] + b"\0" + RAW[4:], "february": RAW[:2] + b"\x02\x1e" + RAW[4:],
            "hour": RAW[:4] + b"\x18" + RAW[5:], "minute": RAW[:5] + b"\x3c" + RAW[6:],
            "second": RAW[:6] + b"\x3c" + RAW[7:], "microsecond": RAW[:7] + b"\x0f\x42\x40",
        }.items()
    ),
    _unsafe("binbytes", checkpoint(metadata=b"B" + (10).to_bytes(4, "little") + RAW), "opcode BINBYTES,",
        "bytes with another length"),
    _unsafe("bytearray", checkpoint(metadata=b"\x96" + (10).to_bytes(8, "little") + RAW),
        "opcode BYTEARRAY8,", "and others"),
    _case(DamagedPickleError, "bytes-cut-off", checkpoint(timestamp=DATETIME + b"C\x0a")[:-9],
        "the file ends in the middle", "bytes that are not there"),
    _case(ValueRefusedError, "bytes-as-a-value", checkpoint(metadata=mapping(text("a"), small(RAW))),
        "10 bytes where plain data is expected", "a time's bytes for something else"),
    _case(ValueRefusedError, "bytes-as-a-time", checkpoint(timestamp=small(RAW)), "10 bytes is no time",
        "or without the call"),
    _case(ValueRefusedError, "class-as-a-value", checkpoint(metadata=DATETIME), "a class where plain data",
        "the class itself as a value"),
    _case(ValueRefusedError, "class-as-a-time", checkpoint(timestamp=DATETIME), "a class is no time",
        "or as the time"),
]  # fmt: skip

_SHAPES = [
    _unsafe("a-class", stream(TOP), "unknown class", "no instance at all, hence no checkpoint"),
    _case(LayoutError, "with-company", stream(instance(TOP, b"}") + b"N\x86"), "is no CheckpointData",
        "in a tuple with something else"),
    _case(LayoutError, "bare", stream(TOP + b")\x81"), "its experiment_name is missing", "no BUILD"),
    _case(LayoutError, "empty", stream(instance(TOP, b"}")), "its experiment_name is missing",
        "an empty one"),
    _unsafe("build-twice", stream(instance(TOP, b"}") + b"}b"), "a second BUILD", "two states"),
    _unsafe("build-with-slots", stream(TOP + b")\x81" + b"N}\x86b"),
        "a BUILD with something else than a dict", "slots"),
    _unsafe("another-module",
        stream(instance(TOP, mapping(text("m"), named("x." + MODULE, "TrainingState")))),
        "unknown class", "a module that ends alike"),
    _case(LayoutError, "other-state", checkpoint(agent_state=state("EnvCheckpointState")),
        "a EnvCheckpointState is no AgentCheckpointState", "a state in the place of another"),
    _case(LayoutError, "plain-state", checkpoint(training_state=b"}"), "is no TrainingState", "a dict"),
    _case(LayoutError, "bare-config", checkpoint(env_state=state("EnvCheckpointState",
        game_config=CONFIG + b")\x81")), "is no GameConfig", "no BUILD of a config"),
    _case(LayoutError, "plain-config", checkpoint(env_state=state("EnvCheckpointState", game_config=b"}")),
        "is no GameConfig", "a dict for a config"),
    _case(ValueRefusedError, "no-rows", checkpoint(env_state=state("EnvCheckpointState",
        game_config=config(0))), "field num_rows: 0", "a board without rows"),
    _case(ValueRefusedError, "nested", checkpoint(metadata=mapping(text("a"), state("TrainingState"))),
        "a TrainingState where plain data is expected", "a state where none is known"),
    _case(ValueRefusedError, "in-itself", checkpoint(metadata=sequence(instance(TOP, b"}"))),
        "a CheckpointData where plain data", "a checkpoint in a checkpoint"),
    _unsafe("cycle", stream(TOP + b")\x81\x94" + mapping(text("metadata"), recall(0)) + b"b"),
        "read back before it is finished", "a checkpoint that holds itself"),
    _case(LayoutError, "bomb", stream(instance(TOP, mapping(text("a"), _LISTS))),
        "more shared values than a file of this size", "a list of lists of lists, each twice"),
    _unsafe("key", checkpoint(metadata=mapping(number(1), number(2))), "a dict key of type int",
        "a key that JSON has not"),
]  # fmt: skip


def _refused(name: str, words: str, why: str, **fields: bytes) -> Case:
    return _case(ValueRefusedError, name, checkpoint(**fields), words, why)


_VALUES = [
    *(
        _refused(f"epoch-{name}", "is not a whole number from 0", "no epoch that can be stored", epoch=value)
        for name, value in {
            "minus": number(-1), "large": number(2**31), "bool": b"\x88", "none": b"N", "text": text("1"),
            "float": b"G" + bytes(8),
        }.items()
    ),
    _refused("no-time", "None is no time", "a time that is None", timestamp=b"N"),
    _refused("name-nul", "cannot store", "a NUL in the name", experiment_name=text("a\0")),
    _refused("name-surrogate", "cannot store", "half a character", experiment_name=text("\ud800")),
    _refused("name-long", "longer than 255", "a long name", experiment_name=text("n" * 256)),
    _refused("name-none", "None is no text", "no name", experiment_name=b"N"),
    _refused("weights-nul", "cannot store", "a NUL in a file's name", model_weights_filename=text("a\0.pth")),
    _refused("weights-number", "1 is no text", "a number for a file's name",
        model_weights_filename=number(1)),
    _refused("loss-long", "bits is too large", "a loss of thousands of digits",
        loss_history=sequence(number(2**1500))),
    _refused("losses-of-texts", "nested too deeply or too large", "losses that are no numbers, and many",
        loss_history=b"](" + b"N" * 20_000 + b"e"),
    _refused("deep", "nested too deeply", "nested without end", metadata=b"](" * 30 + b"e" * 30),
    Case("checkpoint-sound", checkpoint(metadata=mapping(text("at"), time(), text("folded"),
        time(RAW[:2] + b"\x81" + RAW[3:]))), None, "", "times wherever there is a value"),
    Case("checkpoint-sound-2", checkpoint(2, classic(MODULE, "CheckpointData"),
        timestamp=_encoded(text(RAW.decode("latin-1")))), None, "", "as protocol 2 has them"),
    Case("checkpoint-names", checkpoint(experiment_name=text("../\x1b[2J"), model_weights_filename=
        text("/etc/passwd")), None, "", "names that lead elsewhere are only names"),
]  # fmt: skip

CHECKPOINTS = [*_CALLS, *_BYTES, *_SHAPES, *_VALUES]
