"""The records that cross every border of sgdb, under the benchmark system's own names.

Rows are named tuples rather than frozen dataclasses: both are immutable, but millions of rows pass
through here and a named tuple is made several times faster.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True, order=True)
class GameConfig:
    """Board shape. `num_colors` counts the empty colour 0, so 3 means two colours on the board."""

    num_rows: int
    num_cols: int
    num_colors: int

    def __str__(self) -> str:
        return f"{self.num_rows}x{self.num_cols}x{self.num_colors}"


class GameSnapshot(NamedTuple):
    """One board of a benchmark set.

    `board` is JSON text without blanks, an array of rows, row 0 at the top: text travels from file to
    database and back without being rebuilt cell by cell. `metadata` holds what else the record carried,
    in the form that `sgdb.pickles.attributes` describes, or None.
    """

    game_id: int
    board: str
    seed: int | None
    metadata: dict[str, Any] | None = None

    @property
    def cells(self) -> list[list[int]]:
        """The board as a list of rows."""
        cells: list[list[int]] = json.loads(self.board)
        return cells


class BotPerformance(NamedTuple):
    """One bot's outcome on one game. `bot_name` is the row's own name, which may differ from its key."""

    bot_name: str
    game_id: int
    tiles_cleared: int
    singles_remaining: int
    moves_made: int
    completed: bool
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """A benchmark set whole: its boards, and every bot's results by the key they are filed under.

    `num_games` is the declared size; the set may hold more games than that, or fewer.
    """

    games: list[GameSnapshot]
    results: dict[str, list[BotPerformance]]
    config: GameConfig
    num_games: int
    base_seed: int


def is_run(numbers: Sequence[int]) -> bool:
    """Whether these numbers, at least one, go up by one from each to the next."""
    return list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


class IdRuns:
    """A sequence of game ids (0 or more) in order, with repeats, held as runs of consecutive numbers.

    >>> runs = IdRuns()
    >>> for number in (0, 1, 2, 7, 2): runs.append(number)
    >>> runs.pairs()
    [(0, 3), (7, 8), (2, 3)]
    """

    __slots__ = ("_last", "_runs")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._runs: list[list[int]] = [[start, stop] for start, stop in pairs]
        self._last = self._runs[-1] if self._runs else [0, -1]

    def append(self, number: int) -> None:
        """Adds one id at the end."""
        if number == self._last[1]:
            self._last[1] = number + 1
        else:
            self._last = [number, number + 1]
            self._runs.append(self._last)

    def extend(self, start: int, stop: int) -> None:
        """Adds the ids from `start` up to but without `stop`."""
        if start >= stop:
            return
        if start == self._last[1]:
            self._last[1] = stop
        else:
            self._last = [start, stop]
            self._runs.append(self._last)

    def pairs(self) -> list[tuple[int, int]]:
        """The runs as (start, stop), in order."""
        return [(start, stop) for start, stop in self._runs]

    def distinct(self) -> IdRuns:
        """The same ids sorted and without repeats."""
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(self.pairs()):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            else:
                merged.append((start, stop))
        return IdRuns(merged)

    def minus(self, other: IdRuns) -> IdRuns:
        """The distinct ids that `other` does not have, sorted."""
        left = self.distinct().pairs()
        result = IdRuns()
        taken = other.distinct().pairs()
        position = 0
        for start, stop in left:
            while position < len(taken) and taken[position][1] <= start:
                position += 1
            at = position
            while at < len(taken) and taken[at][0] < stop:
                if start < taken[at][0]:
                    result.extend(start, taken[at][0])
                start = max(start, taken[at][1])
                at += 1
            if start < stop:
                result.extend(start, stop)
        return result

    def repeats(self) -> IdRuns:
        """The distinct ids that occur more than once, sorted."""
        found: list[tuple[int, int]] = []
        reach = 0
        for start, stop in sorted(self.pairs()):
            if start < reach:
                found.append((start, min(stop, reach)))
            reach = max(reach, stop)
        return IdRuns(found).distinct()

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self._runs)

    def __iter__(self) -> Iterator[int]:
        for start, stop in self._runs:
            yield from range(start, stop)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdRuns) and self._runs == other._runs

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"IdRuns({self.pairs()})"


@dataclass(frozen=True, slots=True)
class Contents:
    """What one legacy file holds, without its rows: enough to write the same file again from the rows.

    `layout` is the letter of LEGACY_PICKLES.md (A to D). `games` and `results` give the ids in file
    order; `results` has one pair (key, ids) a key, in file order. `extra` and `config_extra` hold
    top-level entries and attributes of the config that no layout knows, as stored.
    """

    layout: str
    config: GameConfig
    num_games: int
    base_seed: int
    games: IdRuns
    results: tuple[tuple[str, IdRuns], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    config_extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def result_count(self) -> int:
        """Rows over all keys."""
        return sum(len(runs) for _, runs in self.results)

    def to_json(self) -> dict[str, Any]:
        """A JSON document that `from_json` reads back to an equal value."""
        config = self.config
        return {
            "layout": self.layout,
            "config": [config.num_rows, config.num_cols, config.num_colors],
            "num_games": self.num_games,
            "base_seed": self.base_seed,
            "games": self.games.pairs(),
            "results": [[key, runs.pairs()] for key, runs in self.results],
            "extra": dict(self.extra),
            "config_extra": dict(self.config_extra),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Contents:
        """The value that `to_json` wrote."""
        return cls(
            layout=document["layout"],
            config=GameConfig(*document["config"]),
            num_games=document["num_games"],
            base_seed=document["base_seed"],
            games=IdRuns(document["games"]),
            results=tuple((key, IdRuns(runs)) for key, runs in document["results"]),
            extra=document["extra"],
            config_extra=document["config_extra"],
        )


class ExportFormat(StrEnum):
    """What exported files are: pickles of the old system, the very files that were migrated, or a folder of
    tables in an open format."""

    PICKLE = "pickle"
    ORIGINAL = "original"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"

    @property
    def is_folder(self) -> bool:
        """Whether it makes one folder of tables, which `sgdb import` takes back."""
        return self not in (ExportFormat.PICKLE, ExportFormat.ORIGINAL)


class RankBy(StrEnum):
    """What a leaderboard ranks by: boards completed, or the part of the tiles that was cleared."""

    COMPLETION = "completion"
    TILES = "tiles"


@dataclass(frozen=True, slots=True)
class Resampling:
    """How bootstrap intervals are found: the part of the resamples that they cover, how many are drawn, and
    from which seed."""

    confidence: float = 0.95
    resamples: int = 10_000
    seed: int = 0
