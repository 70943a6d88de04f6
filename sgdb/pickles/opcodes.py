"""The names of pickle's opcodes, and what a user can do about a refused one."""

from __future__ import annotations

from collections.abc import Mapping

# What sgdb knows comes first, up to NEWFALSE.
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
"""
_words = iter(_OPCODES.split())
OPCODE_NAMES: Mapping[int, str] = {int(code, 16): name for code, name in zip(_words, _words, strict=True)}

SAVE_AGAIN = "load the file where it was written and save it again with pickle.dump(data, file, protocol=4)"
_PLAIN_VALUES = (
    "if this is a numpy value: load the file where it was written, turn arrays into lists with "
    "array.tolist() and numbers with int(), and save it again"
)
_CHECKPOINT = "this class belongs to training checkpoints, of which a file holds one and nothing else"
_TEXT_OPCODES = ("INT", "LONG", "FLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "GET", "PUT")
_BYTE_OPCODES = ("REDUCE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "NEXT_BUFFER")


def hint_for_opcode(name: str) -> str | None:
    """What to do about a refused opcode, where something can be done."""
    if name in _TEXT_OPCODES:
        return SAVE_AGAIN
    return _PLAIN_VALUES if name in _BYTE_OPCODES else None


def hint_for_module(module: str) -> str | None:
    """What to do about a class from this module, where something can be done."""
    if module.partition(".")[0] == "numpy":
        return _PLAIN_VALUES
    return _CHECKPOINT if module == "samegamerl.training.checkpoint_data" else None
