"""Games in this very process, one after the other."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable

from sgdb.benchmark.named_bots import BotSource, checked_name, open_bot
from sgdb.benchmark.reports import Failed, Moves, Played, Report, Task, Terms, reason_of
from sgdb.benchmark.strategy import Keeper, Strategy
from sgdb.game.bots import Bot
from sgdb.game.play import play
from sgdb.game.rules import Board


class InProcess(Strategy):
    """Plays here: for bots that cannot be sent to another process, and for debugging.

    What a bot raises costs the game. A bot that hangs, or ends the process, does so to the whole program.
    """

    def introduce(self, source: BotSource) -> str:
        """See `Strategy`."""
        return checked_name(open_bot(source), str(source))

    def play(
        self,
        source: BotSource,
        games: Iterable[Task],
        terms: Terms,
        keeper: Keeper | None = None,  # noqa: ARG002 - the caller is here, too
    ) -> Generator[Report, None, None]:
        """See `Strategy`."""
        bot = open_bot(source)
        for task in games:
            yield play_game(bot, task, terms)


def play_game(bot: Bot, task: Task, terms: Terms) -> Played | Failed:
    """One game. What the bot raises, short of an interruption, is the game's failure."""
    moves: Moves | None = [] if terms.record_moves else None
    board = _board(task.board)
    if board is None:
        return Failed(task.game_id, f"what is stored as its board is none: {task.board!a:.80}")
    try:
        outcome = play(board, bot, move_limit=terms.move_limit, moves=moves)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit: a bot does not end the program
        return Failed(task.game_id, reason_of(error))
    return Played(task.game_id, outcome, moves)


def _board(text: str) -> Board | None:
    """The board, if it is one: somebody else may have written it."""
    try:
        rows = json.loads(text)
        whole = all(type(cell) is int and cell >= 0 for row in rows for cell in row)
        return rows if whole and len({len(row) for row in rows}) == 1 else None
    except (ValueError, TypeError, RecursionError):
        return None
