"""Files that want something called, imported, looked up or changed."""

from __future__ import annotations

from sgdb.errors import InputRefusedError, LayoutError, UnsafePickleError, ValueRefusedError
from tests.hostile.cases import (
    BOARD,
    CONFIG,
    EXECUTED,
    SNAPSHOT,
    Case,
    benchmark,
    beside,
    call,
    classic,
    config,
    game,
    old,
    result,
)
from tests.legacy import (
    CONFIG_MODULE,
    MODULES,
    attributes,
    frame,
    instance,
    mapping,
    named,
    number,
    recall,
    sequence,
    stream,
    text,
)

OPEN = f"open({EXECUTED!r}, 'w').close()"
NAME = text(EXECUTED)
LINE = f"V{EXECUTED}\n".encode()
EXTENSION = 0x42  # registered in every judged process, as a library might have done


def _unsafe(name: str, raw: bytes, words: str, why: str, unmarked: int = -1) -> Case:
    return Case(name, raw, UnsafePickleError, words, why, unmarked)


# -- the same call in the words of every protocol -----------------------------------------------------

_PLACES = [
    _unsafe("reduce-0", old(classic("os", "mkdir") + b"(" + LINE + b"tR"), "no PROTO opcode",
        "the classical attack, in text", 0),
    _unsafe("reduce-1",
        old(classic("os", "mkdir") + b"q\x00(U\x08" + EXECUTED.encode() + b"q\x01tq\x02Rq\x03"),
        "no PROTO opcode", "the same with binary arguments", 1),
    _unsafe("reduce-2", beside(classic("os", "mkdir") + NAME + b"\x85R", 2),
        "unknown class 'os.mkdir' at byte 2", "the same as Python 2.3 writes it"),
    _unsafe("reduce-3",
        beside(classic("os", "mkdir") + b"X\x08\x00\x00\x00" + EXECUTED.encode() + b"\x85R", 3),
        "unknown class 'os.mkdir' at byte 2", "the same as Python 3 writes it"),
    _unsafe("reduce-4", beside(call("os", "mkdir", NAME)), "unknown class 'os.mkdir'",
        "the same as Python 3.4 writes it"),
    _unsafe("reduce-5", b"\x80\x05" + frame(call("os", "mkdir", NAME) + b"0" + benchmark() + b"."),
        "unknown class 'os.mkdir'", "the same in a frame"),
    _unsafe("inst-0", old(b"(" + LINE + b"ios\nmkdir\n"), "no PROTO opcode", "INST imports and calls at once",
        0),
    _unsafe("inst-0-eval", old(b"(V" + OPEN.encode() + b"\nibuiltins\nexec\n"), "no PROTO opcode",
        "INST calls anything that can be called", 0),
    _unsafe("inst-1", old(b"(U\x08" + EXECUTED.encode() + b"ios\nmkdir\n"), "no PROTO opcode",
        "INST among binary opcodes", 1),
    _unsafe("inst-2", beside(b"(" + NAME + b"ios\nmkdir\n", 2), "opcode INST,", "INST behind a PROTO opcode"),
    _unsafe("inst-of-a-known-class", beside(b"(i" + CONFIG_MODULE.encode() + b"\nGameConfig\n", 2),
        "opcode INST,", "the opcode is refused, whatever it names"),
    _unsafe("obj-1", old(b"(" + classic("os", "mkdir") + b"U\x08" + EXECUTED.encode() + b"o"),
        "no PROTO opcode", "OBJ calls what lies below its arguments", 1),
    _unsafe("obj-3", beside(b"(" + classic("os", "mkdir") + NAME + b"o", 3), "unknown class 'os.mkdir'",
        "OBJ behind a PROTO opcode"),
    _unsafe("obj-of-a-known-class", beside(b"(" + CONFIG + b"o"), "opcode OBJ,",
        "the opcode is refused, whatever it calls"),
    _unsafe("newobj-of-a-stranger", beside(named("builtins", "bytes") + b"J\x00\x00\x00\x70\x85\x81"),
        "unknown class 'builtins.bytes'", "NEWOBJ calls __new__: here for two gigabytes"),
    _unsafe("newobj-with-arguments", beside(CONFIG + number(1) + b"\x85\x81"),
        "something else than a known class",
        "__new__ with arguments is a call of a known class with chosen values"),
    _unsafe("newobj-of-a-text", beside(text("GameConfig") + b")\x81"), "something else than a known class",
        "NEWOBJ of something that is no class"),
    _unsafe("newobj-of-an-instance", beside(config() + b")\x81"), "something else than a known class",
        "NEWOBJ of an object made before"),
    _unsafe("newobj-ex", beside(named("logging", "FileHandler") + b"(" + NAME + b"t}\x92"),
        "unknown class 'logging.FileHandler'", "NEWOBJ_EX, with keywords"),
    _unsafe("newobj-ex-of-a-known-class", beside(CONFIG + b")}\x92"), "opcode NEWOBJ_EX,",
        "the opcode is refused, whatever it makes"),
    _unsafe("reduce-of-a-known-class", beside(CONFIG + b")R"), "opcode REDUCE,",
        "calling a class runs its __init__"),
    _unsafe("reduce-of-an-instance", beside(config() + b")R"), "opcode REDUCE,",
        "an instance may be callable"),
    _unsafe("reduce-of-a-text", beside(text("os.mkdir") + b")R"), "opcode REDUCE,", "nothing at all to call"),
    _unsafe("call-in-a-board",
        stream(benchmark(games=sequence(game(board=sequence(call("os", "mkdir", NAME)))))),
        "unknown class 'os.mkdir'", "deep inside a row"),
    _unsafe("call-for-a-number",
        stream(benchmark(base_seed=call("builtins", "eval", text(f"[1, {OPEN}][0]")))),
        "unknown class 'builtins.eval'", "code that leaves a good base seed behind"),
    _unsafe("call-for-a-name",
        stream(benchmark(results=mapping(
            call("builtins", "eval", text(f"['b', {OPEN}][0]")), sequence(result())))),
        "unknown class 'builtins.eval'", "code that leaves a good bot's name behind"),
    _unsafe("call-after-the-rows",
        stream(benchmark(games=sequence(*map(game, range(1500)), call("os", "mkdir", NAME)))),
        "unknown class 'os.mkdir'", "after fifteen hundred good games"),
    _unsafe("the-whole-file-is-a-call", stream(call("builtins", "exec", text(OPEN))),
        "unknown class 'builtins.exec'", "nothing else in it"),
]  # fmt: skip

# -- names --------------------------------------------------------------------------------------------

_STRANGERS: list[tuple[str, str, tuple[bytes, ...], str]] = [
    ("os", "system", (text(f"echo > {EXECUTED}"),), "a shell"),
    ("posix", "mkdir", (NAME,), "the same function under another module's name"),
    ("nt", "system", (NAME,), "the same on another system"),
    ("subprocess", "getoutput", (text(f"echo > {EXECUTED}"),), "a shell without the word system"),
    ("subprocess", "check_call", (sequence(text("mkdir"), NAME),), "a program without a shell"),
    ("builtins", "eval", (text(f"__import__('os').mkdir({EXECUTED!r})"),), "an expression"),
    ("builtins", "exec", (text(OPEN),), "a program"),
    ("builtins", "open", (NAME, text("w")), "a file, opened for writing"),
    ("builtins", "__import__", (text("antigravity_"),), "an import"),
    ("builtins", "compile", (text(OPEN), NAME, text("exec")), "code, for somebody else to run"),
    ("builtins", "setattr", (CONFIG, text("num_rows"), number(1)), "a change to a known class"),
    ("builtins", "list", (call("builtins", "range", number(2**31)),), "harmless names that fill the memory"),
    ("__builtin__", "eval", (text(OPEN),), "the module's name in Python 2"),
    ("__main__", "GameConfig", (), "a class of whoever reads the file"),
    ("io", "open", (NAME, text("w")), "the same function in another module"),
    ("codecs", "open", (NAME, text("w")), "another function that opens files"),
    ("gzip", "open", (NAME, text("w")), "and another"),
    ("logging", "FileHandler", (NAME,), "a class whose making opens a file"),
    ("zipfile", "ZipFile", (NAME, text("w")), "another"),
    ("shutil", "copytree", (text("/proc/self/fdinfo"), NAME), "a copy of a folder"),
    ("tempfile", "mkdtemp", (text(""), NAME, text(".")), "a new folder"),
    ("pathlib", "Path.touch", (call("pathlib", "Path", NAME),), "a method by its dotted name"),
    ("functools", "partial", (named("os", "mkdir"), NAME), "a call for later"),
    ("operator", "attrgetter", (text("__class__"),), "attributes of what comes next"),
    ("types", "CodeType", (), "byte code"),
    ("marshal", "loads", (b"C\x01N",), "byte code in another format"),
    ("ctypes", "CDLL", (b"N",), "a library"),
    ("copyreg", "_reconstructor", (CONFIG, named("builtins", "object"), b"N"),
        "how protocols 0 and 1 make objects"),
    ("copy_reg", "_reconstructor", (CONFIG, named("__builtin__", "object"), b"N"), "the same in Python 2"),
    ("copyreg", "__newobj__", (CONFIG,), "NEWOBJ as a function"),
    ("copyreg", "add_extension", (text("os"), text("mkdir"), number(9)),
        "a number for a name, for later files"),
    ("_codecs", "encode", (text("x"), text("latin1")), "how Python 3 writes bytes in protocol 2"),
    ("collections", "OrderedDict", (), "a class that many an allow-list has"),
    ("datetime", "datetime", (b"C\x0a" + bytes(10),), "another"),
    ("pickle", "loads",
        (b"C" + bytes((len(call("os", "mkdir", NAME)) + 3,)) + stream(call("os", "mkdir", NAME)),),
        "a pickle in a pickle, read by a reader of its own choice"),
    ("_pickle", "Unpickler", (call("io", "BytesIO", b"C\x00"),), "the reader itself"),
    ("torch", "load", (NAME,), "somebody else's reader"),
    ("joblib", "load", (NAME,), "another"),
    ("numpy", "load", (NAME, b"N", b"\x88"), "another, with pickles allowed"),
]  # fmt: skip


def _stranger(at: int, module: str, name: str, arguments: tuple[bytes, ...], why: str) -> Case:
    """Protocols 2 to 5 in turn, with the opcode that each has for names."""
    protocol = 4 if "." in name else 2 + at % 4
    function = named(module, name) if protocol >= 4 else classic(module, name)
    payload = function + b"(" + b"".join(arguments) + b"tR"
    return _unsafe(
        f"{module}.{name}", beside(payload, protocol), f"unknown class '{module}.{name}' at byte", why
    )


_NAMES = [_stranger(at, *stranger) for at, stranger in enumerate(_STRANGERS)]

_LOOKALIKES = [
    _unsafe("dotted-os", beside(call(CONFIG_MODULE, "os.mkdir", NAME)),
        f"unknown class '{CONFIG_MODULE}.os.mkdir'",
        "a dotted name reaches what a known module has imported"),
    _unsafe("dotted-globals",
        beside(call(CONFIG_MODULE, "GameConfig.__init__.__globals__.__getitem__", text("sys"))),
        "unknown class", "a dotted name walks from a known class to a function's globals"),
    _unsafe("dotted-builtins",
        beside(call(CONFIG_MODULE, "GameConfig.__init__.__builtins__.__getitem__", text("exec"))
               + text(OPEN) + b"\x85R"),
        "unknown class", "or to everything that is built in"),
    _unsafe("dotted-class", beside(call(CONFIG_MODULE, "GameConfig.__class__", NAME, b")", b"}")),
        "unknown class", "type itself, which makes new classes"),
    _unsafe("dotted-method", beside(call(MODULES["C"], "GameSnapshot.__setattr__", SNAPSHOT, NAME, b"N")),
        "unknown class", "a method of a known class"),
    _unsafe("getattr-chain",
        beside(call("builtins", "getattr", call("builtins", "getattr", CONFIG, text("__init__")),
                    text("__builtins__"))),
        "unknown class", "the same walk without dotted names"),
    _unsafe("dots-on-the-left", beside(named("samegamerl", "game.game_config.GameConfig")), "unknown class",
        "the right words, divided elsewhere"),
    _unsafe("no-module", beside(named("", f"{CONFIG_MODULE}.GameConfig")), "unknown class",
        "all in the name"),
    _unsafe("no-name", beside(named(CONFIG_MODULE, "")), "unknown class", "only a module"),
    _unsafe("lower-case", beside(named(CONFIG_MODULE, "gameconfig")), "unknown class",
        "not the same spelling"),
    _unsafe("trailing-blank", beside(named(CONFIG_MODULE + " ", "GameConfig")), "unknown class", "nor this"),
    _unsafe("trailing-nul", beside(named(CONFIG_MODULE, "GameConfig\0")), r"GameConfig\x00' at byte",
        "nor this, for a reader written in C"),
    _unsafe("full-width", beside(named(CONFIG_MODULE, "\uff27ameConfig")), r"\uff27ameConfig",
        "nor a letter that looks the same"),
    _unsafe("another-module", beside(named(MODULES["C"], "GameConfig")), "unknown class",
        "a known class from where it does not live"),
    _unsafe("submodule", beside(named(CONFIG_MODULE + ".os", "mkdir")), "unknown class",
        "below a known module"),
    _unsafe("prefix", beside(named("samegamerl_extras.tools", "run")), "unknown class",
        "a module that begins alike"),
    _unsafe("terminal-name", beside(named("\x1b[2J", "\r\nok")), r"'\x1b[2J.\r\nok'",
        "a name for the reader's screen"),
    _unsafe("long-name", beside(named("m" * 1000, "n")), "...", "a name that would fill the screen"),
    _unsafe("checkpoint", beside(named("samegamerl.training.checkpoint_data", "CheckpointData")),
        "unknown class", "a class of the same system that no benchmark holds"),
    _unsafe("number-for-a-name", beside(number(1) + text("x") + b"\x93"), "a class whose name is no text",
        "STACK_GLOBAL of what is no text"),
    _unsafe("list-for-a-name", beside(b"]]\x93"), "a class whose name is no text", "nor can be looked up"),
    Case("global-without-an-end", stream(b"c" + b"x" * 600), InputRefusedError, "a class name without an end",
        "GLOBAL whose lines do not end"),
    Case("global-not-utf-8", beside(b"c\xff\xfe\nx\n", 2), InputRefusedError,
        "a class name that is not UTF-8", "GLOBAL in no encoding"),
]  # fmt: skip

# -- numpy --------------------------------------------------------------------------------------------

_OBJECTS = call("numpy", "dtype", text("O8"), b"\x89", b"\x88")
_NUMPY = [
    _unsafe("numpy-object-array",
        beside(call("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), b"K\x00\x85C\x01b")
               + b"(K\x01K\x01\x85" + _OBJECTS + b"\x89" + sequence(call("os", "mkdir", NAME)) + b"tb"),
        "unknown class 'numpy.core.multiarray._reconstruct'", "an array of objects holds any pickle"),
    _unsafe("numpy-object-scalar",
        beside(call("numpy.core.multiarray", "scalar", _OBJECTS, call("os", "mkdir", NAME))),
        "unknown class 'numpy.core.multiarray.scalar'", "so does a scalar"),
    _unsafe("numpy-2", beside(call("numpy._core.multiarray", "_reconstruct")),
        "unknown class 'numpy._core.multiarray._reconstruct'", "the same since numpy 2"),
    _unsafe("numpy-board",
        stream(benchmark(games=sequence(game(board=call("numpy._core.numeric", "_frombuffer",
            b"\x96\x04" + bytes(7) + bytes(4), named("numpy", "dtype"), b")", text("C")))))),
        "unknown class 'numpy._core.numeric._frombuffer'", "a board as protocol 5 writes an array"),
    _unsafe("numpy-exec", beside(call("numpy.testing._private.utils", "runstring", text(OPEN), b"}")),
        "unknown class 'numpy.testing._private.utils.runstring'", "numpy can run texts"),
    _unsafe("numpy-f2py", beside(call("numpy.f2py.crackfortran", "getlincoef", text(OPEN), b"}")),
        "unknown class 'numpy.f2py.crackfortran.getlincoef'", "in more than one place"),
]  # fmt: skip

# -- BUILD --------------------------------------------------------------------------------------------

_FRESH = CONFIG + b")\x81"
_STATE = attributes(num_rows=number(2), num_cols=number(2), num_colors=number(3))


def _built(payload: bytes) -> bytes:
    """A benchmark with this in the place of its config."""
    return stream(benchmark(config=payload))


_BUILDS = [
    _unsafe("build-slots", _built(_FRESH + b"N" + _STATE + b"\x86b"),
        "a BUILD with something else than a dict", "slot state is set by setattr"),
    _unsafe("build-dict-and-slots", _built(_FRESH + _STATE + attributes(x=number(1)) + b"\x86b"),
        "a BUILD with something else than a dict", "both at once"),
    _unsafe("build-class-by-slots",
        _built(_FRESH + b"N" + attributes(__class__=SNAPSHOT) + b"\x86b" + _STATE + b"b"),
        "a BUILD with something else than a dict", "makes the object one of another class"),
    _unsafe("build-dict-by-slots", _built(_FRESH + b"N" + attributes(__dict__=_STATE) + b"\x86b"),
        "a BUILD with something else than a dict", "gives it a dict that something else holds too"),
    _unsafe("build-a-class", beside(CONFIG + b"N" + attributes(__setstate__=SNAPSHOT) + b"\x86b"),
        "a BUILD of something else than an instance",
        "changes a known class, for every file read after this one"),
    _unsafe("build-a-class-new",
        beside(CONFIG + b"N" + attributes(__new__=named(MODULES["B"], "GameSnapshot")) + b"\x86b"),
        "a BUILD of something else than an instance", "the same by way of __new__"),
    _unsafe("build-setstate",
        beside(_FRESH + attributes(__setstate__=named("os", "mkdir")) + b"b" + NAME + b"b"),
        "unknown class 'os.mkdir'", "BUILD calls __setstate__, and __setstate__ comes from the file"),
    _unsafe("build-setstate-dotted",
        beside(_FRESH + attributes(__setstate__=named(CONFIG_MODULE, "os.mkdir")) + b"b" + NAME + b"b"),
        "unknown class", "a call without any opcode that calls"),
    _unsafe("build-setstate-known", _built(_FRESH + attributes(__setstate__=SNAPSHOT) + b"b" + _STATE + b"b"),
        "a second BUILD of one instance", "the same with a known class"),
    _unsafe("build-twice", _built(_FRESH + _STATE + b"b" + attributes(num_rows=number(3)) + b"b"),
        "a second BUILD of one instance", "what was checked is changed"),
    _unsafe("build-twice-by-memo",
        stream(benchmark(config=_FRESH + b"\x94" + _STATE + b"b",
                         x=recall(0) + attributes(num_rows=number(3)) + b"b")),
        "a second BUILD of one instance", "the same from elsewhere in the file"),
    Case("build-never", _built(_FRESH), LayoutError, "config is no GameConfig",
        "an object without attributes"),
    Case("build-never-a-row", stream(benchmark(games=sequence(SNAPSHOT + b")\x81"))), LayoutError,
        "a GameSnapshot without attributes", "a row without attributes"),
    Case("build-empty", _built(_FRESH + b"}b"), LayoutError, "config has no num_rows", "with none at all"),
    _unsafe("build-none", _built(_FRESH + b"Nb"), "a BUILD with something else than a dict", "no state"),
    _unsafe("build-list", _built(_FRESH + sequence(number(1)) + b"b"),
        "a BUILD with something else than a dict", "a list for a state"),
    _unsafe("build-instance", _built(_FRESH + config() + b"b"), "a BUILD with something else than a dict",
        "an object for a state"),
    _unsafe("build-number-keys", _built(_FRESH + mapping(number(1), number(2)) + b"b"),
        "a dict key of type int", "attributes whose names are no texts"),
    _unsafe("build-a-dict", beside(b"}" + _STATE + b"b"), "a BUILD of something else than an instance",
        "BUILD of a dict"),
    _unsafe("build-a-list", beside(b"]" + _STATE + b"b"), "a BUILD of something else than an instance",
        "BUILD of a list"),
    _unsafe("build-a-text", beside(text("x") + _STATE + b"b"), "a BUILD of something else than an instance",
        "BUILD of a text"),
    Case("build-itself", _built(_FRESH + b"\x94" + attributes(num_rows=recall(0)) + b"b"), LayoutError,
        "more values in one piece", "an object that is its own attribute: written out it has no end"),
    Case("class-for-a-value", stream(benchmark(x=CONFIG)), ValueRefusedError,
        "a class where plain data is expected", "a class is no value"),
    Case("class-for-an-attribute", _built(config(__class__=SNAPSHOT)), ValueRefusedError,
        "field '__class__': a class where plain data is expected",
        "an attribute that would change the class"),
    Case("class-for-a-config", _built(CONFIG), LayoutError, "config is no GameConfig",
        "a class for its instance"),
    Case("row-for-a-config", _built(instance(SNAPSHOT, _STATE)), LayoutError, "config is no GameConfig",
        "an instance of another class"),
    Case("config-for-a-board", stream(benchmark(games=sequence(game(board=config())))), ValueRefusedError,
        "field board: a GameConfig is not a list of rows", "an object where a list belongs"),
    Case("config-for-a-cell",
        stream(benchmark(games=sequence(game(board=BOARD.replace(b"K\x02", config(), 1))))),
        ValueRefusedError, "cell [0][1] is a GameConfig", "an object where a number belongs"),
]  # fmt: skip

# -- numbers for names, and what lies outside the file ------------------------------------------------

_OUTSIDE = [
    _unsafe("ext1", beside(b"\x82" + bytes((EXTENSION,)) + NAME + b"\x85R", 2), "opcode EXT1,",
        "a number that stands for a name; find_class is not asked when it is known"),
    _unsafe("ext2", beside(b"\x83" + EXTENSION.to_bytes(2, "little") + NAME + b"\x85R", 3), "opcode EXT2,",
        "the same in two bytes"),
    _unsafe("ext4", beside(b"\x84" + EXTENSION.to_bytes(4, "little") + NAME + b"\x85R"), "opcode EXT4,",
        "the same in four"),
    _unsafe("ext-unknown", beside(b"\x82\xfe"), "opcode EXT1,", "a number that stands for nothing"),
    _unsafe("ext-0", old(b"\x82" + bytes((EXTENSION,)) + LINE + b"\x85R"), "no PROTO opcode",
        "in a file that says no protocol", 1),
    _unsafe("persid-0", old(b"Psome id\n"), "no PROTO opcode", "the reader is asked for an object", 0),
    _unsafe("persid", beside(b"Psome id\n"), "opcode PERSID,", "the same behind a PROTO opcode"),
    _unsafe("binpersid", beside(text("some id") + b"Q"), "opcode BINPERSID,", "the same with any id"),
    _unsafe("next-buffer", beside(b"\x97", 5), "opcode NEXT_BUFFER,", "bytes from outside the file"),
    _unsafe("readonly-buffer", beside(b"\x98", 5), "opcode READONLY_BUFFER,", "without any before it"),
    _unsafe("bytearray8", beside(b"\x96" + (4).to_bytes(8, "little") + b"abcd", 5), "opcode BYTEARRAY8,",
        "a value that can be changed"),
    _unsafe("nested-pickle", stream(benchmark(x=b"C" + bytes((len(stream(b"N")),)) + stream(b"N"))),
        "opcode SHORT_BINBYTES,", "a pickle as a value, for whoever reads it next"),
]  # fmt: skip

CALLS = [*_PLACES, *_NAMES, *_LOOKALIKES, *_NUMPY, *_BUILDS, *_OUTSIDE]
