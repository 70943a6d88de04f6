"""A database that may be away, for programs that must go on without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sgdb.records import BenchmarkData, BotPerformance, GameSnapshot, IdRuns
from sgdb.storage.base import BenchmarkStorage
from sgdb.storage.breaker import CircuitBreaker
from sgdb.storage.guard import Guard
from sgdb.storage.moves import MoveStorage
from sgdb.storage.postgres import PostgresStorage

_BATCH = 1000
_BATCH_CHARACTERS = 1 << 20  # of boards


class GuardedDatabase(BenchmarkStorage, MoveStorage):
    """A PostgresStorage each call of which comes to an end, whatever state the server is in.

    A call takes at most `seconds` when the server does not answer, and none after a failure for a while: see
    `Guard`. `iter_games` fetches batch by batch. Everything else is as PostgresStorage promises.
    """

    kind = "database"

    def __init__(self, database: PostgresStorage, breaker: CircuitBreaker, *, seconds: float) -> None:
        super().__init__(database.config, database.base_seed)
        self._database = database
        guard = Guard(breaker, seconds=seconds, answers=database.answers, abandon=database.abandon)
        self._call = guard.call

    def load_data(self) -> BenchmarkData | None:
        """As PostgresStorage."""
        return self._call(self._database.load_data)

    def load_part(
        self, bot_names: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> BenchmarkData | None:
        """As PostgresStorage."""
        return self._call(lambda: self._database.load_part(bot_names, start, stop))

    def data_exists(self) -> bool:
        """As PostgresStorage."""
        return self._call(self._database.data_exists)

    def bot_names(self) -> list[str]:
        """As PostgresStorage."""
        return self._call(self._database.bot_names)

    def iter_games(self, start: int = 0, stop: int | None = None) -> Iterator[GameSnapshot]:
        """As PostgresStorage; each batch is a call of its own."""
        games = self._database.iter_games(start, stop)
        while batch := self._call(lambda: _batch(games)):
            yield from batch

    def load_results(self, bot_name: str, start: int = 0, stop: int | None = None) -> list[BotPerformance]:
        """As PostgresStorage."""
        return self._call(lambda: self._database.load_results(bot_name, start, stop))

    def store(
        self,
        games: Sequence[GameSnapshot],
        results: Mapping[str, Sequence[BotPerformance]],
        num_games: int | None,
        *,
        replace: bool,
    ) -> None:
        """As PostgresStorage; after a DatabaseUnreachableError it is unknown whether it took place."""
        self._call(lambda: self._database.store(games, results, num_games, replace=replace))

    def save_moves(self, bot_name: str, moves: Mapping[int, Sequence[tuple[int, int]]]) -> None:
        """As PostgresStorage."""
        self._call(lambda: self._database.save_moves(bot_name, moves))

    def load_moves(
        self, bot_name: str, start: int = 0, stop: int | None = None
    ) -> dict[int, list[tuple[int, int]]]:
        """As PostgresStorage."""
        return self._call(lambda: self._database.load_moves(bot_name, start, stop))

    def games_with_moves(self, bot_name: str) -> IdRuns:
        """As PostgresStorage."""
        return self._call(lambda: self._database.games_with_moves(bot_name))

    def close(self) -> None:
        """As PostgresStorage."""
        self._database.close()


def _batch(games: Iterator[GameSnapshot]) -> list[GameSnapshot]:
    batch, characters = [], 0
    for game in games:
        batch.append(game)
        characters += len(game.board)
        if len(batch) == _BATCH or characters >= _BATCH_CHARACTERS:
            break
    return batch
