"""Storing what was played: by whoever plays for the benchmark, on this machine or another one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sgdb.benchmark.reports import Failed, Kept, Played, Task
from sgdb.errors import BusyError, ConflictError, EnvironmentFaultError, NotFoundError
from sgdb.records import BotPerformance, GameConfig, GameSnapshot
from sgdb.settings import Settings
from sgdb.storage.base import BenchmarkStorage
from sgdb.storage.moves import MoveStorage
from sgdb.storage.postgres import PostgresStorage
from sgdb.storage.values import checked_results

_ATTEMPTS = 5  # as often as another process may be a little faster than this one


class StorageKeeper:
    """Keeps games of a benchmark of `num_games` in a storage.

    The first one to store a game has it: what another process has stored meanwhile stays, whether it is the
    same or not. Moves are stored beside the very result that they led to, or not at all.
    """

    def __init__(self, storage: BenchmarkStorage, num_games: int, *, record_moves: bool = False) -> None:
        self._storage = storage
        self._num_games = num_games
        self._moves = storage if record_moves and isinstance(storage, MoveStorage) else None

    def keep(self, bot: str, games: list[Played], tasks: Iterable[Task]) -> list[Kept | Failed]:
        """See `Keeper`. Stores results first; see `BenchmarkStorage` for errors.

        With a dual storage whose database is away the results are kept, and not recorded.
        """
        if not games:
            return []
        ids = {game.game_id for game in games}
        played = {task.game_id: task.game for task in tasks if task.game_id in ids}
        stored = self._save(bot, [game.performance(bot) for game in games], played)
        if self._moves is None:
            return [Kept(game.game_id, recorded=False, stored=game.game_id in stored) for game in games]
        reports = self._record(self._moves, bot, games)
        return [
            report._replace(stored=report.game_id in stored) if isinstance(report, Kept) else report
            for report in reports
        ]

    def _save(
        self, bot: str, rows: list[BotPerformance], played: Mapping[int, GameSnapshot]
    ) -> Collection[int]:
        """Stores those of the rows that no other process is ahead of; returns the games of these."""
        for attempt in range(_ATTEMPTS):
            try:
                games = [played[row.game_id] for row in rows if row.game_id in played]
                save_played(self._storage, self._num_games, bot, rows, games)
            except ConflictError:
                there = self._stored(bot, [row.game_id for row in rows])
                lacking = [row for row in rows if row.game_id not in there]
                if len(lacking) == len(rows) or attempt == _ATTEMPTS - 1:
                    raise  # it is about something else than these results
                rows = lacking
            else:
                break
        return {row.game_id for row in rows}

    def _record(self, storage: MoveStorage, bot: str, games: list[Played]) -> list[Kept | Failed]:
        there = self._stored(bot, [game.game_id for game in games])
        reports: list[Kept | Failed] = []
        moves = {}
        for game in games:
            stored = there.get(game.game_id)
            ours = game.performance(bot)
            if stored is None or (stored.bot_name, *stored[2:6]) != (ours.bot_name, *ours[2:6]):
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
        except (EnvironmentFaultError, BusyError, NotFoundError):
            if self._storage.kind != "dual":
                raise
            # The database is away, or has not got yet what it is owed.
            return [Kept(game_id, recorded=False) for game_id in moves]
        return [Kept(game_id, recorded=True) for game_id in moves]

    def _stored(self, bot: str, ids: list[int]) -> dict[int, BotPerformance]:
        rows = self._storage.load_results(bot, min(ids), max(ids) + 1)
        return {row.game_id: row for row in rows}


class DatabaseKeeper(NamedTuple):
    """The same for somebody far away: opens the database there, when there is something to store."""

    settings: Settings
    config: GameConfig
    base_seed: int
    num_games: int
    record_moves: bool

    def keep(self, bot: str, games: list[Played], tasks: Iterable[Task]) -> list[Kept | Failed]:
        """As `StorageKeeper`, on a connection of its own."""
        with PostgresStorage(self.settings, self.config, self.base_seed) as storage:
            keeper = StorageKeeper(storage, self.num_games, record_moves=self.record_moves)
            return keeper.keep(bot, games, tasks)


def save_played(
    storage: BenchmarkStorage,
    num_games: int,
    bot: str,
    rows: Iterable[BotPerformance],
    games: Iterable[GameSnapshot],
) -> None:
    """Stores a bot's results with the boards that they were reached on, in a set of `num_games` or more.

    Without the boards, a set that another process has removed meanwhile would come back with others.
    """
    checked = checked_results(bot, rows)
    if checked:
        by_id = sorted(games, key=lambda game: game.game_id)
        storage.store(by_id, {bot: checked}, num_games, replace=False)


def _otherwise(ours: BotPerformance, stored: BotPerformance | None) -> str:
    if stored is None:
        return "its moves are not recorded: its result is gone"
    if stored.bot_name != ours.bot_name:
        return f"its moves are not recorded: the stored result bears the name {stored.bot_name!a:.80}"
    fields = ("tiles_cleared", "singles_remaining", "moves_made", "completed")
    said = ", ".join(
        f"{field} {getattr(ours, field)} instead of {getattr(stored, field)}"
        for field in fields
        if getattr(ours, field) != getattr(stored, field)
    )
    return f"its moves are not recorded: the bot plays otherwise than for the stored result ({said})"
