"""SameGame once more, written to be obviously right and nothing else: what `sgdb.game` is compared with.

A board is a dict from (row, col) to a colour, without the empty cells, so that a rule is one line.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

Tiles = dict[tuple[int, int], int]
Rows = list[list[int]]


def tiles_of(rows: Rows) -> Tiles:
    """The tiles of a board that is given by rows."""
    return {(r, c): value for r, row in enumerate(rows) for c, value in enumerate(row) if value}


def rows_of(tiles: Tiles, height: int, width: int) -> Rows:
    """The board by rows."""
    return [[tiles.get((r, c), 0) for c in range(width)] for r in range(height)]


def around(cell: tuple[int, int]) -> list[tuple[int, int]]:
    """The four neighbours, on the board or not."""
    r, c = cell
    return [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]


def group(tiles: Tiles, cell: tuple[int, int]) -> set[tuple[int, int]]:
    """The tiles of one colour that hang together with this one."""
    found: set[tuple[int, int]] = set()
    todo = {cell}
    while todo:
        found |= todo
        todo = {n for one in todo for n in around(one) if tiles.get(n) == tiles[cell]} - found
    return found


def candidates(tiles: Tiles) -> list[tuple[int, int]]:
    """The first cell of each group of two or more, in order."""
    return [cell for cell in sorted(tiles) if len(group(tiles, cell)) > 1 and cell == min(group(tiles, cell))]


def settle(tiles: Tiles, height: int) -> Tiles:
    """Everything fallen down and moved to the left."""
    columns = sorted({c for _, c in tiles})
    settled = {}
    for col, old in enumerate(columns):
        falling = [tiles[r, c] for r, c in sorted(tiles) if c == old]
        for depth, value in enumerate(reversed(falling)):
            settled[height - 1 - depth, col] = value
    return settled


def click(tiles: Tiles, cell: tuple[int, int], height: int) -> Tiles:
    """What a click leads to."""
    if cell not in tiles or len(group(tiles, cell)) < 2:
        return dict(tiles)
    gone = group(tiles, cell)
    return settle({at: value for at, value in tiles.items() if at not in gone}, height)


def singles(tiles: Tiles, height: int, width: int, count_empty: bool = True) -> int:
    """Cells that differ from all their neighbours on the board."""
    cells = {(r, c): tiles.get((r, c), 0) for r in range(height) for c in range(width)}
    return sum(
        all(cells[n] != value for n in around(cell) if n in cells)
        for cell, value in cells.items()
        if value or count_empty
    )


def largest(tiles: Tiles, height: int, width: int) -> tuple[int, int]:
    """What LargestGroupBot takes."""
    return min(candidates(tiles), key=lambda cell: (-len(group(tiles, cell)), cell))


def greedy(count_empty: bool) -> Callable[[Tiles, int, int], tuple[int, int]]:
    """What GreedySinglesBot takes."""

    def choose(tiles: Tiles, height: int, width: int) -> tuple[int, int]:
        return min(
            candidates(tiles),
            key=lambda cell: (singles(click(tiles, cell, height), height, width, count_empty), cell),
        )

    return choose


def chance(tiles: Tiles, height: int, width: int) -> tuple[int, int]:
    """What RandomBot takes."""
    digest = hashlib.md5(str(rows_of(tiles, height, width)).encode()).hexdigest()
    return random.Random(int(digest, 16)).choice(candidates(tiles))


def play(
    rows: Rows, choose: Callable[[Tiles, int, int], tuple[int, int]], move_limit: int
) -> tuple[tuple[int, int, int, bool], list[tuple[int, int]]]:
    """The outcome of a whole game, and its moves."""
    height, width = len(rows), len(rows[0])
    tiles = start = settle(tiles_of(rows), height)
    moves: list[tuple[int, int]] = []
    while len(moves) < move_limit and candidates(tiles):
        moves.append(choose(tiles, height, width))
        tiles = click(tiles, moves[-1], height)
    return (len(start) - len(tiles), singles(tiles, height, width), len(moves), not tiles), moves
