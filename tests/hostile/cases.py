"""What a case of the corpus is, and the opcodes that most of them are made of.

Code in a case can do one thing only: make something called `executed` in the folder it runs in. That is
how the judge sees that it ran, and all that happens should somebody load such a file by mistake.
"""

from __future__ import annotations

from dataclasses import dataclass

from sgdb.errors import SgdbError
from tests.legacy import CONFIG_MODULE, MODULES, attributes, instance, named, number, stream, text

MODULE = MODULES["C"]
CONFIG = named(CONFIG_MODULE, "GameConfig")
SNAPSHOT = named(MODULE, "GameSnapshot")
PERFORMANCE = named(MODULE, "BotPerformance")

EXECUTED = "executed"


@dataclass(frozen=True)
class Case:
    """A file, and what has to become of it: this error with these words, or, without an error, every value
    stored as it is."""

    name: str
    raw: bytes
    error: type[SgdbError] | None
    words: str
    why: str

    unmarked: int = -1
    """The protocol of a file that says none: before 2 there is no opcode for it."""

    @property
    def protocol(self) -> int:
        """The pickle protocol, -1 where there is nothing to tell."""
        return self.raw[1] if self.raw[:1] == b"\x80" and len(self.raw) > 1 else self.unmarked


def classic(module: str, name: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """STACK_GLOBAL and REDUCE."""
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


def config(rows: int = 2, cols: int = 2, colors: int = 3, **further: bytes) -> bytes:
    """A GameConfig."""
    numbers = {"num_rows": number(rows), "num_cols": number(cols), "num_colors": number(colors)}
    return instance(CONFIG, attributes(**numbers, **further))


BOARD = b"](](K\x01K\x02e](K\x02K\x01ee"


def game(number_: int = 0, board: bytes = BOARD, cls: bytes = SNAPSHOT, **fields: bytes) -> bytes:
    """A GameSnapshot; fields may be replaced and added."""
    state = {"board": board, "config": config(), "seed": number(5), "game_id": number(number_)}
    return instance(cls, attributes(**state | fields))


def result(number_: int = 0, cls: bytes = PERFORMANCE, **fields: bytes) -> bytes:
    """A BotPerformance of the bot `b`; fields may be replaced and added."""
    state = {"bot_name": text("b"), "game_id": number(number_)}
    state |= dict.fromkeys(("tiles_cleared", "singles_remaining", "moves_made"), number(0))
    return instance(cls, attributes(**state | {"completed": b"\x88"} | fields))


def benchmark(**entries: bytes) -> bytes:
    """A sound benchmark's top-level dict; entries may be replaced and added."""
    usual = {
        "games": b"]",
        "results": b"}",
        "config": config(),
        "num_games": number(0),
        "base_seed": number(1),
    }
    return attributes(**usual | entries)


def beside(payload: bytes, protocol: int = 4) -> bytes:
    """A whole and sound benchmark behind a value that is made and thrown away (POP). Whoever runs the
    payload, or shrugs it off, has a good file in the end."""
    return stream(payload, b"0", benchmark(), protocol=protocol)


def old(payload: bytes) -> bytes:
    """The same in protocols 0 and 1, which say nothing at the beginning."""
    return payload + b"0" + benchmark() + b"."
