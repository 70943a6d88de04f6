"""Storing what was played: by whoever plays for the benchmark, on this machine or another one."""

from __future__ import annotations

from typing import NamedTuple

from sgdb.benchmark.reports import Failed, Kept, Played
from sgdb.errors import BusyError, ConflictError, EnvironmentFaultError
from sgdb.records import BotPerformance, GameConfig
from sgdb.settings import Settings
from sgdb.storage.base import BenchmarkStorage
from sgdb.storage.moves import MoveStorage
from sgdb.storage.postgres import PostgresStorage

_ATTEMPTS = 5  # as often as another process may be a little faster than this one


class StorageKeeper:
    """Keeps games in a storage.

    The first one to store a game has it: what another process has stored meanwhile stays, whether it is the
    same or not. Moves are stored beside the very result that they led to, or not at all.
    """

    def __init__(self, storage: BenchmarkStorage, *, record_moves: bool = False) -> None:
        self._storage = storage
        self._moves = storage if record_moves and isinstance(storage, MoveStorage) else None

    def keep(self, bot: str, games: list[Played]) -> list[Kept | Failed]:
        """Stores one bot's games, results first; see `BenchmarkStorage` for errors.

        With a dual storage whose database is away the results are kept, and the games reported as failed
        for the sake of their moves.
        """
        if not games:
            return []
        self._save(bot, [game.performance(bot) for game in games])
        if self._moves is None:
            return [Kept(game.game_id, recorded=False) for game in games]
        return self._record(self._moves, bot, games)

    def _save(self, bot: str, rows: list[BotPerformance]) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self._storage.save_results(bot, rows)
            except ConflictError:
                there = self._stored(bot, [row.game_id for row in rows])
                lacking = [row for row in rows if row.game_id not in there]
                if len(lacking) == len(rows) or attempt == _ATTEMPTS - 1:
                    raise  # it is about something else than these results
                rows = lacking
            else:
                return

    def _record(self, storage: MoveStorage, bot: str, games: list[Played]) -> list[Kept | Failed]:
        there = self._stored(bot, [game.game_id for game in games])
        reports: list[Kept | Failed] = []
        moves = {}
        for game in games:
            stored = there.get(game.game_id)
            ours = game.performance(bot)
            if stored is None or stored[2:6] != ours[2:6]:
                reports.append(Failed(game.game_id, _otherwise(ours, stored)))
            else:
                moves[game.game_id] = game.moves or []
        return reports + self._save_moves(storage, bot, moves)

    def _save_moves(
        self, storage: MoveStorage, bot: str, moves: dict[int, list[tuple[int, int]]]
    ) -> list[Kept | Failed]:
        try:
            storage.save_moves(bot, moves)
        except ConflictError as error:
            if len(moves) > 1:  # the others are not to suffer for it
                return [
                    report
                    for game_id, made in moves.items()
                    for report in self._save_moves(storage, bot, {game_id: made})
                ]
            return [Failed(game_id, f"its moves are not recorded: {error.message}") for game_id in moves]
        except (EnvironmentFaultError, BusyError) as error:
            if self._storage.kind != "dual":
                raise
            return [Failed(game_id, f"its moves are not recorded: {error.message}") for game_id in moves]
        return [Kept(game_id, recorded=True) for game_id in moves]

    def _stored(self, bot: str, ids: list[int]) -> dict[int, BotPerformance]:
        rows = self._storage.load_results(bot, min(ids), max(ids) + 1)
        return {row.game_id: row for row in rows}


class DatabaseKeeper(NamedTuple):
    """The same for somebody far away: opens the database there, when there is something to store."""

    settings: Settings
    config: GameConfig
    base_seed: int
    record_moves: bool

    def keep(self, bot: str, games: list[Played]) -> list[Kept | Failed]:
        """As `StorageKeeper`, on a connection of its own."""
        with PostgresStorage(self.settings, self.config, self.base_seed) as storage:
            return StorageKeeper(storage, record_moves=self.record_moves).keep(bot, games)


def _otherwise(ours: BotPerformance, stored: BotPerformance | None) -> str:
    if stored is None:
        return "its moves are not recorded: its result is gone"
    fields = ("tiles_cleared", "singles_remaining", "moves_made", "completed")
    said = ", ".join(
        f"{field} {getattr(ours, field)} instead of {getattr(stored, field)}"
        for field in fields
        if getattr(ours, field) != getattr(stored, field)
    )
    return f"its moves are not recorded: the bot plays otherwise than for the stored result ({said})"
