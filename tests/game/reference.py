"""SameGame once more, written to be obviously right and nothing else: what `sgdb.game` is compared with.

A board is a dict from (row, col) to a colour, without the empty cells, so that a rule is one line.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

Cell = tuple[int, int]
Tiles = dict[Cell, int]
Rows = list[list[int]]
Chooser = Callable[[Tiles, int, int], Cell]


def tiles_of(rows: Rows) -> Tiles:
    """The tiles of a board that is given by rows."""
    return {(r, c): value for r, row in enumerate(rows) for c, value in enumerate(row) if value}


def rows_of(tiles: Tiles, height: int, width: int) -> Rows:
    """The board by rows."""
    return [[tiles.get((r, c), 0) for c in range(width)] for r in range(height)]


def around(cell: Cell) -> list[Cell]:
    """The four neighbours, on the board or not."""
    r, c = cell
    return [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]


def group(tiles: Tiles, cell: Cell) -> set[Cell]:
    """The tiles of one colour that hang together with this one."""
    found: set[Cell] = set()
    todo = {cell}
    while todo:
        found |= todo
        todo = {n for one in todo for n in around(one) if tiles.get(n) == tiles[cell]} - found
    return found


def groups(tiles: Tiles) -> list[set[Cell]]:
    """Every group of two or more, in the order of first cells."""
    left = set(tiles)
    found = []
    for cell in sorted(tiles):
        if cell in left:
            members = group(tiles, cell)
            left -= members
            found.append(members)
    return [members for members in found if len(members) > 1]


def settle(tiles: Tiles, height: int) -> Tiles:
    """Everything fallen down and moved to the left."""
    settled = {}
    for col, old in enumerate(sorted({c for _, c in tiles})):
        column = [tiles[r, old] for r in range(height) if (r, old) in tiles]
        for depth, value in enumerate(reversed(column)):
            settled[height - 1 - depth, col] = value
    return settled


def click(tiles: Tiles, cell: Cell, height: int) -> Tiles:
    """What a click leads to."""
    gone = group(tiles, cell) if cell in tiles else set()
    if len(gone) < 2:
        return dict(tiles)
    return settle({at: value for at, value in tiles.items() if at not in gone}, height)


def singles(tiles: Tiles, height: int, width: int, count_empty: bool = True) -> int:
    """Cells that differ from all their neighbours on the board."""
    cells = {(r, c): tiles.get((r, c), 0) for r in range(height) for c in range(width)}
    return sum(
        all(cells[n] != value for n in around(cell) if n in cells)
        for cell, value in cells.items()
        if value or count_empty
    )


def largest(tiles: Tiles, height: int, width: int) -> Cell:
    """What LargestGroupBot takes."""
    return min(min(members) for members in groups(tiles) if len(members) == max(map(len, groups(tiles))))


def greedy(count_empty: bool) -> Chooser:
    """What GreedySinglesBot takes."""

    def choose(tiles: Tiles, height: int, width: int) -> Cell:
        return min(
            (singles(click(tiles, cell, height), height, width, count_empty), cell)
            for cell in map(min, groups(tiles))
        )[1]

    return choose


def chance(tiles: Tiles, height: int, width: int) -> Cell:
    """What RandomBot takes."""
    digest = hashlib.md5(str(rows_of(tiles, height, width)).encode()).hexdigest()
    return random.Random(int(digest, 16)).choice([min(members) for members in groups(tiles)])


def play(rows: Rows, choose: Chooser, move_limit: int) -> tuple[tuple[int, int, int, bool], list[Cell]]:
    """The outcome of a whole game, and its moves."""
    height, width = len(rows), len(rows[0])
    tiles = start = settle(tiles_of(rows), height)
    moves: list[Cell] = []
    while len(moves) < move_limit and groups(tiles):
        moves.append(choose(tiles, height, width))
        tiles = click(tiles, moves[-1], height)
    return (len(start) - len(tiles), singles(tiles, height, width), len(moves), not tiles), moves
