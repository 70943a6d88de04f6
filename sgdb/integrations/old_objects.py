"""The old benchmark system's objects to records, and back.

What an object is shows in its attributes; whose class it is does not matter. Objects of others may have a
`repr` that fails or never ends, so messages do without. Attributes that no record has a
place for are kept with the row, as those of a legacy pickle are, and are set again on what comes back.
"""

from __future__ import annotations

import importlib
import logging
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sgdb.errors import UsageError, ValueRefusedError
from sgdb.pickles import attributes
from sgdb.pickles.layouts import CONFIG_FIELDS, GAME_FIELDS, RESULT_FIELDS
from sgdb.records import BenchmarkData, BotPerformance, GameConfig, GameSnapshot

log = logging.getLogger("sgdb.storage")
_DATA_FIELDS = ("games", "results", "config", "num_games", "base_seed")
_MODULES = {"GameConfig": "samegamerl.game.game_config"}
_DATA_MODULE = "samegamerl.evaluation.benchmark_data"


# What comes back where the old package is not installed: the same names and fields.


@dataclass
class OldConfig:
    """The old system's GameConfig."""

    num_rows: int
    num_cols: int
    num_colors: int


@dataclass
class OldSnapshot:
    """The old system's GameSnapshot."""

    board: Any
    config: Any
    seed: Any
    game_id: int


@dataclass
class OldPerformance:
    """The old system's BotPerformance."""

    bot_name: str
    game_id: int
    tiles_cleared: int
    singles_remaining: int
    moves_made: int
    completed: bool


@dataclass
class OldData:
    """The old system's BenchmarkData."""

    games: list[Any]
    results: dict[str, list[Any]]
    config: Any
    num_games: int
    base_seed: int


_PLAIN: dict[str, type[Any]] = {
    "GameConfig": OldConfig,
    "GameSnapshot": OldSnapshot,
    "BotPerformance": OldPerformance,
    "BenchmarkData": OldData,
}


class OldObjects:
    """Makes objects of the old system's classes: those of the objects that have been handed in, else those
    of the package, else plain ones with the same fields."""

    def __init__(self, config: Any = None) -> None:
        self._config = config
        self._classes: dict[str, type[Any]] = {}

    # -- what is handed in ----------------------------------------------------------------------

    def taken(self, data: Any) -> BenchmarkData:
        """The data as records, not checked yet: `checked_games` and `checked_results` are for that.

        Raises UsageError for what is no BenchmarkData, ValueRefusedError naming bot and game.
        """
        missing = [name for name in _DATA_FIELDS if not hasattr(data, name)]
        if missing:
            raise UsageError(f"a {type(data).__name__} is no BenchmarkData: it has no {', '.join(missing)}")
        if not isinstance(data.results, Mapping) or not isinstance(data.games, Iterable):
            raise UsageError("benchmark data have a list of games, and results by the bot's name")
        shape = _shape(data.config)
        rows = {bot: list(rows or ()) for bot, rows in data.results.items()}
        games = list(data.games)
        self._config = data.config
        self._learn("BenchmarkData", [data])
        self._learn("GameSnapshot", games)
        self._learn("BotPerformance", (row for each in rows.values() for row in each))
        if lost := sorted(_attributes(data).keys() - {*_DATA_FIELDS}):
            log.warning("of the benchmark data, %s is not kept: sgdb has no place for it", ", ".join(lost))
        return BenchmarkData(
            [_game(game, shape) for game in games],
            {bot: [_result(bot, row) for row in each] for bot, each in rows.items()},
            shape,
            data.num_games,
            data.base_seed,
        )

    def _learn(self, name: str, objects: Iterable[Any]) -> None:
        for found in objects:
            if not isinstance(found, (GameSnapshot, BotPerformance, BenchmarkData)):
                self._classes[name] = type(found)
            return

    # -- what is given back ---------------------------------------------------------------------

    def given(self, data: BenchmarkData) -> Any:
        """The records as the old system's objects, in lists and dicts of the caller's own."""
        config = self._config
        if config is None or _shape(config) != data.config:
            config = self._new("GameConfig", {name: getattr(data.config, name) for name in CONFIG_FIELDS})
        games = [
            self._new(
                "GameSnapshot",
                {
                    "board": _cells(game),
                    "config": config,
                    "seed": game.seed,
                    "game_id": game.game_id,
                    **_further(game.metadata),
                },
            )
            for game in data.games
        ]
        results = {
            bot: [
                self._new(
                    "BotPerformance", dict(zip(RESULT_FIELDS, row, strict=False)) | _further(row.metadata)
                )
                for row in rows
            ]
            for bot, rows in data.results.items()
        }
        values = (games, results, config, data.num_games, data.base_seed)
        return self._new("BenchmarkData", dict(zip(_DATA_FIELDS, values, strict=True)))

    def _new(self, name: str, fields: dict[str, Any]) -> Any:
        kind = self._class(name)
        try:
            return kind(**fields)
        except TypeError:  # another version's class: made as unpickling makes it
            made: Any = object.__new__(kind)
            for attribute, value in fields.items():
                object.__setattr__(made, attribute, value)
            return made

    def _class(self, name: str) -> type[Any]:
        known = self._classes.get(name)
        if known is None:
            known = self._classes[name] = _of_package(name) or _PLAIN[name]
        return known


def _of_package(name: str) -> type[Any] | None:
    """The class of the old package; None where it is not installed."""
    module = _MODULES.get(name, _DATA_MODULE)
    try:
        found: type[Any] | None = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        # What the package itself lacks is no sign that the package is not there.
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        return None
    return found


# -- one object ---------------------------------------------------------------------------------------


def _shape(config: Any) -> GameConfig:
    """The board shape of a config of whatever class. Raises UsageError."""
    try:
        return GameConfig(*(getattr(config, name) for name in CONFIG_FIELDS))
    except AttributeError:
        raise UsageError(
            f"a {type(config).__name__} is no GameConfig", hint=f"it needs {', '.join(CONFIG_FIELDS)}"
        ) from None


def _game(game: Any, shape: GameConfig) -> GameSnapshot:
    if isinstance(game, GameSnapshot):
        return game
    found = _whole(game, GAME_FIELDS, "GameSnapshot", "a game")
    where = f"game {found['game_id']!a:.40}"
    if (own := _shape(found["config"])) != shape:
        raise ValueRefusedError(f"{where}, field config: {own}, but that of the data is {shape}")
    metadata: dict[str, Any] = {}
    board = found["board"]
    if type(board) not in (list, tuple) and hasattr(board, "tolist"):  # an array
        board = board.tolist()
    if (kind := _board_type(board)) is not None:
        metadata["board_type"] = kind
    if extra := _extra(found, GAME_FIELDS, where):
        metadata["attributes"] = extra
    return GameSnapshot(found["game_id"], board, found["seed"], metadata or None)


def plain_result(row: Any) -> BotPerformance | None:
    """A result's own fields, not checked; None where it lacks one."""
    try:
        return BotPerformance(*(getattr(row, name) for name in RESULT_FIELDS))
    except AttributeError:
        return None


def _result(bot: str, row: Any) -> BotPerformance:
    if isinstance(row, BotPerformance):
        return row
    where = f"bot {bot!a:.80}, game {getattr(row, 'game_id', None)!a:.40}"
    found = _whole(row, RESULT_FIELDS, "BotPerformance", where)
    extra = _extra(found, RESULT_FIELDS, where)
    metadata = {"attributes": extra} if extra else None
    return BotPerformance._make([*(found[name] for name in RESULT_FIELDS), metadata])


def _whole(found: Any, fields: tuple[str, ...], kind: str, where: str) -> dict[str, Any]:
    """The object's attributes, if all these fields are among them. Raises ValueRefusedError."""
    values = _attributes(found)
    missing = [name for name in fields if name not in values]
    if missing:
        raise ValueRefusedError(
            f"{where}: a {type(found).__name__} is no {kind}: it has no {', '.join(missing)}"
        )
    return values


def _attributes(found: Any) -> dict[str, Any]:
    if hasattr(found, "_asdict"):
        return dict(found._asdict())
    return {**dict(_slots(found)), **getattr(found, "__dict__", {})}


def _slots(found: Any) -> Iterator[tuple[str, Any]]:
    for kind in type(found).__mro__:
        names = kind.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__") and hasattr(found, name):
                yield name, getattr(found, name)


def _extra(found: Mapping[str, Any], known: tuple[str, ...], where: str) -> dict[str, Any]:
    """The other attributes in the form in which they are stored. Raises ValueRefusedError."""
    extra = [(name, value) for name, value in found.items() if name not in known]
    for name, value in extra:
        if value is not None and type(value) not in (bool, int, float, str, list, tuple, dict):
            raise ValueRefusedError(
                f"{where}, field {name!a:.80}: a {type(value).__name__} is not plain data"
            )
    return attributes.further(extra, where)


def _further(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The attributes that no record has a place for, as they were."""
    found = (metadata or {}).get("attributes", {})
    return {name: attributes.from_json(value) for name, value in found.items()}


def _board_type(board: Any) -> str | None:
    """How a board is held, where that is not a list of lists, as pickles note it."""
    if type(board) not in (list, tuple) or not board or {*map(type, board)} not in ({list}, {tuple}):
        return None
    kind = f"{type(board).__name__} of {type(board[0]).__name__}s"
    return None if kind == "list of lists" else kind


def _cells(game: GameSnapshot) -> Any:
    """The board as it was handed in or stood in the file."""
    outer, _, inner = (game.metadata or {}).get("board_type", "list of lists").partition(" of ")
    rows = game.cells
    if inner == "tuples":
        return (tuple if outer == "tuple" else list)(map(tuple, rows))
    return typing.cast("Any", tuple(rows) if outer == "tuple" else rows)
