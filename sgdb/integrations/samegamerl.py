"""Repositories for the old benchmark system, which keep its sets in sgdb's storages.

They have the seven methods of its repository interface, take and return its own classes, and stand where its
own repositories do: one line of its factory changes (docs/howto/samegamerl.md). The package itself is not
needed, and is imported only where it is there and something has to be made of its classes.

As with a pickle that is dumped anew, results that are saved again take the place of what is stored. Unlike
then, what the call does not name stays, and so does what another process has saved in the meantime.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import finalize

from sgdb.atomic import file_error
from sgdb.errors import (
    BusyError,
    EnvironmentFaultError,
    FileAccessError,
    InputRefusedError,
    NotFoundError,
    UsageError,
)
from sgdb.integrations.old_objects import OldObjects, plain_result
from sgdb.pickles.files import FileSource
from sgdb.pickles.legacy import LegacyFile
from sgdb.records import BotPerformance, GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage import BenchmarkStorage, PickleStorage, open_storage
from sgdb.storage.values import checked_games, checked_num_games, checked_results, checked_set, is_sound

__all__ = [
    "DatabaseBenchmarkRepository",
    "DualBenchmarkRepository",
    "PickleAndDatabaseBenchmarkRepository",
]

log = logging.getLogger("sgdb.storage")
_INTERFACE = "samegamerl.evaluation.benchmark_repository_interface"
_Set = tuple[GameConfig, int]
_UNREADABLE = (InputRefusedError, FileAccessError)


class DatabaseBenchmarkRepository:
    """One benchmark set in the database that sgdb uses, under the old system's interface.

    `config` is anything with `num_rows`, `num_cols` and `num_colors`; `settings` are those of
    `load_settings()` unless given. Nothing is connected before the first call. Durability, company and
    errors are those of `sgdb.storage.BenchmarkStorage`; a board is never replaced. A board of another size
    than the config says, or with other colours, is kept as it is; `sgdb verify` names it.
    """

    def __init__(self, config: Any, base_seed: int, *, settings: Settings | None = None) -> None:
        self.config = config
        self.base_seed: int | None = base_seed
        self._begin(checked_set(config, base_seed), settings)

    def _begin(self, of: _Set | None, settings: Settings | None) -> None:
        self._settings = settings
        self._is_fixed = of is not None
        self._set = of
        self._storage: BenchmarkStorage | None = None
        self._objects = OldObjects(self.config)
        self._known: dict[str, dict[int, BotPerformance]] = {}
        interface = sys.modules.get(_INTERFACE)
        if interface is not None:  # for isinstance
            interface.BenchmarkRepositoryInterface.register(type(self))

    # -- the old interface ----------------------------------------------------------------------

    def save_data(self, data: Any) -> None:
        """Adds the data's games and results to what is stored; results of the same bot and game replace."""
        taken = self._objects.taken(data)
        found = checked_set(taken.config, taken.base_seed)
        if self._is_fixed and found != self._set:
            assert self._set is not None
            raise UsageError(
                f"this repository holds {self._set[0]} with base seed {self._set[1]}, the data are "
                f"{found[0]} with base seed {found[1]}",
                hint="make a repository for that set",
            )
        games = checked_games(found[0], taken.games, any_board=True)
        results = {bot: checked_results(bot, rows) for bot, rows in taken.results.items()}
        num_games = checked_num_games(taken.num_games)
        storage = self._storage_of(found)
        self.config, self.base_seed = data.config, data.base_seed
        storage.store(games, self._changed(storage, results), num_games, replace=True)
        self._remember(results)

    def load_data(self) -> Any:
        """The whole set as the old system's BenchmarkData, or None where nothing has been stored."""
        storage = self._found()
        data = storage.load_data() if storage is not None else None
        if data is None:
            return None
        self._known.clear()
        self._remember(data.results)
        given = self._objects.given(data)
        self.config, self.base_seed = given.config, given.base_seed
        return given

    def validate_results(self, bot_name: str, results: Sequence[Any] | None) -> int:
        """How many results from the beginning are games 0, 1, 2, ... of this bot with possible values."""
        for expected, row in enumerate(results or ()):
            found = plain_result(row)
            if found is None or found.game_id != expected or not is_sound(bot_name, found):
                return expected
        return len(results or ())

    def determine_missing_games(
        self, bot_name: str, results: Mapping[str, Sequence[Any]], num_games: int
    ) -> list[int]:
        """The games from the first on that `validate_results` does not count, up to `num_games`."""
        return list(range(self.validate_results(bot_name, results.get(bot_name)), num_games))

    def merge_results(
        self, existing: Sequence[Any], new: Sequence[Any], num_games: int, bot_name: str
    ) -> list[Any]:
        """The results that `validate_results` counts, and then the new ones, up to the first gap."""
        merged = list(existing[: self.validate_results(bot_name, existing)])[:num_games]
        played = {row.game_id: row for row in new}
        for game_id in range(len(merged), num_games):
            if game_id not in played:
                break
            merged.append(played[game_id])
        return merged

    def data_exists(self) -> bool:
        """Whether anything has been stored."""
        storage = self._found()
        return storage is not None and storage.data_exists()

    def is_compatible(self, config: Any, base_seed: int) -> bool:
        """Whether there is data, and it is of this board shape and base seed."""
        try:
            asked = checked_set(config, base_seed)
        except UsageError:
            return False
        return self._holds(asked) and self._storage_of(asked).data_exists()

    def close(self) -> None:
        """Closes the connections, as the end of the object does. It may be used again afterwards."""
        if self._storage is not None:
            self._storage.close()

    # -- the storage ----------------------------------------------------------------------------

    def _holds(self, asked: _Set) -> bool:
        """Whether this is a repository of that set."""
        return self._set == asked

    def _found(self) -> BenchmarkStorage | None:
        """The storage of the set; None while it is not known which that is."""
        return None if self._set is None else self._storage_of(self._set)

    def _storage_of(self, wanted: _Set) -> BenchmarkStorage:
        if self._storage is None or self._set != wanted:
            self.close()
            self._known.clear()
            self._set, self._storage = wanted, self._open(*wanted)
            finalize(self, self._storage.close)
        return self._storage

    def _open(self, config: GameConfig, base_seed: int) -> BenchmarkStorage:
        return open_storage("database", config=config, base_seed=base_seed, settings=self._settings)

    # -- what others have saved meanwhile -------------------------------------------------------

    def _remember(self, results: Mapping[str, Sequence[BotPerformance]]) -> None:
        for bot, rows in results.items():
            self._known.setdefault(bot, {}).update((row.game_id, row) for row in rows)

    def _changed(
        self, storage: BenchmarkStorage, results: Mapping[str, Sequence[BotPerformance]]
    ) -> dict[str, list[BotPerformance]]:
        """The results that are to be saved: those that are other than when this repository saw them last,
        and those that are not stored any more. The old system hands in all that it has, with every save;
        what it has not touched must not undo another process's work."""
        seen = [bot for bot in results if bot in self._known]
        stored = storage.load_part(seen) if seen else None
        changed = {}
        for bot, rows in results.items():
            known = self._known.get(bot, {})
            there = {row.game_id for row in stored.results.get(bot, ())} if stored is not None else set()
            changed[bot] = [row for row in rows if row.game_id not in there or known.get(row.game_id) != row]
        return {bot: rows for bot, rows in changed.items() if rows}


class PickleAndDatabaseBenchmarkRepository(DatabaseBenchmarkRepository):
    """One benchmark set in a pickle and in the database, under the old system's interface.

    Made like the old system's database repository, of a config and a base seed, or like its pickle
    repository, of a path alone; which set it is, the file or the first save tells then. Without a path the
    pickle is looked for in the settings' pickle folder, or else in the old system's own. Everything else is
    as in `DatabaseBenchmarkRepository` and `sgdb.storage.DualStorage`: either side may be away.

    A file at the path that holds another set stays as it is; the pickle is then beside it, under a name that
    says which set it holds. A file without a single byte holds nothing and makes way.
    """

    def __init__(
        self,
        config: Any = None,
        base_seed: int | None = None,
        benchmark_path: Path | str | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        if isinstance(config, (str, os.PathLike)) and benchmark_path is None:
            config, benchmark_path = None, Path(config)
        self.config = config
        self.base_seed = base_seed
        self.benchmark_path = None if benchmark_path is None else Path(benchmark_path)
        if config is not None and base_seed is not None:
            self._begin(checked_set(config, base_seed), settings)
        elif config is None and base_seed is None and benchmark_path is not None:
            self._begin(None, settings)
        else:
            raise UsageError(
                "which benchmark set is meant?", hint="give config and base_seed, or benchmark_path, or all"
            )

    def data_exists(self) -> bool:
        """Whether anything has been stored; a file that cannot be read is something."""
        try:
            return super().data_exists()
        except _UNREADABLE:
            if self._set is not None:
                raise
            return True

    def _holds(self, asked: _Set) -> bool:
        if self._set is not None:
            return self._set == asked
        assert self.benchmark_path is not None
        try:
            found = _set_in(self.benchmark_path)
        except _UNREADABLE:
            return True  # what cannot be read may be it; the database knows
        return found == asked or (found is not None and _beside(self.benchmark_path, asked).exists())

    def _found(self) -> BenchmarkStorage | None:
        if self._set is None:
            assert self.benchmark_path is not None
            found = _set_in(self.benchmark_path)
            return None if found is None else self._storage_of(found)
        return super()._found()

    def _open(self, config: GameConfig, base_seed: int) -> BenchmarkStorage:
        settings = load_settings() if self._settings is None else self._settings
        path = self.benchmark_path
        if path is not None:
            path = self._pickle_of((config, base_seed), path)
            try:
                PickleStorage(path, config, base_seed).remove_if_empty()
            except (EnvironmentFaultError, BusyError) as error:  # it will be found to be away
                log.debug("an empty pickle stays: %s", error.message)
        elif settings.pickle_dir is None and (folder := _old_folder()) is not None:
            settings = settings.model_copy(update={"pickle_dir": folder})
        return open_storage("dual", config=config, base_seed=base_seed, path=path, settings=settings)

    def _pickle_of(self, wanted: _Set, path: Path) -> Path:
        try:
            found = _set_in(path)
        except _UNREADABLE:
            return path
        if found in (None, wanted):
            return path
        beside = _beside(path, wanted)
        log.warning(
            "%s holds %s with base seed %s, and keeps it; %s with base seed %s is in %s",
            path, *found, *wanted, beside.name,
        )  # fmt: skip
        return beside


DualBenchmarkRepository = PickleAndDatabaseBenchmarkRepository


def _set_in(path: Path) -> _Set | None:
    """Which set a pickle holds; None where there is none, or one without a byte. Raises InputRefusedError or
    FileAccessError where it cannot be read."""
    try:
        if not path.stat().st_size:
            return None
        contents = LegacyFile.read(FileSource(path)).contents
    except (FileNotFoundError, NotADirectoryError, NotFoundError):
        return None
    except OSError as error:
        raise file_error(error, f"cannot read {path}") from error
    return contents.config, contents.base_seed


def _beside(path: Path, wanted: _Set) -> Path:
    """Where a set's pickle is whose path another set has taken."""
    config, base_seed = wanted
    return path.with_name(f"{path.stem}.{config}_{base_seed}{path.suffix}")


def _old_folder() -> Path | None:
    """Where the old system keeps its pickles, where that is installed."""
    try:
        spec = find_spec("samegamerl")
    except ValueError:  # a module that was made by hand
        return None
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(folders[0]).resolve() / "evaluation" / "benchmarks" if folders else None
