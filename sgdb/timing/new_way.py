"""The new way: the database is asked for what is wanted, and for no more. `python -m sgdb.timing.new_way`.

Connecting, which a program does once, is not part of a reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from statistics import median
from time import perf_counter
from typing import Any

from sgdb.database.engine import open_engine, transaction
from sgdb.database.performance import bot_performance
from sgdb.records import BenchmarkData, GameConfig
from sgdb.settings import Settings
from sgdb.storage import PostgresStorage
from sgdb.storage.cache import cache_of
from sgdb.timing.process import forked, serve
from sgdb.timing.stopwatch import PeakMemory, rounds
from sgdb.timing.wanted import Reading, Wanted

_ABOUT = "reads from the database"
_WHOLE_READINGS = 3
_ENOUGH = 2.0  # seconds of whole readings after which there is no other


def read(question: dict[str, Any], _file: object) -> dict[str, dict[str, Any]]:
    """The readings "whole", "part" and, where a bot is wanted, "bot", as the fields of `Reading`; `question`
    has the settings' values and the fields of `Wanted`. Each is made in a fork, which connects anew."""
    settings = Settings(**question["settings"])
    cache_of(settings.cache_size)  # empty, but with the libraries that it needs
    fields = question["wanted"]
    wanted = Wanted(**{**fields, "config": GameConfig(**fields["config"])})
    readings = {
        "whole": _several(lambda: _whole(settings, wanted)),
        "part": _apart(lambda: _part(settings, wanted)),
    }
    if wanted.bot is not None:
        readings["bot"] = _apart(lambda: _bot(settings, wanted))
    return {what: asdict(reading) for what, reading in readings.items()}


def _apart(work: Callable[[], Reading]) -> Reading:
    return Reading(**forked(lambda: asdict(work()), about=_ABOUT))


def _several(work: Callable[[], Reading]) -> Reading:
    """One reading a fork: a second one might be answered from the first one's memory."""
    readings: list[Reading] = []
    while len(readings) < _WHOLE_READINGS and sum(each.seconds[0] for each in readings) < _ENOUGH:
        readings.append(_apart(work))
    known = [each.memory for each in readings if each.memory is not None]
    return replace(
        readings[0],
        seconds=[each.seconds[0] for each in readings],
        memory=round(median(known)) if known else None,
    )


def _whole(settings: Settings, wanted: Wanted) -> Reading:
    with _storage(settings, wanted) as storage:
        if wanted.is_whole_set:
            return _data(storage.load_data, once=True)
        return _data(lambda: storage.load_part(wanted.bots, stop=wanted.last), once=True)


def _part(settings: Settings, wanted: Wanted) -> Reading:
    with _storage(settings, wanted) as storage:
        return _data(lambda: storage.load_part(wanted.bots, wanted.start, wanted.stop))


@contextmanager
def _storage(settings: Settings, wanted: Wanted) -> Iterator[PostgresStorage]:
    with PostgresStorage(settings, wanted.config, wanted.base_seed) as storage:
        storage.data_exists()  # which connects
        yield storage


def _data(load: Callable[[], BenchmarkData | None], *, once: bool = False) -> Reading:
    seconds: list[float] = []
    games = results = 0
    grown = None
    memory = PeakMemory()
    for number in rounds():
        begun = perf_counter()
        data = load()
        seconds.append(perf_counter() - begun)
        if number == 0:
            grown = memory.grown()
            if data is not None:
                games, results = len(data.games), sum(map(len, data.results.values()))
        del data
        if once:
            break
    return Reading(seconds, games, results, grown)


def _bot(settings: Settings, wanted: Wanted) -> Reading:
    seconds: list[float] = []
    results = 0
    grown = None
    engine = open_engine(settings)
    try:
        with transaction(engine, read_only=True):
            pass
        memory = PeakMemory()
        for number in rounds():
            begun = perf_counter()
            with transaction(engine, read_only=True) as connection:
                rows = bot_performance(connection, bot=wanted.bot, set_id=wanted.set_id)
            seconds.append(perf_counter() - begun)
            if number == 0:
                grown = memory.grown()
                results = sum(row["games"] for row in rows)
    finally:
        engine.dispose()
    return Reading(seconds, 0, results, grown)


if __name__ == "__main__":
    serve(read)
