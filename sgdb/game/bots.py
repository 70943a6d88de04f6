"""The bots that the benchmark system has always had, and what any other has to offer.

All of them look at one candidate for each group, its first cell row by row from the top, and every tie goes
to the first. Recorded results depend on each of these rules, so none may change; a bot that decides
otherwise needs another name.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import ClassVar, Protocol

from sgdb.game.rules import Board, candidates, click, groups, singles


class Bot(Protocol):
    """Whatever plays: a built-in bot, or anything else with a name and `select_action`."""

    @property
    def name(self) -> str:
        """The name that results are filed under."""
        ...

    def select_action(self, board: Board) -> tuple[int, int] | None:
        """The cell to click as (row, col), or None to stop. The board is the bot's own copy."""
        ...


class LargestGroupBot:
    """Takes the largest group, the first one of several."""

    __slots__ = ()
    name: ClassVar[str] = "LargestGroupBot"

    def select_action(self, board: Board) -> tuple[int, int] | None:
        """See `Bot`."""
        found = groups(board)
        return max(found, key=len)[0] if found else None


class GreedySinglesBot:
    """Makes the move after which the fewest single tiles remain, the first one of several.

    Empty cells don't count in this look-ahead. In the oldest files they did; `count_empty=True` is the bot
    that played those.
    """

    __slots__ = ("count_empty",)
    name: ClassVar[str] = "GreedySinglesBot"

    def __init__(self, *, count_empty: bool = False) -> None:
        self.count_empty = count_empty

    def select_action(self, board: Board) -> tuple[int, int] | None:
        """See `Bot`."""
        return min(
            candidates(board),
            key=lambda cell: singles(click(board, *cell), count_empty=self.count_empty),
            default=None,
        )


class RandomBot:
    """Draws a candidate from a stream that depends on nothing but the board.

    The seed is the MD5 digest of the board's text as Python writes a list of lists, read as a number.
    Older bots of this name drew from one running stream or from the process's hash seed, and cannot be
    played again.
    """

    __slots__ = ()
    name: ClassVar[str] = "RandomBot"

    def select_action(self, board: Board) -> tuple[int, int] | None:
        """See `Bot`."""
        found = candidates(board)
        if not found:
            return None
        text = str([list(map(int, row)) for row in board]).encode("ascii")
        return found[drawer()(text, len(found))]


class _Streams(threading.local):
    """A thread's own stream, seeded anew for every draw: making one would take longer."""

    def __init__(self) -> None:
        stream = Random(0)  # noqa: S311 - games to repeat, no secrets
        self.seed = super(Random, stream).seed  # what Random.seed does with an integer
        self.bits = stream.getrandbits


_streams = _Streams()


def drawer() -> Callable[[bytes | bytearray, int], int]:
    """A function for this thread that takes a board's text and a count, and gives a number below the count:
    the index that `random.Random.choice` takes, seeded by the text."""
    seed, bits, md5 = _streams.seed, _streams.bits, hashlib.md5

    def draw(text: bytes | bytearray, count: int) -> int:
        seed(int.from_bytes(md5(text, usedforsecurity=False).digest(), "big"))
        # What `choice` does, spelled out so that another Python cannot change a game.
        width = count.bit_length()
        index = bits(width)
        while index >= count:
            index = bits(width)
        return index

    return draw


BUILT_IN: Mapping[str, type[Bot]] = MappingProxyType(
    {bot.name: bot for bot in (LargestGroupBot, GreedySinglesBot, RandomBot)}
)
