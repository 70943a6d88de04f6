"""Seeds and boards as the benchmark system draws them.

The rule (LEGACY_PICKLES.md, "Seeds and boards") is that of `random.Random(seed).randint(low, high)`:
getrandbits of as many bits as the width of the range needs, again while the draw is too large. It is
spelled out here so that a change of `randint` in a later Python cannot change a board. Seeds n and -n
give the same stream, because `random.Random` takes the absolute value of an integer.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from random import Random

from sgdb.records import GameConfig

_SEED_BOUND = 2**31


def game_seeds(base_seed: int) -> Iterator[int]:
    """The seeds of games 0, 1, 2, ... without end."""
    draw = Random(base_seed).getrandbits  # noqa: S311 - reproducible boards, not secrets
    # 2**31 takes 32 bits to write. Nothing here runs in Python: a million seeds are drawn in a moment.
    return filter(_SEED_BOUND.__gt__, map(draw, repeat(32)))


def draw_board(config: GameConfig, seed: int) -> list[list[int]]:
    """The board of this seed: `num_rows` lists of `num_cols` colours from 1 to `num_colors` - 1.

    Raises ValueError when there is no colour to draw (`num_colors` below 2).
    """
    colors = config.num_colors - 1
    if colors < 1:
        raise ValueError(f"no colours to draw from in {config}")
    draw = Random(seed).getrandbits  # noqa: S311
    bits = colors.bit_length()
    cells = []
    for _ in range(config.num_rows * config.num_cols):
        value = draw(bits)
        while value >= colors:
            value = draw(bits)
        cells.append(value + 1)
    width = config.num_cols
    return [cells[at : at + width] for at in range(0, len(cells), width)]


def board_json(board: list[list[int]]) -> str:
    """A board as the JSON text that sgdb stores: no blanks."""
    return "[" + ",".join("[" + ",".join(map(str, row)) + "]" for row in board) + "]"
