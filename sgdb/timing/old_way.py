"""The old way: a pickle is loaded whole, whatever is wanted of it. `python -m sgdb.timing.old_way`.

The one place that unpickles, so the rules are strict. It runs in a process of its own, which holds nothing
but this. What it loads is an open file without a name, which sgdb has written itself a moment ago from values
that the strict parser had accepted; a user's file never gets here. The only classes it knows are empty.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from statistics import fmean, stdev
from time import perf_counter
from types import ModuleType
from typing import Any, BinaryIO

from sgdb.pickles.layouts import CLASSES
from sgdb.timing.process import forked, serve
from sgdb.timing.stopwatch import PeakMemory, rounds

_EMPTY: dict[tuple[str, str], type] = {
    (module, name): type(name, (), {"__module__": module}) for module, name in CLASSES
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        """An empty class for each of the benchmark system's names, and nothing for any other."""
        found = _EMPTY.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"no class of a benchmark: {module}.{name}")
        return found


def load(question: dict[str, Any], file: BinaryIO | None) -> dict[str, dict[str, Any]]:
    """The readings "whole", "bot" and "part" as the fields of `Reading`; `question` has those of `Wanted`."""
    assert file is not None
    forked(lambda: _write_as_before(file), about="writes the pickle as the old system did")
    bot, ids = question["bot"], range(question["start"], question["stop"])
    seconds: dict[str, list[float]] = {"whole": [], "bot": [], "part": []}
    counts: dict[str, tuple[int, int]] = {}
    grown = None
    memory = PeakMemory()
    for number in rounds():
        file.seek(0)
        begun = perf_counter()
        data = _Unpickler(file).load()
        loaded = perf_counter()
        performance = _performance(data["results"].get(bot, ()))
        judged = perf_counter()
        games = [game for game in data["games"] if game.game_id in ids]
        rows = {key: [row for row in rows if row.game_id in ids] for key, rows in data["results"].items()}
        taken = perf_counter()
        seconds["whole"].append(loaded - begun)
        seconds["bot"].append(judged - begun)
        seconds["part"].append(loaded - begun + taken - judged)
        if number == 0:
            grown = memory.grown()
            counts = {
                "whole": (len(data["games"]), sum(map(len, data["results"].values()))),
                "bot": (0, performance["games"]),
                "part": (len(games), sum(map(len, rows.values()))),
            }
        del data, games, rows  # or two would be in memory at once
    return {
        name: {
            "seconds": seconds[name],
            "games": counts[name][0],
            "results": counts[name][1],
            "memory": grown,
        }
        for name in seconds
    }


def _write_as_before(file: BinaryIO) -> None:
    """Writes the file anew by `pickle` itself. That notes every list, dict and object, and whoever loads the
    file holds on to all of them until it is done; what sgdb writes asks for less memory and time."""
    file.seek(0)
    data = _Unpickler(file).load()
    for (module, name), cls in _EMPTY.items():
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:count]), ModuleType(parts[count - 1]))
        setattr(sys.modules[module], name, cls)
    file.seek(0)
    file.truncate()
    pickle.dump(data, file, protocol=4)
    file.flush()


def _performance(rows: Sequence[Any]) -> dict[str, Any]:
    """What `sgdb query bot-performance` says of these results."""
    if not rows:
        return {"games": 0}
    tiles = [row.tiles_cleared for row in rows]
    return {
        "games": len(rows),
        "completed": sum(row.completed for row in rows),
        "tiles_cleared_mean": fmean(tiles),
        "tiles_cleared_stddev": stdev(tiles) if len(tiles) > 1 else None,
        "singles_remaining_mean": fmean(row.singles_remaining for row in rows),
        "moves_made_mean": fmean(row.moves_made for row in rows),
    }


if __name__ == "__main__":
    serve(load)
