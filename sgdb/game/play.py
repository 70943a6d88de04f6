"""Whole games: a bot, a board, and the four numbers that are recorded.

Play stops when the bot returns None, when no tile is left, or at the move limit. Every click counts as a
move, a useless one as well.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from sgdb.errors import BotError
from sgdb.game import bitboards
from sgdb.game.bots import Bot, GreedySinglesBot, LargestGroupBot, RandomBot
from sgdb.game.rules import Board, click, settle, singles, tiles

MOVE_LIMIT = 100
"""The limit of the newer recorded files."""
OLD_MOVE_LIMIT = 500
"""The limit of the older ones."""


class Outcome(NamedTuple):
    """How a game ended, in the words of `BotPerformance`.

    `singles_remaining` counts cells without an equal neighbour, empty cells included; `moves_made` counts
    every click; `completed` says that no tile is left.
    """

    tiles_cleared: int
    singles_remaining: int
    moves_made: int
    completed: bool


def play(
    board: Sequence[Sequence[int]],
    bot: Bot,
    *,
    move_limit: int = MOVE_LIMIT,
    moves: list[tuple[int, int]] | None = None,
) -> Outcome:
    """Lets `bot` play `board` to the end. The board itself stays as it is.

    `board` has rows of equal length. Tiles that hang in the air fall before the first move. `moves`, where
    given, gets every click appended. A bot that is not built in sees a new list of lists before each move;
    whatever it raises passes through. Raises BotError when it answers neither None nor two integers that
    are a cell of the board.
    """
    player = _player(bot)
    start = bitboards.encode(board, readable=player is bitboards.chance) if player else None
    if player and start:
        end = bitboards.run(start, player, move_limit, moves)
        return Outcome(end.before - end.left, end.singles, end.made, not end.left)
    return _play_plainly(board, bot, move_limit, moves)


def _player(bot: Bot) -> Callable[[bitboards.Start], bitboards.Chooser] | None:
    """How a built-in bot chooses on bits. A subclass may choose otherwise."""
    kind = type(bot)
    if isinstance(bot, GreedySinglesBot) and kind is GreedySinglesBot:
        return bitboards.fewest_singles_and_gaps if bot.count_empty else bitboards.fewest_singles
    if kind is LargestGroupBot:
        return bitboards.largest_group
    return bitboards.chance if kind is RandomBot else None


def _play_plainly(
    board: Sequence[Sequence[int]], bot: Bot, move_limit: int, moves: list[tuple[int, int]] | None
) -> Outcome:
    """`play` for any bot, and for boards that are too large for bits."""
    current = settle([[*map(int, row)] for row in board])
    before = left = tiles(current)
    made = 0
    while left and made < move_limit:
        answer = bot.select_action([list(row) for row in current])
        if answer is None:
            break
        move = _cell(answer, current, bot)
        current = click(current, *move)
        left = tiles(current)
        made += 1
        if moves is not None:
            moves.append(move)
    return Outcome(before - left, singles(current), made, not left)


def _cell(answer: object, board: Board, bot: Bot) -> tuple[int, int]:
    """The bot's answer as a cell of the board. Raises BotError."""
    pair = _integers(answer)
    if pair is None or not (0 <= pair[0] < len(board) and 0 <= pair[1] < len(board[0])):
        raise _nonsense(answer, board, bot)
    return pair


def _integers(answer: Any) -> tuple[int, int] | None:
    """Two integers of any integral type, in anything that has an order; else None."""
    if isinstance(answer, (str, bytes, bytearray, Mapping, Set)):
        return None
    try:
        row, col = answer
        if isinstance(row, bool) or isinstance(col, bool):
            return None
        return operator.index(row), operator.index(col)
    except (TypeError, ValueError):
        return None


def _nonsense(answer: object, board: Board, bot: Bot) -> BotError:
    name = getattr(bot, "name", type(bot).__name__)
    return BotError(
        f"bot {reprlib.repr(name)} answered {reprlib.repr(answer)} "
        f"on a board of {len(board)}x{len(board[0])} cells",
        hint="select_action(board) has to return (row, col), two integers that name a cell, or None to stop",
    )
