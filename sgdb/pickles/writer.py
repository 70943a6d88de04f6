"""Records to the pickles that the old benchmark system loads, sets of games in constant memory.

The opcodes are those of protocol 4 as CPython's pickler writes them, with frames; only what is used
again (class names, keys, the config) is memoized.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import chain, groupby
from typing import Any, Protocol

from sgdb.pickles import attributes, checkpoints
from sgdb.pickles.layouts import CONFIG_CLASS, LAYOUT_OF_MODULE
from sgdb.pickles.legacy import LegacyFile, Results
from sgdb.pickles.times import bytes_of
from sgdb.records import BotPerformance, Contents, GameSnapshot

_MODULE_OF_LAYOUT = {layout: module for module, layout in LAYOUT_OF_MODULE.items()}
_BATCH = 1000  # items between a MARK and its APPENDS, as in CPython
_FRAME = 1 << 16


class _Sink(Protocol):
    def write(self, data: bytes, /) -> object:
        """Takes the next bytes."""


def write_pickle(
    file: _Sink,
    contents: Contents,
    games: Iterable[GameSnapshot],
    results: Iterable[tuple[str, Iterable[BotPerformance]]],
) -> None:
    """Writes one pickle of layout A, B or C, as `contents` says.

    `games` and `results` come in the order in which they are to stand; `contents` gives layout, config,
    num_games, base_seed and further top-level entries (its own ids are not looked at).
    """
    _Writer(file, _MODULE_OF_LAYOUT[contents.layout]).benchmark(contents, games, results)


def write_checkpoint(file: _Sink, content: Mapping[str, Any]) -> None:
    """Writes one pickled `CheckpointData`, of the JSON that `Checkpoint.to_json` gives."""
    _Writer(file, checkpoints.MODULE).checkpoint(content)


def rewrite(file: _Sink, legacy: LegacyFile) -> None:
    """Writes a legacy file's values as a pickle of its own layout, of layout C where it had no classes.

    Each game and result is written once, games before results; keys without results are left out. Raises
    what `LegacyFile.rows` raises.
    """
    contents = legacy.contents if legacy.contents.layout != "D" else replace(legacy.contents, layout="C")
    parts = legacy.rows()
    first: list[Results] = []

    def games() -> Iterator[GameSnapshot]:
        for part in parts:
            if isinstance(part, Results):
                first.append(part)
                return
            yield from part.rows

    def results() -> Iterator[tuple[str, Iterator[BotPerformance]]]:
        rest = (part for part in chain(first, parts) if isinstance(part, Results))
        for key, of_key in groupby(rest, lambda part: part.key):
            yield key, (row for part in of_key for row in part.rows)

    write_pickle(file, contents, games(), results())


def _integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes((value,))
    if 0 <= value < 65536:
        return b"M" + value.to_bytes(2, "little")
    if -(2**31) <= value < 2**31:
        return b"J" + value.to_bytes(4, "little", signed=True)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes((len(raw),)) + raw


class _Writer:
    def __init__(self, file: _Sink, module: str) -> None:
        self._file = file
        self._module = module
        self._frame = bytearray()
        self._memo: dict[tuple[str, ...], bytes] = {}

    def benchmark(
        self,
        contents: Contents,
        games: Iterable[GameSnapshot],
        results: Iterable[tuple[str, Iterable[BotPerformance]]],
    ) -> None:
        self._file.write(b"\x80\x04")
        self._put(b"}(")
        self._key("games")
        self._rows(self._game(game, contents) for game in games)
        self._key("results")
        self._put(b"}")
        for key, rows in results:
            self._put(b"(")
            self._key(key)
            self._rows(self._result(key, row) for row in rows)
            self._put(b"u")
        if contents.layout != "A":  # the oldest has the config in every game, and the rest nowhere
            self._key("config")
            self._put(self._config(contents))
            for name, number in (("num_games", contents.num_games), ("base_seed", contents.base_seed)):
                self._key(name)
                self._put(_integer(number))
        for name, value in contents.extra.items():
            self._key(name)
            self._put(self._value(attributes.from_json(value)))
        self._put(b"u.")
        self._flush()

    def checkpoint(self, content: Mapping[str, Any]) -> None:
        state: dict[str, Any] = {}
        for name, value in content[checkpoints.DOCUMENT].items():
            if name in checkpoints.STATES and value is not None:
                state[name] = partial(self._state, checkpoints.STATES[name], value)
            else:
                state[name] = attributes.from_json(value)
        if checkpoints.LOSSES in content:
            state[checkpoints.LOSSES] = attributes.from_json(content[checkpoints.LOSSES])
        self._file.write(b"\x80\x04")
        self._put(self._instance(checkpoints.MODULE, checkpoints.TOP_CLASS, state) + b".")
        self._flush()

    def _state(self, name: str, attributes_of: Mapping[str, Any]) -> bytes:
        state = {key: attributes.from_json(value) for key, value in attributes_of.items()}
        config = attributes_of.get(checkpoints.GAME_CONFIG)
        if config is not None:
            shape = {key: attributes.from_json(value) for key, value in config.items()}
            state[checkpoints.GAME_CONFIG] = partial(self._instance, *CONFIG_CLASS, shape)
        return self._instance(checkpoints.MODULE, name, state)

    def _put(self, data: bytes) -> None:
        self._frame += data
        if len(self._frame) >= _FRAME:
            self._flush()

    def _flush(self) -> None:
        self._file.write(b"\x95" + len(self._frame).to_bytes(8, "little"))
        self._file.write(bytes(self._frame))
        self._frame.clear()

    def _once(self, name: tuple[str, ...], data: bytes) -> bytes:
        """`data` with a memo entry the first time, a memo read afterwards."""
        known = self._memo.get(name)
        if known is not None:
            return known
        index = len(self._memo)
        self._memo[name] = b"h" + bytes((index,)) if index < 256 else b"j" + index.to_bytes(4, "little")
        return data + b"\x94"

    def _text(self, text: str, *, again: bool = False) -> bytes:
        known = self._memo.get(("text", text)) if again else None
        if known is not None:
            return known
        raw = text.encode("utf-8", "surrogatepass")
        data = b"\x8c" + bytes((len(raw),)) if len(raw) < 256 else b"X" + len(raw).to_bytes(4, "little")
        return self._once(("text", text), data + raw) if again else data + raw

    def _key(self, name: str) -> None:
        self._put(self._text(name, again=True))

    def _class(self, module: str, name: str) -> bytes:
        known = self._memo.get(("class", module, name))
        if known is not None:
            return known
        parts = self._text(module, again=True) + self._text(name, again=True)
        return self._once(("class", module, name), parts + b"\x93")

    def _instance(self, module: str, name: str, state: Mapping[str, Any]) -> bytes:
        """NEWOBJ and BUILD. A value that is callable makes its own opcodes, and is only called when its
        turn has come: memo entries are numbered in the order in which they stand in the file."""
        parts = [self._class(module, name), b")\x81}("]
        for key, value in state.items():
            parts.append(self._text(key, again=True))
            parts.append(value() if callable(value) else self._value(value))
        return b"".join(parts) + b"ub"

    def _config(self, contents: Contents) -> bytes:
        if ("config",) in self._memo:
            return self._memo[("config",)]
        config = contents.config
        state: dict[str, Any] = {
            "num_rows": config.num_rows,
            "num_cols": config.num_cols,
            "num_colors": config.num_colors,
        }
        state |= {name: attributes.from_json(value) for name, value in contents.config_extra.items()}
        return self._once(("config",), self._instance(*CONFIG_CLASS, state))

    def _rows(self, rows: Iterable[bytes]) -> None:
        """A list; `rows` are the opcodes of its items."""
        self._put(b"]")
        count = 0
        for row in rows:
            if count % _BATCH == 0:
                self._put(b"e(" if count else b"(")
            self._put(row)
            count += 1
        if count:
            self._put(b"e")

    def _game(self, game: GameSnapshot, contents: Contents) -> bytes:
        metadata = game.metadata or {}
        state: dict[str, Any] = {
            "board": lambda: self._board(game, metadata.get("board_type")),
            "config": lambda: self._config(contents),
            "seed": game.seed,
            "game_id": game.game_id,
        }
        return self._instance(self._module, "GameSnapshot", state | _further(metadata))

    def _board(self, game: GameSnapshot, board_type: str | None) -> bytes:
        cells = json.loads(game.board)
        if board_type is not None:
            outer, _, inner = board_type.partition(" of ")
            rows = [tuple(row) for row in cells] if inner == "tuples" else cells
            return self._value(tuple(rows) if outer == "tuple" else rows)
        return b"](" + b"".join(b"](" + b"".join(map(_integer, row)) + b"e" for row in cells) + b"e"

    def _result(self, key: str, row: BotPerformance) -> bytes:
        state: dict[str, Any] = {
            "bot_name": lambda: self._text(row.bot_name, again=row.bot_name == key),
            "game_id": row.game_id,
            "tiles_cleared": row.tiles_cleared,
            "singles_remaining": row.singles_remaining,
            "moves_made": row.moves_made,
            "completed": row.completed,
        }
        return self._instance(self._module, "BotPerformance", state | _further(row.metadata or {}))

    def _value(self, value: Any) -> bytes:
        """Plain data."""
        if value is None:
            return b"N"
        if value is True or value is False:
            return b"\x88" if value else b"\x89"
        kind = type(value)
        if kind is int:
            return _integer(value)
        if kind is float:
            return b"G" + struct.pack(">d", value)
        if kind is str:
            return self._text(value)
        if kind is datetime:
            maker = self._class("datetime", "datetime")
            return maker + b"C\x0a" + bytes_of(value) + b"\x85R"
        if kind is tuple:
            return b"(" + b"".join(map(self._value, value)) + b"t" if value else b")"
        if kind is list:
            return b"](" + b"".join(map(self._value, value)) + b"e" if value else b"]"
        pairs = (self._text(key) + self._value(item) for key, item in value.items())
        return b"}(" + b"".join(pairs) + b"u" if value else b"}"


def _further(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A record's further attributes, as they were."""
    return {name: attributes.from_json(value) for name, value in metadata.get("attributes", {}).items()}
