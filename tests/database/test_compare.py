"""One value against another: what counts as the same, and how a difference is named."""

from __future__ import annotations

from typing import Any

import pytest

from sgdb.database.compare import Difference, compare_game, compare_result
from sgdb.database.sets import StoredGame, StoredResult
from sgdb.records import BotPerformance, GameSnapshot

BOARD = "[[1,2],[0,1]]"


def _game(
    board: str = BOARD, seed: int | None = 5, metadata: Any = None, ours: Any = None
) -> list[Difference]:
    return compare_game(GameSnapshot(3, BOARD, 5, ours), StoredGame(1, 3, board, seed, metadata, 1))


def _result(values: tuple[Any, ...] = (4, 0, 2, True), metadata: Any = None, **ours: Any) -> list[Difference]:
    row = BotPerformance("Bot", 3, 4, 0, 2, True)._replace(**ours)
    return compare_result("Bot", row, StoredResult(3, *values, metadata, 1))


@pytest.mark.parametrize(
    "same",
    [
        _game(),
        _game(board="[[1, 2],\n [0, 1]]"),
        _game(metadata={"origin": "regenerated"}),
        _game(metadata={"origin": "regenerated", "a": 1}, ours={"a": 1}),
        _game(ours={"origin": "regenerated"}),
        _game(metadata={"a": [1.5, {"b": None}]}, ours={"a": [1.5, {"b": None}]}),
        _result(),
        _result(metadata={"bot_name": "Other"}, bot_name="Other"),
    ],
)
def test_the_same_is_no_difference(same: list[Difference]) -> None:
    """Blanks in a board's text and the way a board came into the database are no values."""
    assert same == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (_game(board="[[1,2],[0,2]]"), [(3, None, "board[1][1]", 1, 2)]),
        (_game(board="[[2,2],[0,2]]"), [(3, None, "board[0][0]", 1, 2), (3, None, "board[1][1]", 1, 2)]),
        (_game(board="[[true,2],[0,1]]"), [(3, None, "board[0][0]", 1, True)]),
        (_game(board="[[1.0,2],[0,1]]"), [(3, None, "board[0][0]", 1, 1.0)]),
        (_game(board="[[1,2]]"), [(3, None, "board", [[1, 2], [0, 1]], [[1, 2]])]),
        (_game(board="[1,2]"), [(3, None, "board", [[1, 2], [0, 1]], [1, 2])]),
        (_game(board='{"a": 1}'), [(3, None, "board", [[1, 2], [0, 1]], {"a": 1})]),
        (_game(seed=6), [(3, None, "seed", 5, 6)]),
        (_game(seed=None), [(3, None, "seed", 5, None)]),
        (_game(metadata={"a": 1}), [(3, None, "metadata", None, {"a": 1})]),
        (_game(metadata={"a": True}, ours={"a": 1}), [(3, None, "metadata", {"a": 1}, {"a": True})]),
        (_game(metadata=[1]), [(3, None, "metadata", None, [1])]),
        (_result((5, 0, 2, True)), [(3, "Bot", "tiles_cleared", 4, 5)]),
        (_result((4, 1, 3, True)), [(3, "Bot", "singles_remaining", 0, 1), (3, "Bot", "moves_made", 2, 3)]),
        (_result((4, 0, 2, False)), [(3, "Bot", "completed", True, False)]),
        (_result(metadata={"bot_name": "X"}), [(3, "Bot", "bot_name", "Bot", "X")]),
        (_result(bot_name="X"), [(3, "Bot", "bot_name", "X", "Bot")]),
        (_result(metadata={"a": 1}), [(3, "Bot", "metadata", None, {"a": 1})]),
        (_result(metadata=[1]), [(3, "Bot", "metadata", None, [1])]),
        (_result(metadata={}), [(3, "Bot", "metadata", None, {})]),
    ],
)
def test_a_difference_names_field_and_both_values(
    found: list[Difference], expected: list[tuple[Any, ...]]
) -> None:
    """Cell by cell where the shapes agree; 1, 1.0 and true are three values."""
    assert [tuple(map(repr, difference)) for difference in found] == [
        tuple(map(repr, each)) for each in expected
    ]


def test_a_difference_reads_as_a_sentence() -> None:
    """In ASCII, and never longer than a message can be."""
    assert (
        str(Difference(3, "B\u00f6t", "seed", 1, None))
        == "game 3, bot 'B\\xf6t', field seed: file 1, database None"
    )
    assert str(Difference(None, None, "num_games", 1, 2)) == "field num_games: file 1, database 2"
    assert len(str(Difference(3, None, "board", [[1] * 500] * 500, None))) < 300
