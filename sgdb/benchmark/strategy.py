"""How games are played: the interface of everything that plays them for a benchmark."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Protocol, Self

from sgdb.benchmark.named_bots import BotSource
from sgdb.benchmark.reports import Failed, Kept, Played, Report, Task, Terms


class Keeper(Protocol):
    """Stores games that have been played. It can be sent to other machines."""

    def keep(self, bot: str, games: list[Played], tasks: Iterable[Task]) -> list[Kept | Failed]:
        """Stores one bot's games; says of each what has become of it.

        `tasks` are what was played, other games among them: a result belongs to its board. A stored board
        that is another one is a ConflictError, one that is gone is stored again.
        """


class Strategy(ABC):
    """Where games are played, and how many at once. Whichever it is, results are the same.

    A bot that raises or returns nonsense costs its own game an entry; whether also one that hangs or takes
    its process with it, each strategy says. A strategy may be used for one bot after the other; it keeps what
    it has started until it is closed.
    """

    @abstractmethod
    def introduce(self, source: BotSource) -> str:
        """The name of the bot. Raises NotFoundError, BotError and UsageError, as `open_bot` does."""

    @abstractmethod
    def play(
        self, source: BotSource, games: Iterable[Task], terms: Terms, keeper: Keeper | None = None
    ) -> Generator[Report, None, None]:
        """Plays the games, fetched as they are needed, and reports on each once, in any order.

        Who plays far away stores there what it plays, if `keeper` is given, and reports Kept or Failed.
        Played is for the caller to store. When the iterator is closed, nothing goes on.
        """

    def close(self) -> None:  # noqa: B027 - some have nothing to give back
        """Ends what has been started. The strategy may be used again afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
