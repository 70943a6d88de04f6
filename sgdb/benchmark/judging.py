"""One recorded game played again. What many of them say together is a matter of `replay`."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sgdb.game.bots import BUILT_IN, Bot, GreedySinglesBot
from sgdb.game.play import MOVE_LIMIT, OLD_MOVE_LIMIT, Outcome, play

KNOWN_LIMITS = (MOVE_LIMIT, OLD_MOVE_LIMIT)
"""The move limits that the benchmark system has had, the smallest first."""
OLDEST_GREEDY = "GreedySinglesBot of the oldest kind, which counted empty cells in its look-ahead"


class Judgement(NamedTuple):
    """What playing a game again has shown.

    `fits` says that the recorded result came out; `is_cut`, that the game would have gone on then; `kind`,
    which kind of the bot played it where that is not today's. `played` is what comes out today where that may
    be something else; None also where there is no board to play on.
    """

    fits: bool
    is_cut: bool = False
    kind: str | None = None
    played: Outcome | None = None


def judge(name: str, board: str, recorded: Outcome) -> Judgement:
    """Plays a game of a built-in bot again. `board` is JSON text; without a board nothing is `played`."""
    cells = _cells(board)
    if cells is None:
        return Judgement(False)
    bots: list[tuple[str | None, Bot]] = [(None, BUILT_IN[name]())]
    if name == GreedySinglesBot.name:
        bots.append((OLDEST_GREEDY, GreedySinglesBot(count_empty=True)))
    for kind, bot in bots:
        # One move more than recorded tells a game that was over from one that was stopped.
        outcome = play(cells, bot, move_limit=recorded.moves_made + 1)
        if outcome == recorded:
            return Judgement(True, False, kind)
        goes_on = outcome.moves_made > recorded.moves_made > 0
        if goes_on and play(cells, bot, move_limit=recorded.moves_made) == recorded:
            is_known = recorded.moves_made in KNOWN_LIMITS
            return Judgement(True, True, kind, None if is_known else _played(cells, bots[0][1], recorded))
    return Judgement(False, played=_played(cells, bots[0][1], recorded))


def _played(board: list[list[int]], bot: Bot, recorded: Outcome) -> Outcome:
    """The game under the smallest known limit that the recorded one keeps to."""
    limit = next((limit for limit in KNOWN_LIMITS if recorded.moves_made <= limit), recorded.moves_made)
    return play(board, bot, move_limit=limit)


def _cells(board: str) -> list[list[int]] | None:
    """The board, if there is one that can be played: rows of equal length, of whole numbers from 0."""
    cells = json.loads(board)
    is_board = (
        type(cells) is list
        and bool(cells)
        and all(type(row) is list and len(row) == len(cells[0]) for row in cells)
        and all(type(cell) is int and cell >= 0 for row in cells for cell in row)
    )
    return cells if is_board and cells[0] else None


def play_batch(request: Any) -> list[Any]:
    """What it answers: a judgement a row, in plain lists."""
    name, rows = request
    return [judge(name, board, Outcome(*recorded)) for board, *recorded in rows]
