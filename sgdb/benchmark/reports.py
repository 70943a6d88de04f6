"""What is said about games between those who have them played and those who play them."""

from __future__ import annotations

from typing import Any, NamedTuple

from sgdb.errors import BotError
from sgdb.game.play import MOVE_LIMIT, Outcome
from sgdb.records import BotPerformance, GameSnapshot

Moves = list[tuple[int, int]]
_LONGEST = 300  # characters of a bot's own words


class Task(NamedTuple):
    """One game to be played: `board` is JSON text, the rest what the set says of it."""

    game_id: int
    board: str
    seed: int | None = None
    metadata: dict[str, Any] | None = None

    @property
    def game(self) -> GameSnapshot:
        """The game as it is stored, once it has been played: blanks in a board of numbers mean nothing."""
        return GameSnapshot(self.game_id, "".join(self.board.split()), self.seed, self.metadata)


class Terms(NamedTuple):
    """How games are played: up to `move_limit` clicks, each of which is reported with `record_moves`."""

    move_limit: int = MOVE_LIMIT
    record_moves: bool = False


class Played(NamedTuple):
    """A game has come to its end; nothing of it is stored yet."""

    game_id: int
    outcome: Outcome
    moves: Moves | None = None

    def performance(self, bot: str) -> BotPerformance:
        """The outcome as it is stored."""
        return BotPerformance(bot, self.game_id, *self.outcome)


class Kept(NamedTuple):
    """A game has been played and a result is stored; `recorded` tells whether its moves are, too.

    `stored` is False where it is another process's result, which was there first and stays.
    """

    game_id: int
    recorded: bool
    stored: bool = True


class Failed(NamedTuple):
    """A game could not be played, or not be kept; nothing new of it is stored."""

    game_id: int
    reason: str


Report = Played | Kept | Failed


def reason_of(error: BaseException) -> str:
    """What a bot has done, by what it raised."""
    if isinstance(error, BotError):
        return error.message[:_LONGEST]
    return f"the bot raised {in_a_line(error)}"


def in_a_line(error: BaseException) -> str:
    """Class and first line of an exception that is not ours, whose text may be of any kind and size."""
    try:
        # Its __str__ is the bot's own code, and may return a kind of text of its own.
        text = str.__str__(str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as worse:
        text = f"(and {type(worse).__name__} when asked for its text)"
    line: Any = next(iter(text.strip().splitlines()), "")
    name = type(error).__name__
    return f"{name}: {line}"[:_LONGEST] if line else name[:_LONGEST]
