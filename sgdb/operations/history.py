"""`sgdb query history`: the moves that a bot made in a game."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sgdb.database.access import ready_engine
from sgdb.database.engine import transaction
from sgdb.database.histories import read_histories
from sgdb.database.reading import read_games
from sgdb.database.sets import bots_with_results, describe_set, unknown_bot
from sgdb.errors import NotFoundError
from sgdb.game.bots import BUILT_IN
from sgdb.game.rules import replay_moves, tiles
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings

MOVE_FIELDS = ("move", "row", "col", "removed", "left")


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """One bot's game in a set."""

    set_id: int
    game: int
    bot: str


class Step(NamedTuple):
    """The board after a move, and the move that led to it: its number from 1 on, the clicked cell, the tiles
    that went and those that are left. The first step is the board before any move: number 0, no cell."""

    move: int
    cell: tuple[int, int] | None
    removed: int
    left: int
    board: list[list[int]]

    @property
    def row(self) -> dict[str, Any]:
        """A move with MOVE_FIELDS."""
        assert self.cell is not None
        numbers = (self.move, *self.cell, self.removed, self.left)
        return dict(zip(MOVE_FIELDS, numbers, strict=True))


@dataclass(frozen=True, slots=True)
class History:
    """The moves of one game, and the board that they start from."""

    options: HistoryOptions
    seed: int | None
    board: list[list[int]]
    moves: list[tuple[int, int]]

    def steps(self) -> Iterator[Step]:
        """Plays the moves back. Raises ValueRefusedError at a move that is not on the board."""
        before = 0
        for number, board in enumerate(replay_moves(self.board, self.moves)):
            left = tiles(board)
            if number:
                yield Step(number, self.moves[number - 1], before - left, left, board)
            else:
                yield Step(0, None, 0, left, board)
            before = left

    def to_json(self) -> dict[str, Any]:
        """The command's JSON document."""
        return {
            "benchmark_set_id": self.options.set_id,
            "game_index": self.options.game,
            "seed": self.seed,
            "bot": self.options.bot,
            "board": self.board,
            "moves": [list(move) for move in self.moves],
        }


def history(options: HistoryOptions, settings: Settings, progress: Progress | None = None) -> History:
    """The recorded moves of one game.

    Raises NotFoundError where the set, the game, or results of the bot do not exist, or where its moves have
    not been recorded; ValueRefusedError where something else than moves is stored.
    """
    notice = (progress or Silent()).notice
    set_id, index, bot = options.set_id, options.game, options.bot
    with ready_engine(settings, notice) as engine, transaction(engine, read_only=True) as connection:
        found = describe_set(connection, set_id)
        game = next(read_games(connection, set_id, index, index + 1), None)
        if game is None:
            raise NotFoundError(
                f"set {set_id} has no game {index}", hint=f"list them with `sgdb query games --set {set_id}`"
            )
        names = bots_with_results(connection, set_id)
        if bot not in names:
            raise unknown_bot(bot, names, f" in set {set_id}")
        moves = dict(read_histories(connection, set_id, bot, index, index + 1)).get(index)
        if moves is None:
            named = bot if bot in BUILT_IN else "package.module:Class"
            raise NotFoundError(
                f"no moves of bot {bot!a} on game {index} of set {set_id} are recorded",
                hint=f"record them with `sgdb benchmark run --config {found.config} --seed "
                f"{found.base_seed} --games {max(found.num_games, index + 1)} --record-moves --bot {named}`",
            )
    return History(options, game.seed, json.loads(game.board), moves)
