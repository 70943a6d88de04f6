"""Where a benchmark set is kept: the interface, and what every implementation of it promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from sgdb.errors import UsageError
from sgdb.records import BenchmarkData, BotPerformance, GameConfig, GameSnapshot
from sgdb.storage.values import checked_games, checked_num_games, checked_results, checked_set, is_sound


class BenchmarkStorage(ABC):
    """One benchmark set, named by board shape and base seed, in a place that outlives the program.

    Every implementation keeps these promises; `sgdb.testing.StorageContract` tests them.

    *Durability.* When a saving call returns, what it was given is on disk: it survives the death of this
    process, of the database server and, where disks keep what they say they have written, of the machine.
    When a saving call raises, or the process dies in it, all of what it was given is there or nothing.

    *Saving adds.* Results of other bots, and of the same bot on other games, stay. Saving what is there
    already changes nothing. Another value for something that is there is a ConflictError, and nothing of the
    call is kept; with `replace=True` results take the place of the stored ones. A board is never replaced.

    *Order.* Bots come in the order of their names, rows by game id, each game once. Bots without results are
    not listed. What else a legacy record carried comes and goes in `metadata`, as `sgdb.pickles.attributes`
    describes; a board's origin is no part of a record.

    *Boards follow from seeds.* Results may name games that the set does not have, as long as its games are
    those of the base seed: the boards are drawn then. A set that has to reach further for it gets every game
    up to the last, and declares as many; without a set one is made.

    *Company.* A storage may be used by several threads at once, and any number of storages in any number of
    processes may hold the same set: of calls that save at the same time, each keeps the promises above.

    *Errors.* ValueRefusedError for a value that cannot be kept as it is, UsageError for another set's data,
    ConflictError as above; InputRefusedError when what is stored cannot be read, which is never taken for
    absence and never overwritten; EnvironmentFaultError when disk or database fail, BusyError when another
    process keeps a lock for too long.
    """

    kind: str
    """What messages call this storage: "pickle", "database" or "dual"."""

    def __init__(self, config: GameConfig, base_seed: int) -> None:
        self.config, self.base_seed = checked_set(config, base_seed)

    # -- to be implemented ----------------------------------------------------------------------

    @abstractmethod
    def load_data(self) -> BenchmarkData | None:
        """The set whole, as of one moment; None when nothing has been stored."""

    @abstractmethod
    def data_exists(self) -> bool:
        """Whether anything has been stored."""

    @abstractmethod
    def bot_names(self) -> list[str]:
        """The bots that have results, in the order of their names."""

    @abstractmethod
    def iter_games(self, start: int = 0, stop: int | None = None) -> Iterator[GameSnapshot]:
        """The games with ids from `start` up to but without `stop`, fetched as they are asked for, as of
        one moment. Without a set there are none."""

    @abstractmethod
    def load_results(self, bot_name: str, start: int = 0, stop: int | None = None) -> list[BotPerformance]:
        """One bot's results on the games from `start` up to but without `stop`; empty when it has none."""

    @abstractmethod
    def store(
        self,
        games: Sequence[GameSnapshot],
        results: Mapping[str, Sequence[BotPerformance]],
        num_games: int | None,
        *,
        replace: bool,
    ) -> None:
        """What `save_data` and `save_results` come down to: rows that have been checked, each id once, by
        id; bots with at least one row. `num_games` is None where no size is declared."""

    @abstractmethod
    def load_part(
        self, bot_names: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> BenchmarkData | None:
        """The games from `start` up to but without `stop`, and the results that these bots (None: all) have
        on them, as of one moment; None when nothing has been stored."""

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Gives back what the storage holds open. It may be used again afterwards."""

    # -- saving ---------------------------------------------------------------------------------

    def save_data(self, data: BenchmarkData, *, replace: bool = False) -> None:
        """Adds a set's games and results to what is stored; the larger declared size holds."""
        if (data.config, data.base_seed) != (self.config, self.base_seed):
            raise UsageError(
                f"this storage holds {self.config} with base seed {self.base_seed}, the data are "
                f"{data.config} with base seed {data.base_seed}",
                hint="open a storage for that set",
            )
        results = {bot: checked_results(bot, rows) for bot, rows in data.results.items()}
        self.store(
            checked_games(self.config, data.games),
            {bot: rows for bot, rows in results.items() if rows},
            checked_num_games(data.num_games),
            replace=replace,
        )

    def save_results(
        self, bot_name: str, results: Iterable[BotPerformance], *, replace: bool = False
    ) -> None:
        """Adds one bot's results; the set grows where it has to."""
        rows = checked_results(bot_name, results)
        if rows:
            self.store((), {bot_name: rows}, None, replace=replace)

    # -- what follows from the rows -------------------------------------------------------------

    def is_compatible(self, config: GameConfig, base_seed: int) -> bool:
        """Whether there is data, and it is of this board shape and base seed."""
        return (config, base_seed) == (self.config, self.base_seed) and self.data_exists()

    def validate_results(self, bot_name: str, results: Sequence[BotPerformance]) -> int:
        """How many results from the beginning are games 0, 1, 2, ... of this bot with possible values."""
        for expected, row in enumerate(results):
            if row.game_id != expected or not is_sound(bot_name, row):
                return expected
        return len(results)

    def determine_missing_games(
        self, bot_name: str, results: Mapping[str, Sequence[BotPerformance]], num_games: int
    ) -> list[int]:
        """The games below `num_games` for which `results` has no row of this bot with possible values."""
        there = {row.game_id for row in results.get(bot_name, ()) if is_sound(bot_name, row)}
        return [game_id for game_id in range(num_games) if game_id not in there]

    def merge_results(
        self,
        existing: Sequence[BotPerformance],
        new: Sequence[BotPerformance],
        num_games: int,
        bot_name: str,
    ) -> list[BotPerformance]:
        """One row a game below `num_games`, by game id: those that `validate_results` counts, else the new
        ones, else what else exists. Games without any are left out."""
        merged = {row.game_id: row for row in existing if is_sound(bot_name, row)}
        merged.update((row.game_id, row) for row in new)
        merged.update((row.game_id, row) for row in existing[: self.validate_results(bot_name, existing)])
        return [merged[game_id] for game_id in sorted(merged) if 0 <= game_id < num_games]

    # -- as a context ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
