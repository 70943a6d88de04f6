"""The rules, against boards solved by hand and against the reference."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdb.errors import ValueRefusedError
from sgdb.game.rules import candidates, click, group, groups, replay_moves, settle, singles, tiles
from tests.game import reference
from tests.game.boards import Rows, boards

BOARD = [
    [2, 3, 3, 3],
    [3, 1, 3, 3],
    [1, 3, 3, 2],
    [2, 2, 3, 2],
]


def test_a_group_falls_and_its_column_closes() -> None:
    """By hand: the eight 3s vanish, and everything above and to the right comes together."""
    assert candidates(BOARD) == [(0, 1), (2, 3), (3, 0)]
    assert click(BOARD, 3, 2) == [
        [2, 0, 0, 0],
        [3, 0, 0, 0],
        [1, 1, 2, 0],
        [2, 2, 2, 0],
    ]
    assert (tiles(BOARD), singles(BOARD)) == (16, 4)
    assert BOARD[0] == [2, 3, 3, 3]


@pytest.mark.parametrize(
    ("row", "col"), [(0, 0), (1, 1), (-1, 0), (0, -1), (4, 0), (0, 4)], ids=lambda value: str(value)
)
def test_a_click_on_nothing_changes_nothing(row: int, col: int) -> None:
    """A lone tile, or a place that is not on the board: a copy of the board."""
    after = click(BOARD, row, col)
    assert after == BOARD
    assert not any(new is old for new, old in zip(after, BOARD, strict=True))


def test_a_lone_empty_cell_counts_as_a_single() -> None:
    """The recorded number is about cells, not tiles."""
    board = [[1, 0, 2], [1, 3, 2]]
    assert (singles(board), singles(board, count_empty=False)) == (2, 1)
    assert singles([[0]]) == 1
    assert singles([[0, 0]]) == 0


def test_boards_without_cells() -> None:
    """Nothing to click, nothing to count."""
    for board in ([], [[], []]):
        assert (candidates(board), tiles(board), singles(board), settle(board)) == ([], 0, 0, board)


def test_rows_of_unequal_length_are_refused() -> None:
    """They are no board."""
    with pytest.raises(ValueError):
        settle([[1, 2], [1]])


@settings(max_examples=150, deadline=None)
@given(boards(), st.integers(0, 2**32))
def test_the_rules_are_those_of_the_reference(board: Rows, seed: int) -> None:
    """Groups, clicks and counts, on boards of every shape, also where tiles hang in the air."""
    height, width = len(board), len(board[0])
    cells = reference.tiles_of(board)
    expected = reference.groups(cells)
    assert groups(board) == [sorted(members) for members in expected]
    assert candidates(board) == [min(members) for members in expected]
    assert settle(board) == reference.rows_of(reference.settle(cells, height), height, width)
    assert singles(board) == reference.singles(cells, height, width)
    assert singles(board, count_empty=False) == reference.singles(cells, height, width, False)
    row, col = Random(seed).randrange(height), Random(seed).randrange(width)
    for at in [(row, col), *candidates(board)[:3]]:
        assert click(board, *at) == reference.rows_of(reference.click(cells, at, height), height, width)
    members = group(board, row, col)
    assert not members or (row, col) in members


def test_moves_are_played_back() -> None:
    """The settled board first, then one after each click; the caller may do with them what he likes."""
    seen = []
    for board in replay_moves([[1, 0, 2], [0, 0, 2]], [(0, 0), (0, 1), [1, 0]]):
        seen.append([list(row) for row in board])
        board[1][0] = 9
    assert seen == [
        [[0, 2, 0], [1, 2, 0]],
        [[0, 2, 0], [1, 2, 0]],
        [[0, 0, 0], [1, 0, 0]],
        [[0, 0, 0], [1, 0, 0]],
    ]


@pytest.mark.parametrize("move", [(2, 0), (0, 2), (-1, 0), (0,), (0, 0, 0)])
def test_a_move_that_is_not_on_the_board_is_named(move: tuple[int, ...]) -> None:
    """A recorded sequence is input like any other."""
    boards = replay_moves([[1, 1], [2, 2]], [(0, 0), move])
    assert next(boards) == [[1, 1], [2, 2]]
    assert next(boards) == [[0, 0], [2, 2]]
    with pytest.raises(
        ValueRefusedError, match=r"move 1 of the sequence, \(.*\), is not on a board of 2x2 cells"
    ):
        next(boards)
