"""Whole games: the recorded numbers of the real files, the reference, and bots of other people."""

from __future__ import annotations

import hashlib
import threading
from array import array
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdb.errors import BotError
from sgdb.game import bitboards
from sgdb.game.boards import draw_board, game_seeds
from sgdb.game.bots import BUILT_IN, Bot, GreedySinglesBot, LargestGroupBot, RandomBot
from sgdb.game.play import MOVE_LIMIT, Outcome, play
from sgdb.game.rules import click
from sgdb.pickles.files import FileSource
from sgdb.pickles.legacy import LegacyFile, Results
from sgdb.records import GameConfig
from tests.game import reference
from tests.game.boards import Rows, boards

PLAYERS: list[tuple[Bot, reference.Chooser]] = [
    (LargestGroupBot(), reference.largest),
    (GreedySinglesBot(), reference.greedy(False)),
    (GreedySinglesBot(count_empty=True), reference.greedy(True)),
    (RandomBot(), reference.chance),
]

# (config, base seed, games, bot, digest of the results that the old system recorded for them): see `_digest`.
RECORDED = [
    ((5, 2, 3), 42, 1_000, "LargestGroupBot", "7dbdfbf609362a5b8a61f420ca3fb7e4"),
    ((5, 2, 3), 42, 1_000, "GreedySinglesBot", "56672866691d37cc769b9473a7d05632"),
    ((5, 5, 3), 42, 10_000, "LargestGroupBot", "8798fa5eee08f11d2e66e31813b1e8d0"),
    ((5, 5, 3), 42, 10_000, "GreedySinglesBot", "2ddf3ea6762ef351c84a3cdef41bbd13"),
    ((5, 5, 3), 42, 3, "RandomBot", "d6f20e60f6e1847eafcfd6f482b9b08f"),
    ((5, 5, 3), 55555, 50, "LargestGroupBot", "78fcfd742a316c3f7d15cde8b4ffe404"),
    ((5, 5, 3), 55555, 50, "GreedySinglesBot", "2d62179358a4b8f12d3605d5220eb602"),
    ((5, 7, 3), 42, 10_000, "LargestGroupBot", "1e2f2d8d0baf877d470036b60b7cdead"),
    ((5, 7, 3), 42, 10_000, "GreedySinglesBot", "175fbce95fcb6e6477667f61147ac83a"),
]


def _digest(outcomes: list[Outcome]) -> str:
    lines = [f"{at} {' '.join(str(int(value)) for value in row)}\n" for at, row in enumerate(outcomes)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:32]


@pytest.mark.parametrize(("config", "base_seed", "games", "bot", "digest"), RECORDED)
@pytest.mark.no_cover
def test_every_recorded_result_of_the_real_files_reproduces(
    config: tuple[int, int, int], base_seed: int, games: int, bot: str, digest: str
) -> None:
    """42,100 games of LargestGroupBot and GreedySinglesBot and three of RandomBot, by their digests."""
    shape, player = GameConfig(*config), BUILT_IN[bot]()
    seeds = islice(game_seeds(base_seed), games)
    assert _digest([play(draw_board(shape, seed), player) for seed in seeds]) == digest


def test_the_digests_are_those_of_the_real_files(shared_pickles: Path | None) -> None:
    """Where the real files are at hand, the digests come from every row in them; else one can do without:
    they are numbers, and what they are compared with is played."""
    assert sum(games for _, _, games, bot, _ in RECORDED if bot != "RandomBot") == 42_100
    if shared_pickles is None:
        assert _digest([Outcome(25, 0, 3, True), Outcome(25, 0, 2, True), Outcome(25, 0, 3, True)]) == next(
            digest for *_, bot, digest in RECORDED if bot == "RandomBot"
        )
        return
    found = set()
    for path in shared_pickles.glob("*.pkl"):
        file = LegacyFile.read(FileSource(path))
        config = (
            file.contents.config.num_rows,
            file.contents.config.num_cols,
            file.contents.config.num_colors,
        )
        rows: dict[str, list[Outcome]] = {}
        for part in file.rows():
            if isinstance(part, Results) and part.key in BUILT_IN:
                assert [row.game_id for row in part.rows] == list(
                    range(len(rows.setdefault(part.key, [])), len(rows[part.key]) + len(part.rows))
                )
                rows[part.key] += [Outcome(*row[2:6]) for row in part.rows]
        found |= {
            (config, file.contents.base_seed, len(outcomes), bot, _digest(outcomes))
            for bot, outcomes in rows.items()
        }
    assert found == set(RECORDED)


@settings(max_examples=60, deadline=None)
@given(boards(7), st.integers(0, 12))
def test_small_games_are_those_of_the_reference(board: Rows, move_limit: int) -> None:
    """Outcome and every click, of every bot, also stopped in the middle; the board stays as it was."""
    before = [list(row) for row in board]
    for bot, choose in PLAYERS:
        for limit in (move_limit, MOVE_LIMIT):
            moves: list[tuple[int, int]] = []
            outcome = play(board, bot, move_limit=limit, moves=moves)
            assert (outcome, moves) == reference.play(board, choose, limit)
    assert board == before


@settings(max_examples=40, deadline=None)
@given(boards(), st.integers(0, 4))
def test_games_on_boards_of_every_size_begin_like_those_of_the_reference(
    board: Rows, move_limit: int
) -> None:
    """Up to 20x20 cells of 12 colours; the first moves tell, and the reference is slow."""
    for bot, choose in PLAYERS:
        moves: list[tuple[int, int]] = []
        outcome = play(board, bot, move_limit=move_limit, moves=moves)
        assert (outcome, moves) == reference.play(board, choose, move_limit)


@pytest.mark.parametrize("config", [(8, 8, 4), (6, 11, 5), (15, 4, 9)], ids=str)
def test_whole_games_are_those_of_the_reference(config: tuple[int, int, int]) -> None:
    """From the first click to the last, on boards of ordinary sizes."""
    for seed in range(4):
        board = draw_board(GameConfig(*config), seed)
        for bot, choose in PLAYERS:
            moves: list[tuple[int, int]] = []
            assert (play(board, bot, moves=moves), moves) == reference.play(board, choose, MOVE_LIMIT)


class _Foreign:
    """A bot that is not built in, with the choice of one that is."""

    def __init__(self, bot: Bot) -> None:
        self.name = "Foreign"
        self._bot = bot

    def select_action(self, board: Rows) -> Any:
        answer = self._bot.select_action([list(row) for row in board])
        for row in board:
            row[:] = [7] * len(row)  # what a bot does to its board is its own affair
        return list(answer) if answer else None


@settings(max_examples=25, deadline=None)
@given(boards(8), st.integers(0, 100))
def test_a_bot_asked_move_by_move_plays_the_same_game(board: Rows, move_limit: int) -> None:
    """`select_action` and the games on bits are one bot, and a foreign bot gets a board of its own."""
    for bot, _ in PLAYERS:
        fast: list[tuple[int, int]] = []
        plain: list[tuple[int, int]] = []
        outcome = play(board, bot, move_limit=move_limit, moves=fast)
        assert play(board, _Foreign(bot), move_limit=move_limit, moves=plain) == outcome
        assert plain == fast


def test_the_two_greedy_bots_differ_where_empty_cells_do() -> None:
    """By hand: after (1, 1) one cell is empty and alone, so the older bot takes another way."""
    board = [[1, 1, 2], [2, 1, 2], [2, 1, 2]]
    new: list[tuple[int, int]] = []
    old: list[tuple[int, int]] = []
    assert play(board, GreedySinglesBot(), moves=new) == (9, 0, 2, True)
    assert play(board, GreedySinglesBot(count_empty=True), moves=old) == (9, 0, 3, True)
    assert (new[0], old[0]) == ((0, 0), (0, 2))


def test_useless_clicks_count_up_to_the_limit() -> None:
    """A bot that clicks the same cell for ever makes as many moves as it is given."""

    class Stubborn:
        name = "Stubborn"

        def select_action(self, board: Rows) -> tuple[int, int]:
            return 0, 0

    board = [[1, 2], [1, 2]]
    assert play(board, Stubborn()) == (4, 0, 2, True)
    assert play([[1, 2], [3, 2]], Stubborn()) == (0, 2, 100, False)
    assert play([[1, 2], [3, 2]], Stubborn(), move_limit=500) == (0, 2, 500, False)
    assert play(board, Stubborn(), move_limit=0) == (0, 0, 0, False)


def test_an_empty_board_is_completed_without_a_move() -> None:
    """Nobody is asked."""
    for bot in (*(kind() for kind in BUILT_IN.values()), _Answer((0, 0))):
        assert play([[0, 0], [0, 0]], bot) == (0, 0, 0, True)
        assert play([[0]], bot) == (0, 1, 0, True)
        assert play([], bot) == play([[], []], bot) == (0, 0, 0, True)


@pytest.mark.parametrize(
    ("board", "singles"),
    [([[0], [1], [2]], 3), ([[0], [0], [2]], 1), ([[1, 0, 2]], 3), ([[1, 0], [2, 1]], 4)],
)
def test_a_lone_empty_cell_is_a_single_at_the_end(board: Rows, singles: int) -> None:
    """Where nothing can be clicked, on one column, on one row and beside a full column."""
    for bot in (kind() for kind in BUILT_IN.values()):
        assert play(board, bot) == (0, singles, 0, False)


class _Answer:
    """A bot that has one answer."""

    def __init__(self, answer: object, name: Any = "Odd") -> None:
        self.name = name
        self.answer = answer

    def select_action(self, board: Rows) -> Any:
        return self.answer


class _Integral:
    """An integer of another library."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


def _endless() -> Any:
    while True:
        yield 0


@pytest.mark.parametrize(
    "answer",
    [
        (2, 0),
        (0, 2),
        (-1, 0),
        (0, 10**30),
        (0,),
        (0, 0, 0),
        (),
        0,
        False,
        (True, False),
        (0.0, 1.0),
        ("0", "1"),
        (None, 0),
        (float("nan"), 0),
        "01",
        b"\0\1",
        {0: 1, 1: 0},
        {0, 1},
        object(),
        _endless(),
        [0] * 10**6,
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_a_nonsense_answer_names_the_bot_and_the_answer(answer: object) -> None:
    """Whatever is no cell of the board is the bot's fault, said in a line of bearable length."""
    with pytest.raises(BotError, match=r"^bot 'Odd' answered .* on a board of 2x2 cells$") as caught:
        play([[1, 1], [2, 2]], _Answer(answer))
    assert len(caught.value.message) < 200
    assert caught.value.exit_code == 4
    assert "select_action" in str(caught.value.hint)


@pytest.mark.parametrize(
    "answer", [[0, 1], (_Integral(0), _Integral(1)), iter([0, 1])], ids=["list", "integral", "iterator"]
)
def test_integers_of_any_kind_are_an_answer(answer: object) -> None:
    """What other libraries return is taken as the plain numbers that it means."""
    moves: list[tuple[int, int]] = []
    play([[1, 1], [2, 3]], _Answer(answer), move_limit=1, moves=moves)
    assert moves == [(0, 1)]
    assert all(type(number) is int for move in moves for number in move)


def test_what_a_bot_raises_passes_through() -> None:
    """Whoever runs bots decides what to make of it."""

    class Broken:
        name = "Broken"

        def select_action(self, board: Rows) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play([[1, 1]], Broken())


def test_a_subclass_plays_as_it_says() -> None:
    """Only the built-in bots themselves are played on bits."""

    class Last(LargestGroupBot):
        name = "Last"

        def select_action(self, board: Rows) -> tuple[int, int] | None:
            return (1, 1) if board[1][1] else None

    moves: list[tuple[int, int]] = []
    play([[1, 1], [2, 2]], Last(), moves=moves)
    assert moves == [(1, 1), (1, 1)]


def test_boards_too_large_for_bits_are_played_all_the_same() -> None:
    """The tables would need too much memory; the game is the same."""
    board = [[1 + (row * 7 + col * col) % 5 for col in range(40)] for row in range(40)]
    assert bitboards.encode(board) is None
    assert bitboards.encode(draw_board(GameConfig(20, 20, 13), 1), readable=True) is not None
    tall = [[1 + (row // 2) % 2] for row in range(5_000)]
    assert bitboards.encode(tall) is None
    moves: list[tuple[int, int]] = []
    assert play(tall, LargestGroupBot(), move_limit=2, moves=moves) == (4, 0, 2, False)
    assert moves == [(0, 0), (2, 0)]
    assert play(board, RandomBot(), move_limit=1).moves_made == 1


@pytest.mark.parametrize("board", [[[1, 2], [1]], [[1, 2], [1, 2, 3, 4], []], [[1, 0], [1]], [[-1, 2], [1]]])
def test_rows_of_unequal_length_are_refused(board: Rows) -> None:
    """By every bot."""
    for bot in (*(kind() for kind in BUILT_IN.values()), _Answer(None)):
        with pytest.raises(ValueError):
            play(board, bot)


@pytest.mark.parametrize("colors", [(1, 2, 3), (1, 7), (1, 300, -2)], ids=str)
def test_a_board_may_be_any_sequence_of_rows(colors: tuple[int, ...]) -> None:
    """Tuples, and integers of other libraries, mean the same board."""
    board = [[colors[(row + col // 2) % len(colors)] for col in range(5)] for row in range(4)]
    for bot, _ in PLAYERS:
        expected = play(board, bot)
        assert play(tuple(map(tuple, board)), bot) == expected
        if max(colors) < 256 and min(colors) > 0:
            assert play([array("q", row) for row in board], bot) == expected
            assert play([[_Integral(value) for value in row] for row in board], bot) == expected  # type: ignore[misc]


def test_colours_are_integers() -> None:
    """Nothing is rounded, whoever plays."""
    for bot in (LargestGroupBot(), _Answer(None)):
        with pytest.raises(TypeError):
            play([[1.5, 1.5]], bot)  # type: ignore[list-item]


def test_random_games_in_threads_are_those_of_one_thread() -> None:
    """The stream that draws is a thread's own."""
    shape = GameConfig(6, 6, 4)
    games = [draw_board(shape, seed) for seed in range(30)]
    expected = [play(board, RandomBot()) for board in games]
    found: dict[int, list[Outcome]] = {}

    def run(number: int) -> None:
        found[number] = [play(board, RandomBot()) for board in games]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found.values()) == [expected] * 4


def test_clicks_lead_from_board_to_board_as_played() -> None:
    """The moves of a game, clicked one after the other, end where the game did."""
    board = draw_board(GameConfig(8, 8, 4), 5)
    moves: list[tuple[int, int]] = []
    outcome = play(board, GreedySinglesBot(), moves=moves)
    for row, col in moves:
        board = click(board, row, col)
    assert sum(cell != 0 for row in board for cell in row) == 64 - outcome.tiles_cleared
