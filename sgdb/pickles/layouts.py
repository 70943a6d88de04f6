"""The legacy layouts: what the parser's tree and rows mean, whichever of the four layouts it is.

`read_structure` (a first pass) finds out what a file holds; `GameRows` and `ResultRows` turn batches of
parsed rows into records (a second pass), checking every value. The layouts are described in
LEGACY_PICKLES.md of the project's facts and, for users, in docs/legacy-files.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sgdb.errors import LayoutError, ValueRefusedError
from sgdb.pickles import attributes
from sgdb.pickles.inert import Instance, RowBatch, RowList, Shape, batches_of, is_row, shown
from sgdb.records import GameConfig, IdRuns, is_run

_EVALUATION = "samegamerl.evaluation."
LAYOUT_OF_MODULE = {
    f"{_EVALUATION}benchmark_dataset": "A",
    f"{_EVALUATION}benchmark": "B",
    f"{_EVALUATION}benchmark_data": "C",
}
CONFIG_CLASS = ("samegamerl.game.game_config", "GameConfig")
# Every class that a benchmark file may name, and whether its instances are rows.
CLASSES: Mapping[tuple[str, str], bool] = {
    **{(module, name): True for module in LAYOUT_OF_MODULE for name in ("GameSnapshot", "BotPerformance")},
    CONFIG_CLASS: False,
}

INT32 = 2**31 - 1
INT64 = 2**63 - 1
CONFIG_FIELDS = ("num_rows", "num_cols", "num_colors")
GAME_FIELDS = ("board", "config", "seed", "game_id")
_EXPORT_FIELDS = {"board_state": "board", "seed": "seed", "game_index": "game_id"}
RESULT_FIELDS = ("bot_name", "game_id", "tiles_cleared", "singles_remaining", "moves_made", "completed")
COUNT_FIELDS = ("tiles_cleared", "singles_remaining", "moves_made")
_TOP_LEVEL = ("games", "results", "config", "num_games", "base_seed")
_OLD_NUM_GAMES = 1000
_OLD_BASE_SEED = 42
_MAX_BOT_NAME = 255


@dataclass
class RowsSeen:
    """What a first pass keeps of one list of rows."""

    kind: str  # "games" or "results"
    ids: IdRuns = field(default_factory=IdRuns)
    refused: str = ""  # the first thing that is wrong with its ids


@dataclass
class Structure:
    """What a file holds, before any of its rows has been looked at closely.

    `lists` maps a list's number to its key: None for the games, a bot's key for results. `base_seed` and
    `num_games` are None where the file is silent; `old_base_seed` is then what the old loader takes, if
    it takes any. `sample` holds the first few (game_id, seed).
    """

    layout: str
    config: GameConfig
    config_extra: dict[str, Any]
    num_games: int | None
    base_seed: int | None
    old_base_seed: int | None
    games: IdRuns
    results: list[tuple[str, IdRuns]]
    lists: dict[int, str | None]
    sample: list[tuple[int, Any]]
    extra: dict[str, Any]
    notes: list[str]


def kind_of(shape: Shape) -> str:
    """Whether rows of this shape are "games" or "results"."""
    if shape.cls is None or shape.cls.name == "GameSnapshot":
        return "games"
    return "results"


def columns_of(shape: Shape) -> dict[str, int]:
    """Positions of a row's values under the names of the records. Raises LayoutError when a row has the
    same thing under two names."""
    rename = _EXPORT_FIELDS if shape.cls is None else {}
    columns = {rename.get(name, name): at for at, name in enumerate(shape.names)}
    if len(columns) < len(shape.names):
        raise LayoutError(f"a game with both names of one field: {listed(shape.names)}")
    return columns


def ids_of(batch: RowBatch) -> tuple[list[int], str]:
    """The rows' game ids, and what is wrong with the first bad one (empty when they are all right)."""
    at = columns_of(batch.shape).get("game_id")
    if at is None:
        return [], f"field {'game_index' if batch.shape.cls is None else 'game_id'} is missing"
    ids = [row[at] for row in batch.rows]
    if set(map(type, ids)) == {int} and min(ids) >= 0 and max(ids) <= INT32:
        return ids, ""
    bad = next(number for number in ids if not whole(number, 0, INT32))
    return [], f"field game_id: {shown(bad)} is not a whole number from 0 to {INT32}"


def whole(value: Any, low: int, high: int) -> bool:
    """Whether this is an integer (no bool) within these bounds."""
    return type(value) is int and low <= value <= high


def read_config(
    value: Any, where: str, room: attributes.Room | None = None
) -> tuple[GameConfig, dict[str, Any]]:
    """A GameConfig from its instance or plain dict, and its further attributes, counted in `room`."""
    state = value.state if type(value) is Instance else value
    foreign = type(value) is Instance and (value.cls.module, value.cls.name) != CONFIG_CLASS
    if foreign or type(state) is not dict:
        raise LayoutError(f"{where} is no GameConfig")
    numbers = []
    for name in CONFIG_FIELDS:
        if name not in state:
            raise LayoutError(f"{where} has no {name}")
        if not whole(state[name], 1, INT32):
            raise ValueRefusedError(
                f"{where}, field {name}: {shown(state[name])} is not a positive whole number"
            )
        numbers.append(state[name])
    rest = [entry for entry in state.items() if entry[0] not in CONFIG_FIELDS]
    return GameConfig(*numbers), attributes.further(rest, where, room)


class StructureReader:
    """Collects what a first pass sees. Feed it every batch, then call `finish` with the tree."""

    def __init__(self) -> None:
        self._lists: dict[int, RowsSeen] = {}
        self._modules: set[str] = set()
        self._dict_rows = False
        self._config: Any = None
        self._sample: list[tuple[int, Any]] = []

    def add(self, batch: RowBatch) -> None:
        """Notes ids and classes. Raises LayoutError."""
        shape, kind = batch.shape, kind_of(batch.shape)
        if shape.cls is None:
            self._dict_rows = True
        else:
            self._modules.add(shape.cls.module)
        seen = self._lists.setdefault(batch.list_number, RowsSeen(kind))
        if seen.kind != kind:
            raise LayoutError("games and results in one list")
        ids, wrong = ids_of(batch)
        seen.refused = seen.refused or wrong
        if seen.refused:
            return  # the list's key, which the message is to name, is known at the end
        if is_run(ids):
            seen.ids.extend(ids[0], ids[0] + len(ids))
        else:
            for number in ids:
                seen.ids.append(number)
        if kind == "games":
            columns = columns_of(shape)
            if self._config is None and "config" in columns:
                self._config = batch.rows[0][columns["config"]]
            if len(self._sample) < 8 and "seed" in columns:
                seeds = [row[columns["seed"]] for row in batch.rows[:8]]
                self._sample.extend(zip(ids, seeds, strict=False))

    def finish(self, tree: Any) -> Structure:
        """What the file holds. Raises LayoutError where it is none of the known layouts."""
        if type(tree) is not dict:
            raise LayoutError(
                f"the file holds {_kind_name(tree)}, not a benchmark (a dict with games and results)"
            )
        if "games" not in tree:
            known = ", ".join(shown(key, 30) for key in list(tree)[:5]) or "nothing"
            raise LayoutError(f"no benchmark: a dict without 'games' (it has {known})")
        notes: list[str] = []
        lists: dict[int, str | None] = {}
        games = self._rows(tree["games"], "games", None, lists)
        results = []
        found = tree.get("results", {})
        if type(found) is not dict:
            raise LayoutError(f"results is {_kind_name(found)}, not a dict of lists by bot")
        for key, rows in found.items():
            _check_key(key)
            results.append((key, self._rows(rows, f"results of {shown(key)}", key, lists)))
        unplaced = set(self._lists) - set(lists)
        if unplaced:
            raise LayoutError("games or results in an unexpected place of the file")
        layout = self._layout(tree)
        if layout in "BC" and "config" not in tree:
            raise LayoutError("the key 'config' is missing, without which this layout cannot be read")
        config, config_extra = self._read_config(tree)
        num_games = _number(tree, "num_games", 0, INT32)
        base_seed = _number(tree, "base_seed", -INT64 - 1, INT64)
        if num_games is None and layout in "BC":
            num_games = _OLD_NUM_GAMES
            notes.append(f"num_games is missing: {num_games}, as the old loader takes it")
        if layout in "ABC" and "results" not in tree:
            notes.append("results is missing: taken as none")
        extra = attributes.further(
            [entry for entry in tree.items() if entry[0] not in _TOP_LEVEL], "top-level entry"
        )
        if extra:
            notes.append(f"kept further top-level entries: {listed(extra)}")
        return Structure(
            layout,
            config,
            config_extra,
            num_games,
            base_seed,
            _OLD_BASE_SEED if layout in "BC" else None,
            games,
            results,
            lists,
            self._sample,
            extra,
            notes,
        )

    def _rows(self, value: Any, where: str, key: str | None, lists: dict[int, str | None]) -> IdRuns:
        kind = "games" if key is None else "results"
        if type(value) is list and not value:
            return IdRuns()
        if type(value) is not RowList:
            raise LayoutError(f"{where} is {_kind_name(value)}, not a list of {kind}")
        seen = self._lists[value.number]
        if seen.kind != kind:
            raise LayoutError(f"{where} holds {seen.kind}")
        if seen.refused:
            raise ValueRefusedError(f"{where}, {seen.refused}")
        lists[value.number] = key
        return seen.ids

    def _layout(self, tree: dict[str, Any]) -> str:
        letters = sorted(LAYOUT_OF_MODULE[module] for module in self._modules)
        if letters:
            return letters[0] if letters[0] != "A" or "config" not in tree else letters[-1]
        if self._dict_rows or type(tree.get("config")) is dict:
            return "D"
        return "C" if "config" in tree else "A"

    def _read_config(self, tree: dict[str, Any]) -> tuple[GameConfig, dict[str, Any]]:
        if "config" in tree:
            return read_config(tree["config"], "config")
        if self._config is None:
            raise LayoutError("neither the file nor a game in it has a config")
        return read_config(self._config, "the first game's config")


def split_tree(tree: Any) -> tuple[Any, list[RowBatch]]:
    """For a file that was read whole: the tree as a streaming pass would give it, and its batches."""
    batches: list[RowBatch] = []
    numbers = 0

    def split(value: Any) -> Any:
        nonlocal numbers
        if type(value) is not list or not value or not all(map(is_row, value)):
            return value
        number, numbers = numbers, numbers + 1
        batches.extend(batches_of(number, value))
        return RowList(number)

    if type(tree) is not dict:
        return tree, batches
    out = dict(tree)
    for key, value in out.items():
        if key == "results" and type(value) is dict:
            out[key] = {bot: split(rows) for bot, rows in value.items()}
        else:
            out[key] = split(value)
    return out, batches


def _kind_name(value: Any) -> str:
    if type(value) is Instance:
        return f"a {value.cls.name}"
    if value is None:
        return "None"
    return "a list of games or results" if type(value) is RowList else f"a {type(value).__name__}"


def _number(tree: dict[str, Any], name: str, low: int, high: int) -> int | None:
    """A top-level number; None where the file is silent."""
    value = tree.get(name)
    if name in tree and not whole(value, low, high):
        raise ValueRefusedError(f"field {name}: {shown(value)} is not a whole number from {low} to {high}")
    return value


def listed(names: Iterable[str]) -> str:
    """Names for a note, however many and whatever they hold."""
    names = list(names)
    return ", ".join(shown(name, 40) for name in names[:10]) + (", ..." if len(names) > 10 else "")


def _check_key(key: str) -> None:
    if len(key) > _MAX_BOT_NAME or not attributes.storable_text(key):
        why = (
            "is longer than 255 characters"
            if len(key) > _MAX_BOT_NAME
            else "holds a character that PostgreSQL cannot store"
        )
        raise ValueRefusedError(f"bot {shown(key)}: the name {why}")


def require(columns: Mapping[str, int], names: Iterable[str], where: str) -> None:
    """Raises ValueRefusedError when a row's shape lacks one of these fields."""
    for name in names:
        if name not in columns:
            raise ValueRefusedError(f"{where}: field {name} is missing")
