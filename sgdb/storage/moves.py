"""Move sequences: what a database keeps beside results, and a pickle cannot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from sgdb.records import IdRuns


class MoveStorage(ABC):
    """A storage that also keeps the moves of its bots, as (row, col) clicks; promises as in
    `BenchmarkStorage`: durable or nothing, saving adds, the same again changes nothing."""

    @abstractmethod
    def save_moves(self, bot_name: str, moves: Mapping[int, Sequence[tuple[int, int]]]) -> None:
        """Adds one bot's moves by game id. They belong to results: raises NotFoundError where the bot has no
        result on a game, ConflictError where that has another number of moves, or other moves are stored."""

    @abstractmethod
    def load_moves(
        self, bot_name: str, start: int = 0, stop: int | None = None
    ) -> dict[int, list[tuple[int, int]]]:
        """One bot's moves on the games from `start` up to but without `stop`, by game id. Raises
        ValueRefusedError where something else than moves is stored."""

    @abstractmethod
    def games_with_moves(self, bot_name: str) -> IdRuns:
        """The games on which this bot's moves are stored."""
