"""The benchmark: bots on the boards of one set, each game played once and kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from sgdb.benchmark.boards import Boards
from sgdb.benchmark.keeping import DatabaseKeeper, StorageKeeper, save_played
from sgdb.benchmark.named_bots import BotSource, checked_name, source_of
from sgdb.benchmark.pool import ProcessPool
from sgdb.benchmark.reports import Failed, Kept, Played, Task, Terms
from sgdb.benchmark.strategy import Keeper, Strategy
from sgdb.errors import BusyError, EnvironmentFaultError, UsageError
from sgdb.game.bots import BUILT_IN
from sgdb.game.play import MOVE_LIMIT, play
from sgdb.pickles.seeds import LAST_GAME
from sgdb.progress import Progress, Silent
from sgdb.records import BotPerformance, GameConfig, GameSnapshot, IdRuns
from sgdb.settings import Settings
from sgdb.storage.base import BenchmarkStorage
from sgdb.storage.factory import Kind, open_storage
from sgdb.storage.moves import MoveStorage
from sgdb.storage.postgres import PostgresStorage

_SAVE_EVERY = 1.0  # seconds, at least
_SAVE_SELDOM = 60.0  # seconds, at most
_SAVE_SHARE = 10  # saving takes a tenth of the time at most: a large pickle is written anew each time
_LARGEST_SAVE = 5000  # games


@dataclass
class BotRun:
    """What has become of one bot's games: `there` had a result already, or got one from another process
    meanwhile; `played` were played and kept now; `failures` are the others, each with its reason.
    `recorded` are those whose moves were stored now, whenever the result was."""

    bot: str
    there: int = 0
    played: int = 0
    recorded: int = 0
    failures: list[Failed] = field(default_factory=list)


class Benchmark:
    """The first `num_games` games of the set of this shape and base seed.

    `storage` is where the set is kept: a storage of this very set, or "database", "pickle" or "dual", opened
    with `settings`; left out, the settings choose. Nothing is read or made before it is asked for. The set
    may hold more games than these, and results of any number of bots: they are used, and left alone. Games
    that the set lacks are drawn from the base seed when they are to be played, and added to it; a set that
    bots have run on declares as many games, or more.

    `strategy` is who plays; by default a ProcessPool on all cores. Several benchmarks, in any number of
    processes, may be at work on one set: see `BenchmarkStorage`. Raises UsageError.
    """

    def __init__(
        self,
        config: GameConfig,
        num_games: int = 1000,
        base_seed: int = 42,
        storage: BenchmarkStorage | Kind | None = None,
        *,
        settings: Settings | None = None,
        strategy: Strategy | None = None,
        move_limit: int = MOVE_LIMIT,
    ) -> None:
        if type(num_games) is not int or not 1 <= num_games <= LAST_GAME + 1:
            raise UsageError(
                f"there is no benchmark of {num_games!a:.40} games", hint=f"take 1 to {LAST_GAME + 1}"
            )
        if type(move_limit) is not int or move_limit < 1:
            raise UsageError(f"there is no move limit of {move_limit!a:.40}", hint="take 1 or more")
        if isinstance(storage, BenchmarkStorage):
            if (storage.config, storage.base_seed) != (config, base_seed):
                raise UsageError(
                    f"the storage holds {storage.config} with base seed {storage.base_seed}, not {config} "
                    f"with base seed {base_seed}"
                )
            self.storage = storage
        else:
            self.storage = open_storage(storage, config=config, base_seed=base_seed, settings=settings)
        self._closes_storage = self.storage is not storage
        self.config, self.base_seed = self.storage.config, self.storage.base_seed
        self.num_games = num_games
        self.move_limit = move_limit
        self._strategy = strategy
        self._boards = Boards(self.storage, num_games)

    # -- looking ----------------------------------------------------------------------------------

    def get_game(self, game_id: int) -> GameSnapshot:
        """One game, and nothing else is fetched; drawn from the base seed where the set lacks it. Raises
        UsageError when the benchmark has no game of this id."""
        if not 0 <= game_id < self.num_games:
            raise UsageError(
                f"the benchmark has no game {game_id}", hint=f"its games are 0 to {self.num_games - 1}"
            )
        return next(self.iter_games(game_id, game_id + 1))

    def iter_games(self, start: int = 0, stop: int | None = None) -> Iterator[GameSnapshot]:
        """The games from `start` up to but without `stop`, fetched as they are asked for. Stores nothing."""
        stop = self.num_games if stop is None else min(stop, self.num_games)
        return self._boards.get(range(max(start, 0), stop), add=False)

    def results(self, bot_name: str) -> list[BotPerformance]:
        """One bot's results on the benchmark's games, as far as there are any."""
        return self.storage.load_results(bot_name, 0, self.num_games)

    def missing_games(self, bot_name: str) -> list[int]:
        """The games that this bot has no result on; one that bears another bot's name is one, too."""
        there = {row.game_id for row in self.results(bot_name)}
        return [game_id for game_id in range(self.num_games) if game_id not in there]

    # -- playing ----------------------------------------------------------------------------------

    def run_bots(
        self,
        bots: Iterable[Any] | None = None,
        *,
        record_moves: bool = False,
        progress: Progress | None = None,
    ) -> list[BotRun]:
        """Has each bot play the games that it has no result on, one bot after the other.

        A bot is named (one of the built-in ones, or "package.module:Class"), a class that is made without
        arguments, or an object with `name` and `select_action(board)`, which is sent to the processes that
        play; None are all built-in bots, a single name is one bot. All are made once before anything is
        played, and what is wrong with one raises: NotFoundError, BotError, UsageError.

        Results are saved as they come, about every second; whatever ends the run, what was played until then
        is saved, and the next run goes on from there. A game that the bot fails is in the bot's `failures`,
        and not stored. A result that another process has stored meanwhile stays.

        With `record_moves` the moves are stored, too, also for games that have a result and no moves: where
        the bot plays these otherwise now, the game is a failure. Raises UsageError when the storage keeps no
        moves; a dual one whose database is away keeps results only, with a notice, and the next call records
        the moves. For other errors see `BenchmarkStorage`.
        """
        progress = progress or Silent()
        if record_moves and not isinstance(self.storage, MoveStorage):
            raise UsageError(
                f"a {self.storage.kind} storage keeps no moves",
                hint="moves are recorded in the database: take the storage database or dual",
            )
        named_bots = BUILT_IN if bots is None else [bots] if isinstance(bots, str) else bots
        sources = [source_of(bot) for bot in named_bots]
        strategy = self._strategy or ProcessPool()
        try:
            named = _introduced(strategy, sources)
            runs = [
                self._run(strategy, name, source, record_moves, progress) for name, source in named.items()
            ]
            if runs:
                self._declare()
            return runs
        finally:
            if strategy is not self._strategy:
                strategy.close()

    def evaluate_agent(self, agent: Any, save_results: bool = False) -> list[BotPerformance]:
        """Has anything with `name` and `select_action(board) -> (row, col) | None` play all the games, here
        and now, whatever results it has; returns its results by game id.

        With `save_results` they are saved at the end: results that are there already, and boards, have to be
        the same, or nothing is saved and it raises ConflictError. What the agent raises passes through;
        BotError when it answers with no move.
        """
        name = checked_name(agent, type(agent).__name__)
        rows, played = [], []
        for game in self.iter_games():
            outcome = play(game.cells, agent, move_limit=self.move_limit)
            rows.append(BotPerformance(name, game.game_id, *outcome))
            if save_results:
                played.append(Task(*game).game)
        if save_results:
            save_played(self.storage, self.num_games, name, rows, played)
        return rows

    def _run(
        self, strategy: Strategy, bot: str, source: BotSource, record_moves: bool, progress: Progress
    ) -> BotRun:
        missing = self.missing_games(bot)
        wanted = sorted({*missing, *self._without_moves(bot)}) if record_moves else missing
        run = BotRun(bot, there=self.num_games - len(wanted))
        if not wanted:
            return run
        keeper = StorageKeeper(self.storage, self.num_games, record_moves=record_moves)
        saver = _Saver(keeper, run, missing)
        games = saver.handed_out(Task(*game) for game in self._boards.get(wanted, add=True))
        terms = Terms(self.move_limit, record_moves)
        reports = strategy.play(source, games, terms, self._far_keeper(record_moves))
        progress.start(len(wanted), "game")
        try:
            with closing(reports):
                for report in reports:
                    saver.take(report)
                    progress.advance(1, bot)
        finally:
            try:
                saver.save()
            finally:
                progress.finish()
        run.failures.sort()
        if record_moves and saver.unrecorded:
            progress.notice(
                f"the database is away: {saver.unrecorded} games of {bot} are kept without their moves; the "
                "next run records them"
            )
        return run

    def _declare(self) -> None:
        """Has the set, which has all these games by now, declare as many."""
        stored = self.storage.load_part((), 0, 0)
        if stored is not None and stored.num_games < self.num_games:
            self.storage.store((), {}, self.num_games, replace=False)

    def _without_moves(self, bot: str) -> Sequence[int]:
        assert isinstance(self.storage, MoveStorage)
        try:
            recorded = self.storage.games_with_moves(bot)
        except (EnvironmentFaultError, BusyError):
            if self.storage.kind != "dual":
                raise
            return ()  # the work goes on; what is not recorded now can be, later
        return list(IdRuns([(0, self.num_games)]).minus(recorded))

    def _far_keeper(self, record_moves: bool) -> Keeper | None:
        """Who stores what other machines play: they, if they can reach the database."""
        storage = self.storage
        if not isinstance(storage, PostgresStorage) or storage.settings.server_address is None:
            return None
        return DatabaseKeeper(storage.settings, self.config, self.base_seed, self.num_games, record_moves)

    # -- as a context -----------------------------------------------------------------------------

    def close(self) -> None:
        """Closes the storage, unless it was handed in. The benchmark may be used again afterwards."""
        if self._closes_storage:
            self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Saver:
    """Takes the reports on one bot's games, counts them, and has games kept, some at a time."""

    def __init__(self, keeper: Keeper, run: BotRun, missing: Iterable[int]) -> None:
        """`missing` are the games that have no result yet."""
        self._keeper = keeper
        self._run = run
        self._missing = {*missing}
        self.unrecorded = 0
        self._tasks: dict[int, Task] = {}
        self._waiting: list[Played] = []
        self._due = time.monotonic() + _SAVE_EVERY

    def handed_out(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """These, each remembered until it is done with: its board goes with its result."""
        for task in tasks:
            self._tasks[task.game_id] = task
            yield task

    def take(self, report: Played | Kept | Failed) -> None:
        if isinstance(report, Played):
            self._waiting.append(report)
            if len(self._waiting) >= _LARGEST_SAVE or time.monotonic() >= self._due:
                self.save()
        else:
            self._count(report)

    def save(self) -> None:
        """Saves what is waiting. When that is interrupted, it is still waiting."""
        began = time.monotonic()
        for report in self._keeper.keep(self._run.bot, self._waiting, self._played()):
            self._count(report)
        self._waiting = []
        now = time.monotonic()
        self._due = now + min(max(_SAVE_EVERY, _SAVE_SHARE * (now - began)), _SAVE_SELDOM)

    def _played(self) -> list[Task]:
        return [self._tasks[game.game_id] for game in self._waiting if game.game_id in self._tasks]

    def _count(self, report: Kept | Failed) -> None:
        self._tasks.pop(report.game_id, None)
        if isinstance(report, Failed):
            self._run.failures.append(report)
        else:
            is_new = report.stored and report.game_id in self._missing
            self._run.played += is_new
            self._run.there += not is_new
            self._run.recorded += report.recorded
            self.unrecorded += not report.recorded


def _introduced(strategy: Strategy, sources: list[BotSource]) -> dict[str, BotSource]:
    """The bots by name, in the order in which they were given; the same one twice is once."""
    named: dict[str, BotSource] = {}
    for source in sources:
        name = strategy.introduce(source)
        if not source.is_same_as(named.setdefault(name, source)):
            raise UsageError(
                f"two different bots are named {name!a:.80}: {named[name]} and {source}",
                hint="give each a name of its own: results are filed under names",
            )
    return named
