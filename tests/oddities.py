"""What may be strange about a benchmark file and is nevertheless taken: one by one, and at random."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.legacy import CLASSES, MODULES, GameConfig


def _other_name(data: dict[str, Any]) -> None:
    for row in data["results"]["RandomBot"]:
        row.bot_name = "LargestGroupBot"


def _any_order(data: dict[str, Any]) -> None:
    data["games"].reverse()
    rows = data["results"]["RandomBot"]
    rows[2], rows[7] = rows[7], rows[2]
    data["results"] = dict(reversed(data["results"].items()))


def _twice(data: dict[str, Any]) -> None:
    data["games"].insert(0, copy.deepcopy(data["games"][4]))
    data["results"]["RandomBot"] += copy.deepcopy(data["results"]["RandomBot"][3:6])


def _shared(data: dict[str, Any]) -> None:
    data["games"].append(data["games"][1])
    data["games"][2].board = data["games"][3].board = [[1] * 5] * 5


def _declares_other(data: dict[str, Any]) -> None:
    data["num_games"] = 20


def _declares_less(data: dict[str, Any]) -> None:
    data["num_games"] = 3


def _tuples(data: dict[str, Any]) -> None:
    for number, game in enumerate(data["games"]):
        inner = map(tuple, game.board) if number % 2 else game.board
        game.board = tuple(inner) if number % 3 else list(inner)


def _attributes(data: dict[str, Any]) -> None:
    data["config"].shape = "square"
    data["config"].weights = (0.1, -0.0, 3, True)
    data["games"][1].origin = "regenerated"
    data["games"][2].note = {"$tuple": [1], "b": None, "nan": math.nan, "inf": -math.inf, "big": 10**30}
    data["results"]["RandomBot"][5].bot = "\u00e9\\\t\n\"'"
    for row in data["results"]["LargestGroupBot"]:
        row.seconds = 1e-300


def _further_entries(data: dict[str, Any]) -> dict[str, Any]:
    return {"version": 3, **data, "statistics": {"mean": 1.5, "by": [("a", 1), ("b", 2)]}, "none": None}


def _empty_lists(data: dict[str, Any]) -> None:
    data["results"] = {"First": [], "RandomBot": data["results"]["RandomBot"], "Last": []}


def _no_results(data: dict[str, Any]) -> None:
    data["results"] = {}


def _no_games(data: dict[str, Any]) -> None:
    data["games"] = []
    data["results"] = {}


def _gaps(data: dict[str, Any]) -> None:
    del data["games"][4:6], data["results"]["RandomBot"][4:6], data["results"]["LargestGroupBot"][3:8]


def _no_seed(data: dict[str, Any]) -> None:
    data["games"][3].seed = None
    data["games"][4].seed = -(2**63) + 1


def _silent(data: dict[str, Any]) -> None:
    del data["num_games"], data["base_seed"]


def _results_first(data: dict[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in ("results", "base_seed", "games", "config", "num_games")}


def _names(data: dict[str, Any]) -> None:
    rows = data["results"].pop("RandomBot")
    names = ["", "a\\b\tc\n", "\u2603" * 255, "x_20250102_030405_0a1b2c3d", "DROP TABLE bots; --"]
    data["results"] |= {name: copy.deepcopy(rows) for name in names}


ODDITIES: list[Callable[[dict[str, Any]], Any]] = [
    _other_name, _any_order, _twice, _shared, _declares_other, _declares_less, _tuples, _attributes,
    _further_entries, _empty_lists, _no_results, _no_games, _gaps, _no_seed, _silent, _results_first, _names,
]  # fmt: skip


_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | _text,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_further = st.dictionaries(st.sampled_from(["note", "x y", "origin", "metadata"]), _value, max_size=2)
_small = st.integers(0, 2**31 - 1)


@st.composite
def benchmarks(draw: st.DrawFn) -> dict[str, Any]:
    """A benchmark of layout C whose values are anything that can be stored."""
    rows, columns, colors = draw(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 12)))
    config = GameConfig(num_rows=rows, num_cols=columns, num_colors=colors, **draw(_further))
    board = st.lists(
        st.lists(st.integers(0, colors - 1), min_size=columns, max_size=columns), min_size=rows, max_size=rows
    )
    ids = draw(st.lists(st.integers(0, 40), unique=True, max_size=8))
    snapshot, performance = (CLASSES[MODULES["C"], name] for name in ("GameSnapshot", "BotPerformance"))
    seeds = st.none() | st.integers(-(2**63) + 1, 2**63 - 1)
    games = [
        snapshot(board=draw(board), config=config, seed=draw(seeds), game_id=number, **draw(_further))
        for number in ids
    ]
    results = {}
    for key in draw(st.lists(_text, unique=True, max_size=3)):
        names = st.just(key) | _text
        results[key] = [
            performance(
                bot_name=draw(names),
                game_id=number,
                tiles_cleared=draw(_small),
                singles_remaining=draw(_small),
                moves_made=draw(_small),
                completed=draw(st.booleans()),
                **draw(_further),
            )
            for number in ids
            if draw(st.booleans())
        ]
    data = {"games": games, "results": results, "config": config, "num_games": draw(st.integers(0, 50))}
    return data | {name: value for name, value in draw(_further).items() if name != "metadata"}
