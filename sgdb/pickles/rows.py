"""Parsed rows to records, every value checked: a value that cannot be stored as it is refuses the file."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from sgdb.errors import ValueRefusedError
from sgdb.game.boards import board_json
from sgdb.pickles import attributes
from sgdb.pickles.inert import Instance, RowBatch, Shape, shown
from sgdb.pickles.layouts import (
    COUNT_FIELDS,
    GAME_FIELDS,
    INT32,
    INT64,
    RESULT_FIELDS,
    columns_of,
    listed,
    read_config,
    require,
    whole,
)
from sgdb.records import BotPerformance, GameConfig, GameSnapshot

_MAX_KINDS = 1000


class Notes:
    """Findings that do not refuse a file, counted by kind, with the first example of each."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, finding: str, example: str, count: int = 1) -> None:
        """Counts a finding."""
        if finding not in self._first:
            if len(self._first) >= _MAX_KINDS:  # whatever a file holds, the notes stay readable
                finding = "findings of other kinds"
            self._first.setdefault(finding, example)
        self._counts[finding] += count

    def lines(self) -> list[str]:
        """One sentence a kind."""
        return [
            f"{finding}: {count}, first {self._first[finding]}" for finding, count in self._counts.items()
        ]


def _extras(row: tuple[Any, ...], at: dict[str, int], where: str, room: attributes.Room) -> dict[str, Any]:
    """Further attributes in the form in which they are stored."""
    return attributes.further([(name, row[place]) for name, place in at.items()], where, room)


class GameRows:
    """Turns batches of games into GameSnapshots for one file's config."""

    def __init__(
        self, config: GameConfig, config_extra: dict[str, Any], notes: Notes, room: attributes.Room
    ) -> None:
        self._config = config
        self._config_extra = config_extra
        self._notes = notes
        self._room = room
        self._known_config: Any = None  # the config instance that was last found right
        # All characters of a sound board; below ten colours each is a digit.
        self._sound = "[]," + "".join(map(str, range(min(config.num_colors, 10))))
        self._sound_bytes = self._sound.encode()

    def read(self, batch: RowBatch) -> list[GameSnapshot]:
        """The batch's games. Raises ValueRefusedError naming game, field and value."""
        columns = columns_of(batch.shape)
        first = batch.rows[0][columns["game_id"]]
        require(columns, GAME_FIELDS if batch.shape.cls else ("board", "seed"), f"game {first}")
        config = columns.get("config")
        ids, boards, seeds = columns["game_id"], columns["board"], columns["seed"]
        extra = {name: at for name, at in columns.items() if name not in GAME_FIELDS}
        size, right_size = batch.shape.text_board, (self._config.num_rows, self._config.num_cols)
        if not extra and size == right_size:
            sound_games = self._read_sound(batch, columns)
            if sound_games is not None:
                return sound_games
        kept = f"kept further attributes of games ({listed(extra)})" if extra else ""
        sound, games = self._sound, []
        for row in batch.rows:
            game_id, board, seed = row[ids], row[boards], row[seeds]
            metadata: dict[str, Any] | None = None
            if config is not None and row[config] is not self._known_config:
                self._check_config(row[config], game_id)
            if size != right_size or board.strip(sound):
                board, kind = self._board(board if size is None else json.loads(board), game_id)
                if kind is not None:
                    metadata = {"board_type": kind}
                    self._notes.add("board held in tuples, kept so for export", f"game {game_id}")
            if type(seed) is not int or not -INT64 - 1 <= seed <= INT64:
                if seed is not None:
                    raise ValueRefusedError(
                        f"game {game_id}, field seed: {shown(seed)} is not a 64-bit whole number"
                    )
                self._notes.add("game without a seed", f"game {game_id}")
            if extra:
                metadata = (metadata or {}) | {
                    "attributes": _extras(row, extra, f"game {game_id}", self._room)
                }
                self._notes.add(kept, f"game {game_id}")
            games.append(GameSnapshot(game_id, board, seed, metadata))
        return games

    def _read_sound(self, batch: RowBatch, columns: dict[str, int]) -> list[GameSnapshot] | None:
        """The games of boards that are JSON text already, whole columns at a time; None where a value needs
        to be looked at by itself."""
        values = list(zip(*batch.rows, strict=True))
        ids, boards, seeds = (values[columns[name]] for name in ("game_id", "board", "seed"))
        if "config" in columns:
            configs = values[columns["config"]]
            if any(config is not configs[0] for config in configs):
                return None
            if configs[0] is not self._known_config:
                self._check_config(configs[0], ids[0])
        if "".join(boards).encode().translate(None, self._sound_bytes) or set(map(type, seeds)) != {int}:
            return None
        if min(seeds) < -INT64 - 1 or max(seeds) > INT64:
            return None
        return list(map(GameSnapshot, ids, boards, seeds))

    def _check_config(self, value: Any, game_id: int) -> None:
        known = self._known_config
        if (
            type(value) is type(known) is Instance
            and value.cls is known.cls
            and value.state is known.state  # the parser keeps equal ones once
        ):
            return
        config, extra = read_config(value, f"game {game_id}, config", self._room)
        if config != self._config:
            raise ValueRefusedError(
                f"game {game_id}, field config: {config}, but the file's is {self._config}"
            )
        if not attributes.same(extra, self._config_extra):
            raise ValueRefusedError(
                f"game {game_id}, field config: other attributes than the file's config has"
            )
        self._known_config = value

    def _board(self, board: Any, game_id: int) -> tuple[str, str | None]:
        """The board's JSON text, and how it was held if not as a list of lists."""
        where = f"game {game_id}, field board"
        if type(board) not in (list, tuple):
            raise ValueRefusedError(f"{where}: {shown(board)} is not a list of rows")
        config = self._config
        if len(board) != config.num_rows:
            raise ValueRefusedError(f"{where}: {len(board)} rows, but the config says {config.num_rows}")
        kinds = {type(row) for row in board}
        if len(kinds) != 1 or not kinds <= {list, tuple}:
            raise ValueRefusedError(f"{where}: its rows are not all lists (or all tuples)")
        for number, row in enumerate(board):
            if len(row) != config.num_cols:
                raise ValueRefusedError(
                    f"{where}: row {number} has {len(row)} cells, but the config says {config.num_cols}"
                )
            for column, cell in enumerate(row):
                if not whole(cell, 0, config.num_colors - 1):
                    raise ValueRefusedError(
                        f"{where}: cell [{number}][{column}] is {shown(cell)}, but the colours of {config} "
                        f"are 0 to {config.num_colors - 1}"
                    )
        inner = kinds.pop()
        kind = (
            None if type(board) is list and inner is list else f"{type(board).__name__} of {inner.__name__}s"
        )
        return board_json(board), kind


class ResultRows:
    """Turns batches of one key's results into BotPerformances."""

    def __init__(self, key: str, config: GameConfig, notes: Notes, room: attributes.Room) -> None:
        self._key = key
        self._cells = config.num_rows * config.num_cols
        self._notes = notes
        self._room = room

    def read(self, batch: RowBatch) -> list[BotPerformance]:
        """The batch's results. Raises ValueRefusedError naming bot, game, field and value."""
        shape: Shape = batch.shape
        columns = columns_of(shape)
        require(columns, RESULT_FIELDS, f"bot {shown(self._key)}, game {batch.rows[0][columns['game_id']]}")
        self._check_columns(batch, columns)
        if shape.names == RESULT_FIELDS:
            return [BotPerformance(*row) for row in batch.rows]
        order = [columns[name] for name in RESULT_FIELDS]
        extra = {name: at for name, at in columns.items() if name not in RESULT_FIELDS}
        kept = f"kept further attributes of results ({listed(extra)})" if extra else ""
        results = []
        for row in batch.rows:
            values = [row[at] for at in order]
            where = f"bot {shown(self._key)}, game {values[1]}"
            metadata = {"attributes": _extras(row, extra, where, self._room)} if extra else None
            if extra:
                self._notes.add(kept, where)
            results.append(BotPerformance._make([*values, metadata]))
        return results

    def _check_columns(self, batch: RowBatch, columns: dict[str, int]) -> None:
        """Whole columns at a time; row by row only to name what is wrong."""
        by_column = list(zip(*batch.rows, strict=True))
        for name in COUNT_FIELDS:
            values = by_column[columns[name]]
            if set(map(type, values)) != {int} or min(values) < 0 or max(values) > INT32:
                row, value = next(
                    (row, value)
                    for row, value in zip(batch.rows, values, strict=True)
                    if not whole(value, 0, INT32)
                )
                raise self._refused(
                    row, columns, name, f"{shown(value)} is not a whole number from 0 to {INT32}"
                )
            if name != "moves_made" and max(values) > self._cells:
                for row, value in zip(batch.rows, values, strict=True):
                    if value > self._cells:
                        example = f"bot {shown(self._key)}, game {row[columns['game_id']]}: {value}"
                        self._notes.add(f"{name} beyond the {self._cells} cells of the board", example)
        at = columns["completed"]
        if set(map(type, by_column[at])) != {bool}:
            row = next(row for row in batch.rows if type(row[at]) is not bool)
            raise self._refused(row, columns, "completed", f"{shown(row[at])} is neither True nor False")
        at = columns["bot_name"]
        if by_column[at].count(self._key) == len(batch.rows):
            return
        for row in batch.rows:
            name = row[at]
            if name is self._key or name == self._key:
                continue
            if type(name) is not str or not attributes.storable_text(name):
                raise self._refused(
                    row, columns, "bot_name", f"{shown(name)} is not a text that can be stored"
                )
            self._room.take(len(name), f"bot {shown(self._key)}, game {row[columns['game_id']]}")
            self._notes.add(
                f"results filed under {shown(self._key)} bear another name; both are kept",
                f"game {row[columns['game_id']]}: {shown(name)}",
            )

    def _refused(
        self, row: tuple[Any, ...], columns: dict[str, int], name: str, why: str
    ) -> ValueRefusedError:
        return ValueRefusedError(
            f"bot {shown(self._key)}, game {row[columns['game_id']]}, field {name}: {why}"
        )
