"""Seeds and boards: the rule of the old benchmark system, and its independence of Python's `randint`."""

from __future__ import annotations

import json
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdb.game.boards import board_json, draw_board, game_seeds
from sgdb.records import GameConfig


def test_the_first_seed_of_42() -> None:
    """A number known from real files."""
    assert next(game_seeds(42)) == 478163327


@given(st.integers(-(2**70), 2**70))
def test_seeds_are_those_of_randint(base_seed: int) -> None:
    """Game i's seed is the i-th randint(0, 2**31 - 1) of the base seed's stream."""
    stream = Random(base_seed)
    assert list(islice(game_seeds(base_seed), 20)) == [stream.randint(0, 2**31 - 1) for _ in range(20)]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(2, 20), st.integers(0, 2**31 - 1))
def test_boards_are_those_of_randint(rows: int, cols: int, colors: int, seed: int) -> None:
    """One randint(1, num_colors - 1) a cell, row by row."""
    stream = Random(seed)
    expected = [[stream.randint(1, colors - 1) for _ in range(cols)] for _ in range(rows)]
    assert draw_board(GameConfig(rows, cols, colors), seed) == expected


def test_opposite_base_seeds_give_the_same_games() -> None:
    """random.Random takes the absolute value."""
    assert list(islice(game_seeds(-7), 5)) == list(islice(game_seeds(7), 5))


def test_no_board_without_a_colour() -> None:
    """num_colors counts the empty colour 0, which is never drawn."""
    with pytest.raises(ValueError, match="5x5x1"):
        draw_board(GameConfig(5, 5, 1), 1)


def test_board_json_is_json_without_blanks() -> None:
    """The text that is stored."""
    board = draw_board(GameConfig(2, 3, 12), 5)
    assert json.loads(board_json(board)) == board
    assert " " not in board_json(board)
