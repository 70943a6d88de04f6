"""What programs hand in: checked before anything is stored, so that every storage refuses the same.

Integers of other libraries (numpy's, say) are taken for what they are. Bounds are those of the database.
"""

from __future__ import annotations

import json
import operator
import typing
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TypeVar

from sgdb.errors import UsageError, ValueRefusedError
from sgdb.game.boards import board_json
from sgdb.pickles import attributes
from sgdb.pickles.layouts import CONFIG_FIELDS, COUNT_FIELDS, INT32, INT64
from sgdb.records import BotPerformance, GameConfig, GameSnapshot

_MAX_BOT_NAME = 255
_PART = 10_000  # rows whose columns are held at a time
_Row = TypeVar("_Row", GameSnapshot, BotPerformance)


def checked_games(
    config: GameConfig, games: Iterable[GameSnapshot], *, any_board: bool = False
) -> list[GameSnapshot]:
    """The games by id, each once. Raises ValueRefusedError naming game, field and value.

    With `any_board`, boards need neither the size nor the colours that the config says.
    """
    return _in_order((_game(config, _of_kind(game, GameSnapshot, ""), any_board) for game in games), "")


def checked_results(bot: str, rows: Iterable[BotPerformance]) -> list[BotPerformance]:
    """One bot's results by game id, each once. Raises ValueRefusedError naming bot, game, field and value."""
    _require_name(bot, f"bot {bot!a:.80}")
    where = f"bot {bot!a:.80}, "
    rows = list(rows)
    if _as_stored(bot, rows):
        return rows
    return _in_order((_result(bot, _of_kind(row, BotPerformance, where)) for row in rows), where)


def _as_stored(bot: str, rows: list[BotPerformance]) -> bool:
    """Whether these are records of the bot itself, by game id, each once, and with possible values, as nearly
    all are."""
    last = -1
    for at in range(0, len(rows), _PART):
        part = rows[at : at + _PART]
        if set(map(type, part)) != {BotPerformance}:
            return False
        names, ids, tiles, singles, moves, completed, metadata = zip(*part, strict=True)
        if (
            names.count(bot) != len(part)
            or metadata.count(None) != len(part)
            or set(map(type, completed)) != {bool}
            or not all(map(_are_counts, (ids, tiles, singles, moves)))
        ):
            return False
        if ids[0] <= last or not all(map(operator.lt, ids, ids[1:])):
            return False
        last = ids[-1]
    return True


def _are_counts(values: tuple[Any, ...]) -> bool:
    return set(map(type, values)) == {int} and min(values) >= 0 and max(values) <= INT32


def checked_num_games(value: object) -> int:
    """The declared size. Raises ValueRefusedError."""
    return _whole(value, 0, INT32, "field num_games")


def checked_set(config: GameConfig, base_seed: int) -> tuple[GameConfig, int]:
    """What names a set. Raises UsageError."""
    try:
        rows, cols, colors = (_whole(getattr(config, name), 1, INT32, name) for name in CONFIG_FIELDS)
        return GameConfig(rows, cols, colors), _whole(base_seed, -INT64 - 1, INT64, "base_seed")
    except (ValueRefusedError, AttributeError):
        raise UsageError(
            f"{config!a:.80} with base seed {base_seed!a:.80} names no benchmark set",
            hint="give a GameConfig of positive whole numbers and a 64-bit base seed",
        ) from None


def is_sound(bot: str, row: BotPerformance) -> bool:
    """Whether a row is this bot's own and has possible values."""
    try:
        return _result(bot, row).bot_name == bot
    except (ValueRefusedError, AttributeError):
        return False


def _of_kind(row: Any, kind: type[_Row], where: str) -> _Row:
    """A row that has what this kind of record has; whose class it is does not matter."""
    if not all(hasattr(row, name) for name in kind._fields if name != "metadata"):
        raise ValueRefusedError(f"{where}{row!a:.80} is no {kind.__name__}")
    return typing.cast("_Row", row)


def _in_order(rows: Iterable[_Row], where: str) -> list[_Row]:
    found: dict[int, _Row] = {}
    for row in rows:
        first = found.setdefault(row.game_id, row)
        if first is not row and first != row:
            raise ValueRefusedError(f"{where}game {row.game_id} is given twice with different values")
    return [found[game_id] for game_id in sorted(found)]


def _game(config: GameConfig, game: GameSnapshot, any_board: bool) -> GameSnapshot:
    game_id = _whole(game.game_id, 0, INT32, "a game's id")
    where = f"game {game_id}"
    seed = game.seed
    if seed is not None:
        seed = _whole(seed, -INT64 - 1, INT64, f"{where}, field seed")
    kept = _metadata(getattr(game, "metadata", None), ("attributes", "board_type"), where)
    return GameSnapshot(game_id, _board(config, game.board, f"{where}, field board", any_board), seed, kept)


def _board(config: GameConfig, board: Any, where: str, any_board: bool) -> str:
    """The board's text as sgdb writes it."""
    last = INT32 if any_board else config.num_colors - 1
    try:
        cells = json.loads(board) if isinstance(board, str) else board
        rows = [[_whole(cell, 0, last, where) for cell in row] for row in cells]
    except (TypeError, ValueError):
        raise ValueRefusedError(f"{where}: {board!a:.80} is no board of {config}") from None
    is_fitting = len(rows) == config.num_rows and {len(row) for row in rows} == {config.num_cols}
    if not is_fitting and not any_board:
        raise ValueRefusedError(f"{where}: the board is not of the size that {config} says")
    return board_json(rows)


def _result(bot: str, row: BotPerformance) -> BotPerformance:
    game_id = _whole(row.game_id, 0, INT32, f"bot {bot!a:.80}, a result's game id")
    where = f"bot {bot!a:.80}, game {game_id}"
    _require_name(row.bot_name, f"{where}, field bot_name")
    tiles, singles, moves = (
        _whole(getattr(row, name), 0, INT32, f"{where}, field {name}") for name in COUNT_FIELDS
    )
    completed = row.completed
    if type(completed) is not bool:
        if type(completed).__module__ != "numpy" or not type(completed).__name__.startswith("bool"):
            raise ValueRefusedError(f"{where}, field completed: {completed!a:.80} is neither True nor False")
        completed = bool(completed)
    kept = _metadata(getattr(row, "metadata", None), ("attributes",), where)
    return BotPerformance(row.bot_name, game_id, tiles, singles, moves, completed, kept)


def _require_name(name: object, where: str) -> None:
    if not isinstance(name, str) or len(name) > _MAX_BOT_NAME or not attributes.storable_text(name):
        raise ValueRefusedError(
            f"{where}: {name!a:.80} is not a text of at most {_MAX_BOT_NAME} characters that can be stored"
        )


def _whole(value: Any, low: int, high: int, where: str) -> int:
    if type(value) is not int and type(value).__name__ not in ("bool", "bool_"):
        with suppress(TypeError):
            value = operator.index(value)
    if type(value) is not int or not low <= value <= high:
        raise ValueRefusedError(f"{where}: {value!a:.80} is not a whole number from {low} to {high}")
    return value


def _metadata(value: Any, known: tuple[str, ...], where: str) -> dict[str, Any] | None:
    """What else a legacy record carried, or None."""
    if not value:
        return None
    if not isinstance(value, dict) or not value.keys() <= {*known}:
        raise ValueRefusedError(
            f"{where}, field metadata: {value!a:.80} is not kept; attributes of your own go into "
            "metadata['attributes'], by name"
        )
    found = value.get("attributes", {})
    try:
        plain = [(name, attributes.from_json(item)) for name, item in found.items()]
        is_stored_form = attributes.further(plain, where) == found
    except (AttributeError, TypeError, ValueError):
        is_stored_form = False
    if not is_stored_form:
        raise ValueRefusedError(f"{where}, field metadata: {found!a:.80} is not in the form that is stored")
    kinds = ("tuple of tuples", "tuple of lists", "list of tuples", None)
    if value.get("board_type") not in kinds:
        raise ValueRefusedError(f"{where}, field metadata: unknown board_type {value['board_type']!a:.80}")
    return dict(value)
