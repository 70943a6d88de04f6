"""What both ways are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from sgdb.records import GameConfig


@dataclass(frozen=True, slots=True)
class Wanted:
    """A benchmark set as one file holds it, and the parts of it that are wanted.

    The ids of its games and results end before `last`; those of the few games that are wanted by themselves
    go from `start` up to but without `stop`. `bots` are the keys of its results, `bot`
    the one whose performance is wanted, None without results. `is_whole_set` tells that the database's set
    has nothing that the file has not.
    """

    config: GameConfig
    base_seed: int
    set_id: int
    bots: list[str]
    bot: str | None
    last: int
    start: int
    stop: int
    is_whole_set: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading: seconds of each round, rows that came, and the bytes by which the first round has raised
    the process's memory (None where the system does not tell)."""

    seconds: list[float]
    games: int
    results: int
    memory: int | None
