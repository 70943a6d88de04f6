"""Games and results as the lines that COPY takes (see `bulk`), many at a time.

Most rows have no metadata, and go through one format each. The others are put together a few at a time, since
any of them may be large.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sgdb.database.bulk import json_cell
from sgdb.database.sets import stored_metadata
from sgdb.records import BotPerformance, GameSnapshot

GAME_COLUMNS = ("id", "benchmark_set_id", "game_index", "board_state", "seed", "metadata", "source_file_id")
RESULT_COLUMNS = (
    "id", "game_id", "bot_id", "tiles_cleared", "singles_remaining", "moves_made", "completed", "metadata",
    "source_file_id",
)  # fmt: skip
_PIECE = 1 << 16  # characters of rows that are put together in one go
_NUMBERS = 60  # characters of a row without board and metadata
_ROWS_WITH_METADATA = 25


def game_lines(games: Sequence[GameSnapshot], keys: Sequence[int], set_id: int, source: int) -> Iterator[str]:
    """The rows of these games of one set, whose primary keys are given. At least one game."""
    plain = all(metadata is None and seed is not None for _, _, seed, metadata in games)
    size = max(1, _PIECE // (len(games[0].board) + _NUMBERS)) if plain else _ROWS_WITH_METADATA
    for at in range(0, len(games), size):
        rows = zip(keys[at : at + size], games[at : at + size], strict=True)
        if plain:
            lines = [
                f"{key}\t{set_id}\t{index}\t{board}\t{seed}\t\\N\t{source}\n"
                for key, (index, board, seed, _) in rows
            ]
        else:
            lines = [
                f"{key}\t{set_id}\t{index}\t{board}\t{_null(seed)}\t{json_cell(metadata)}\t{source}\n"
                for key, (index, board, seed, metadata) in rows
            ]
        yield "".join(lines)


def result_lines(
    bot: str,
    bot_id: int,
    results: Sequence[BotPerformance],
    keys: Sequence[int],
    game_keys: Sequence[int],
    source: int,
) -> Iterator[str]:
    """The rows of these results that are filed under `bot`, whose primary keys and whose games' are given."""
    plain = all(row.metadata is None and row.bot_name == bot for row in results)
    size = _PIECE // _NUMBERS if plain else _ROWS_WITH_METADATA
    for at in range(0, len(results), size):
        end = at + size
        rows = zip(keys[at:end], game_keys[at:end], results[at:end], strict=True)
        if plain:
            lines = [
                f"{key}\t{game}\t{bot_id}\t{tiles}\t{singles}\t{moves}\t"
                f"{'t' if completed else 'f'}\t\\N\t{source}\n"
                for key, game, (_, _, tiles, singles, moves, completed, _) in rows
            ]
        else:
            lines = [
                f"{key}\t{game}\t{bot_id}\t{row.tiles_cleared}\t{row.singles_remaining}\t{row.moves_made}\t"
                f"{'t' if row.completed else 'f'}\t{json_cell(stored_metadata(bot, row))}\t{source}\n"
                for key, game, row in rows
            ]
        yield "".join(lines)


def _null(value: int | None) -> str:
    return r"\N" if value is None else str(value)
