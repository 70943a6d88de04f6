"""Sets that were loaded whole, kept in memory for the next time.

What is kept is used only while the database says that it is still so: a set's revision changes with every
change of its rows, whoever makes it. So nothing here has to be told of saves, and any number of processes may
keep the same set.
"""

from __future__ import annotations

import json
import os
import threading
from copy import deepcopy
from typing import Generic, TypeVar

from sgdb.database.parts import Revision
from sgdb.records import BenchmarkData, BotPerformance, GameSnapshot

_MEGABYTE = 1_000_000
# What a row takes in memory (CPython 3.11, 64 bits), metadata by the length of their JSON.
_GAME_BYTES = 210
_RESULT_BYTES = 180
_BYTES_A_CHARACTER = 12
_Row = TypeVar("_Row", GameSnapshot, BotPerformance)

# The dictionary of the least recently used is not made for threads, and a child of fork needs a whole one.
_lock = threading.RLock()
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class _Rows(Generic[_Row]):
    """Rows of which everybody gets a list of his own. They are immutable but for their metadata."""

    def __init__(self, rows: list[_Row]) -> None:
        self._with_metadata = [at for at, row in enumerate(rows) if row.metadata is not None]
        self._rows: list[_Row] = self._copied(rows)

    def copy(self) -> list[_Row]:
        return self._copied(self._rows)

    def metadata_bytes(self) -> int:
        kept = (json.dumps(self._rows[at].metadata) for at in self._with_metadata)
        return sum(map(len, kept)) * _BYTES_A_CHARACTER

    def _copied(self, rows: list[_Row]) -> list[_Row]:
        copies = rows.copy()
        for at in self._with_metadata:
            copies[at] = rows[at]._replace(metadata=deepcopy(rows[at].metadata))
        return copies


class KeptSet:
    """A whole set as of one revision."""

    def __init__(self, revision: Revision, data: BenchmarkData) -> None:
        self.revision = revision
        self._config = data.config
        self._base_seed = data.base_seed
        self._games = _Rows(data.games)
        self._results = {bot: _Rows(rows) for bot, rows in data.results.items()}
        self.size = (  # bytes, roughly
            len(data.games) * _GAME_BYTES
            + sum(len(game.board) for game in data.games)
            + sum(map(len, data.results.values())) * _RESULT_BYTES
            + self._games.metadata_bytes()
            + sum(rows.metadata_bytes() for rows in self._results.values())
        )

    def data(self) -> BenchmarkData:
        """The set, the caller's own to change."""
        results = {bot: rows.copy() for bot, rows in self._results.items()}
        return BenchmarkData(
            self._games.copy(), results, self._config, self.revision.num_games, self._base_seed
        )

    def results(self, bot: str) -> list[BotPerformance]:
        """One bot's results, the caller's own to change."""
        return self._results[bot].copy() if bot in self._results else []


class SetCache:
    """The sets used last, of altogether at most so many megabytes. For any number of threads; in a child of
    fork it goes on with what the parent had."""

    def __init__(self, megabytes: int) -> None:
        # Only who loads a set needs them.
        from cachetools import LRUCache
        from dogpile.cache import make_region

        self._most = megabytes * _MEGABYTE
        self._region = make_region().configure(
            "dogpile.cache.memory",
            arguments={"cache_dict": LRUCache(self._most, getsizeof=lambda value: value.payload.size)},
        )

    def find(self, name: str) -> KeptSet | None:
        """What is kept under a name, of whatever revision."""
        with _lock:
            found = self._region.get(name)
        return found if isinstance(found, KeptSet) else None

    def keep(self, name: str, kept: KeptSet) -> None:
        """Keeps it instead of what was kept under the name; not what is larger than the whole cache."""
        with _lock:
            if kept.size <= self._most:
                self._region.set(name, kept)
            else:
                self._region.delete(name)


_caches: dict[int, SetCache] = {}


def cache_of(megabytes: int) -> SetCache | None:
    """The one cache of this size in this process; None for 0."""
    if not megabytes:
        return None
    with _lock:
        if megabytes not in _caches:
            _caches[megabytes] = SetCache(megabytes)
        return _caches[megabytes]
