"""The rules of SameGame, as the benchmark system plays it.

A board is a list of rows of equal length, row 0 on top; 0 is an empty cell, every other number a colour.
Two or more equal tiles that touch in one of the four directions are a group. A click on a tile of a
group takes the group away, then what hangs in the air falls down, then empty columns close to the left. A
click on anything else changes nothing.

Here is the plain form of the rules, for boards as people and programs hand them around. Whole games of the
built-in bots are played on bits, in `bitboards`.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from sgdb.errors import ValueRefusedError

Board = list[list[int]]


def group(board: Sequence[Sequence[int]], row: int, col: int) -> list[tuple[int, int]]:
    """The cells that a click on (row, col) takes away, sorted: two or more, or none."""
    if not (0 <= row < len(board) and 0 <= col < len(board[row])) or not board[row][col]:
        return []
    color = board[row][col]
    found = {(row, col)}
    edge = [(row, col)]
    while edge:
        at_row, at_col = edge.pop()
        for cell in _neighbours(board, at_row, at_col):
            if cell not in found and board[cell[0]][cell[1]] == color:
                found.add(cell)
                edge.append(cell)
    return sorted(found) if len(found) > 1 else []


def groups(board: Sequence[Sequence[int]]) -> list[list[tuple[int, int]]]:
    """All groups of the board, each with its cells sorted, in the order of their first cells."""
    seen: set[tuple[int, int]] = set()
    found = []
    for row, cells in enumerate(board):
        for col in range(len(cells)):
            if (row, col) not in seen and (members := group(board, row, col)):
                seen.update(members)
                found.append(members)
    return found


def candidates(board: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The clicks that change something, one for each group: its first cell, row by row from the top."""
    return [members[0] for members in groups(board)]


def settle(board: Sequence[Sequence[int]]) -> Board:
    """A new board on which everything has fallen down and empty columns have closed to the left."""
    height = len(board)
    columns = [[tile for tile in column if tile] for column in zip(*board, strict=True)]
    fallen = [[0] * (height - len(column)) + column for column in columns if column]
    fallen += [[0] * height] * (len(columns) - len(fallen))
    return [[column[row] for column in fallen] for row in range(height)]


def click(board: Sequence[Sequence[int]], row: int, col: int) -> Board:
    """A new board: the one that a click on (row, col) leads to.

    Where nothing happens (an empty cell, a lone tile, a place that is not on the board) it is a copy.
    """
    cleared = [list(cells) for cells in board]
    members = group(board, row, col)
    for at_row, at_col in members:
        cleared[at_row][at_col] = 0
    return settle(cleared) if members else cleared


def tiles(board: Sequence[Sequence[int]]) -> int:
    """How many cells are not empty."""
    return sum(1 for row in board for cell in row if cell)


def singles(board: Sequence[Sequence[int]], *, count_empty: bool = True) -> int:
    """How many cells have no neighbour of the same value.

    This is the number that results record as `singles_remaining`: an empty cell between tiles counts
    like a tile, unless `count_empty` is False.
    """
    return sum(
        1
        for row, cells in enumerate(board)
        for col, value in enumerate(cells)
        if (value or count_empty) and all(board[r][c] != value for r, c in _neighbours(board, row, col))
    )


def cell_of(value: Any, board: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    """`value` as a cell of the board, or None where it is none.

    A cell is two integers of any integral type, in anything that has an order; True is no integer.
    """
    if isinstance(value, (str, bytes, bytearray, Mapping, Set)):
        return None
    try:
        row, col = value
        if isinstance(row, bool) or isinstance(col, bool):
            return None
        row, col = operator.index(row), operator.index(col)
    except (TypeError, ValueError):
        return None
    return (row, col) if 0 <= row < len(board) and 0 <= col < len(board[row]) else None


def replay_moves(board: Sequence[Sequence[int]], moves: Iterable[object]) -> Iterator[Board]:
    """Plays a recorded move sequence back: the settled board, and then the board after each click.

    Every board is the caller's own. Raises ValueRefusedError at a move that is no cell of the board.
    """
    current = settle(board)
    height, width = len(current), len(current[0]) if current else 0
    yield [list(row) for row in current]
    for number, move in enumerate(moves):
        cell = cell_of(move, current)
        if cell is None:
            raise ValueRefusedError(
                f"move {number} of the sequence, {reprlib.repr(move)}, "
                f"is no cell of a board of {height}x{width} cells"
            )
        current = click(current, *cell)
        yield [list(row) for row in current]


def _neighbours(board: Sequence[Sequence[int]], row: int, col: int) -> Iterator[tuple[int, int]]:
    if row:
        yield row - 1, col
    if col:
        yield row, col - 1
    if col + 1 < len(board[row]):
        yield row, col + 1
    if row + 1 < len(board):
        yield row + 1, col
