"""A benchmark set in a pickle that the old benchmark system loads.

The file is only ever replaced whole (`atomic_file`), under a lock between processes that is a file beside
it, `.NAME.lock`. Readers need no lock: they hold the file that they have opened, whatever takes its name
meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from sgdb.atomic import atomic_file, file_error, make_folder
from sgdb.errors import BusyError, ConflictError, NotFoundError
from sgdb.pickles.files import FileSource
from sgdb.pickles.legacy import Games, LegacyFile, Results
from sgdb.pickles.writer import write_pickle
from sgdb.records import BenchmarkData, BotPerformance, Contents, GameConfig, GameSnapshot, IdRuns
from sgdb.storage.base import BenchmarkStorage
from sgdb.storage.boards import draw_games, growth, require_drawable
from sgdb.storage.differences import require_equal_games, require_equal_results

_Results = dict[str, list[BotPerformance]]
_Row = TypeVar("_Row", GameSnapshot, BotPerformance)


@dataclass(frozen=True, slots=True)
class _Held:
    """What a file holds: `contents` for what is not in the rows; rows in the file's order, each id once."""

    contents: Contents
    games: list[GameSnapshot]
    results: _Results
    drawn: list[GameSnapshot]
    """Boards of games that have results and are not listed."""

    def is_same_as(self, other: _Held) -> bool:
        """Whether a program would see the same; the layout is no matter of programs."""
        return (self.contents.num_games, self.games, self.results) == (
            other.contents.num_games,
            other.games,
            other.results,
        )


class PickleStorage(BenchmarkStorage):
    """One set in the file at `path`, in whichever legacy layout; promises as in `BenchmarkStorage`.

    A file that holds another set is a ConflictError, one that cannot be read an InputRefusedError: neither
    is ever overwritten. What this storage writes is layout C, or B where the file was one, protocol 4, with
    everything else that the file carried. `lock_timeout` is in seconds.
    """

    kind = "pickle"

    def __init__(
        self, path: Path | str, config: GameConfig, base_seed: int, *, lock_timeout: float = 600
    ) -> None:
        super().__init__(config, base_seed)
        # A link stays one: it is the file behind it that is replaced.
        self.path = Path(os.path.realpath(path))
        self._lock_timeout = lock_timeout

    def data_exists(self) -> bool:
        """Whether there is a file. Raises as `load_data` when it is no pickle of this set."""
        with self._opened() as file:
            return file is not None

    def load_data(self) -> BenchmarkData | None:
        """All that the file holds."""
        return self.load_part()

    def load_part(
        self, bot_names: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> BenchmarkData | None:
        """The file is read whole, whatever is asked for."""
        held = self._read()
        if held is None:
            return None
        games = _between([*held.games, *held.drawn], start, stop)
        wanted = sorted(held.results if bot_names is None else held.results.keys() & {*bot_names})
        results = {bot: _between(held.results[bot], start, stop) for bot in wanted}
        return BenchmarkData(
            games,
            {bot: rows for bot, rows in results.items() if rows},
            self.config,
            held.contents.num_games,
            self.base_seed,
        )

    def bot_names(self) -> list[str]:
        """The keys that have results."""
        with self._opened() as file:
            return sorted(key for key, ids in file.contents.results if len(ids)) if file else []

    def iter_games(self, start: int = 0, stop: int | None = None) -> Iterator[GameSnapshot]:
        """The file is read to its end before the first game comes: they may stand in any order."""
        part = self.load_part((), start, stop)
        yield from part.games if part else ()

    def load_results(self, bot_name: str, start: int = 0, stop: int | None = None) -> list[BotPerformance]:
        """The rows under one key."""
        part = self.load_part([bot_name], start, stop)
        return part.results.get(bot_name, []) if part else []

    def store(
        self,
        games: Sequence[GameSnapshot],
        results: Mapping[str, Sequence[BotPerformance]],
        num_games: int | None,
        *,
        replace: bool,
    ) -> None:
        """Reads, merges and replaces the file, while no other process does."""
        make_folder(self.path.parent)
        with self._locked():
            held = self._read()
            merged = self._merge(held, games, results, num_games, replace)
            if held is not None and merged.is_same_as(held):
                return
            with atomic_file(self.path, overwrite=True) as file:
                write_pickle(file, merged.contents, merged.games, merged.results.items())

    def remove_if_empty(self) -> None:
        """Removes a file without a single byte, which some programs make first and fill later.

        Nothing is lost with it. Raises FileAccessError and BusyError.
        """
        try:
            if self._is_empty():
                with self._locked():
                    if self._is_empty():
                        self.path.unlink()
        except OSError as error:
            raise file_error(error, f"cannot remove {self.path}") from error

    def _is_empty(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size == 0

    # -- reading --------------------------------------------------------------------------------

    @contextmanager
    def _opened(self) -> Iterator[LegacyFile | None]:
        """The file, held and read once; None where there is none."""
        with ExitStack() as stack:
            try:
                source = stack.enter_context(FileSource(self.path).hold())
            except NotFoundError:
                yield None
                return
            file = LegacyFile.read(source, base_seed=self.base_seed)
            found = file.contents
            if (found.config, found.base_seed) != (self.config, self.base_seed):
                raise ConflictError(
                    f"{self.path} holds {found.config} with base seed {found.base_seed}, "
                    f"not {self.config} with base seed {self.base_seed}",
                    hint="keep the two sets in different files; nothing was changed",
                )
            yield file

    def _read(self) -> _Held | None:
        with self._opened() as file:
            if file is None:
                return None
            games: list[GameSnapshot] = []
            results: _Results = {key: [] for key in file.result_keys}
            for part in file.rows():
                match part:
                    case Games(rows):
                        games.extend(rows)
                    case Results(key, rows):
                        results[key].extend(rows)
            drawn = [game._replace(metadata=None) for game in file.regenerated()]
            return _Held(file.contents, games, results, drawn)

    # -- writing --------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.path.with_name(f".{self.path.name}.lock")
        lock = FileLock(path, timeout=self._lock_timeout)  # one a call: that keeps threads apart, too
        try:
            lock.acquire()
        except Timeout:
            raise BusyError(
                f"another process has been at work on {self.path} for {self._lock_timeout:g} seconds",
                hint=f"wait for it, or see who holds {path}",
            ) from None
        except OSError as error:
            raise file_error(error, f"cannot lock {self.path}") from error
        try:
            yield
        finally:
            lock.release()

    def _merge(
        self,
        held: _Held | None,
        games: Sequence[GameSnapshot],
        results: Mapping[str, Sequence[BotPerformance]],
        num_games: int | None,
        replace_results: bool,
    ) -> _Held:
        """What the file is to hold. Raises ConflictError, and LayoutError for boards that nothing tells."""
        if held is None:
            held = _Held(Contents("C", self.config, 0, self.base_seed, IdRuns()), [], {}, [])
        listed = {game.game_id: game for game in held.games}
        drawn = {game.game_id: game for game in held.drawn}
        require_equal_games(games, listed | drawn, "file")
        merged = {bot: {row.game_id: row for row in rows} for bot, rows in held.results.items()}
        for bot, rows in results.items():
            there = merged.setdefault(bot, {})
            if not replace_results:
                require_equal_results(bot, rows, there, "file")
            there.update((row.game_id, row) for row in rows)
        listed.update((game.game_id, game) for game in games)
        missing, size = growth(
            _ids({*listed, *drawn}),
            max(held.contents.num_games, num_games or 0),
            _ids({row.game_id for rows in results.values() for row in rows}),
        )
        require_drawable(self.config, self.base_seed, listed.values(), missing)
        listed.update((game.game_id, game) for game in draw_games(self.config, self.base_seed, missing))
        layout = "B" if held.contents.layout == "B" else "C"
        return _Held(
            replace(held.contents, layout=layout, num_games=size),
            list(listed.values()),
            {bot: list(rows.values()) for bot, rows in merged.items()},
            [game for game in held.drawn if game.game_id not in listed],
        )


def _ids(numbers: Iterable[int]) -> IdRuns:
    return IdRuns([(number, number + 1) for number in numbers]).distinct()


def _between(rows: list[_Row], start: int, stop: int | None) -> list[_Row]:
    """These rows by game id."""
    wanted = [row for row in rows if start <= row.game_id and (stop is None or row.game_id < stop)]
    return sorted(wanted, key=lambda row: row.game_id)
