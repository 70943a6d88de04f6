"""Seeds: finding a base seed that a file does not tell, and boards that it does not list."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdb.errors import LayoutError, ValueRefusedError
from sgdb.game.boards import board_json, draw_board, game_seeds
from sgdb.pickles.seeds import (
    LAST_GAME,
    SeedStream,
    check_reproducible,
    find_base_seed,
    follows,
    missing_games,
    regenerate,
)
from sgdb.records import GameConfig, GameSnapshot, IdRuns
from tests.legacy import write_legacy
from tests.pickles.reading import read

CONFIG = GameConfig(3, 4, 3)


def sample(base_seed: int, ids: list[int]) -> list[tuple[int, Any]]:
    seeds = list(islice(game_seeds(base_seed), max(ids) + 1))
    return [(number, seeds[number]) for number in ids]


@given(st.lists(st.integers(0, 300), min_size=1))
def test_seeds_are_told_in_any_order(ids: list[int]) -> None:
    """As the i-th draw, asked for once or twice, forwards or backwards."""
    draw = Random(5)
    expected = [draw.randint(0, 2**31 - 1) for _ in range(301)]
    stream = SeedStream(5)
    assert [stream.seed(number) for number in ids] == [expected[number] for number in ids]
    assert stream.seed(LAST_GAME + 1) is None


@pytest.mark.parametrize(
    ("seed", "name", "found"),
    [
        (42, "anything", 42),
        (9999, "anything", 9999),
        (10_000, "anything", None),
        (123456789, "b_5_5_3_123456789.pkl", 123456789),
        (123456789, "123456789_5_5_3_10", 123456789),
        (10**17, f"x{10**17}y", 10**17),
        (777777, "1_2_3_4_5_6_7_8_777777", 777777),
        (777777, "777777_1_2_3_4_5_6_7_8", None),
        (10**20, f"x{10**20}", None),
    ],
)
def test_a_base_seed_is_found_and_proven(seed: int, name: str, found: int | None) -> None:
    """Numbers in the name, 42, small numbers: the one that explains the seeds, or none."""
    assert find_base_seed(sample(seed, [0, 1, 2, 3]), name) == found


def test_odd_samples() -> None:
    """Repeated, late, missing and impossible seeds."""
    assert find_base_seed(sample(7, [3, 1, 3, 1]), "") == 7
    assert find_base_seed(sample(7, [101, 102]), "") is None
    assert find_base_seed(sample(42, [101, 102]), "") == 42
    assert find_base_seed([], "42") is None
    assert find_base_seed([(0, None)], "42") is None
    assert find_base_seed([(LAST_GAME + 1, 5)], "42") is None
    assert find_base_seed(sample(7, [100]), "") == 7
    assert find_base_seed(sample(42, [100_000]), "") == 42
    assert find_base_seed(sample(42, [100_001]), "42") is None
    assert not follows(42, [(0, [])])


def test_layout_a(tmp_path: Path) -> None:
    """The base seed is found, taken from the user, or missing: never guessed."""
    path = write_legacy(tmp_path / "benchmark_5_5_3_10", layout="A", base_seed=123)
    found = read(path)
    assert found.file.contents.base_seed == 123
    assert found.file.notes == ["base seed 123 found: the games' seeds follow from it"]
    named = write_legacy(tmp_path / "benchmark_5_5_3_88888888", layout="A", base_seed=88888888)
    assert read(named).file.contents.base_seed == 88888888
    hidden = write_legacy(tmp_path / "benchmark_5_5_3_11", layout="A", base_seed=88888888)
    with pytest.raises(LayoutError, match="the base seed is not recorded and cannot be found") as caught:
        read(hidden)
    assert "--set-base-seed" in (caught.value.hint or "")
    given_right = read(hidden, base_seed=88888888)
    assert given_right.file.notes == ["base seed 88888888 as given; the games' seeds follow from it"]
    given_wrong = read(hidden, base_seed=5)
    assert given_wrong.file.contents.base_seed == 5
    assert given_wrong.file.notes[0] == "base seed 5 as given; the games' seeds do not follow from it"
    with pytest.raises(LayoutError, match="the file's seeds follow from base seed 123, not from 5"):
        read(path, base_seed=5)
    with pytest.raises(LayoutError, match="does not fit into 64 bits"):
        read(path, base_seed=2**63)
    assert read(path, base_seed=lambda sha256: 123 if len(sha256) == 64 else None).file.notes == [
        "base seed 123 as given; the games' seeds follow from it"
    ]


def test_a_file_without_games_and_base_seed(tmp_path: Path) -> None:
    """Nothing to find it from; what is given is taken, with a note."""
    path = write_legacy(
        tmp_path / "x42", layout="D", num_games=0, spoil=lambda data: data.pop("base_seed") and None
    )
    with pytest.raises(LayoutError, match="base seed is not recorded"):
        read(path)
    assert read(path, base_seed=5).file.notes == ["base seed 5 as given; there is no game to prove it"]


def test_missing_games_are_those_with_results_only() -> None:
    """Over all bots, sorted, each once."""
    assert missing_games(IdRuns([(0, 3)]), [IdRuns([(0, 5)]), IdRuns([(9, 10), (3, 4)])]) == IdRuns(
        [(3, 5), (9, 10)]
    )
    assert missing_games(IdRuns([(0, 3)]), [IdRuns([(0, 3)])]) == IdRuns()
    with pytest.raises(ValueRefusedError, match="game 2000001"):
        missing_games(IdRuns(), [IdRuns([(LAST_GAME + 1, LAST_GAME + 2)])])


def games(base_seed: int, count: int) -> list[GameSnapshot]:
    return [
        GameSnapshot(number, board_json(draw_board(CONFIG, seed)), seed)
        for number, seed in enumerate(islice(game_seeds(base_seed), count))
    ]


def test_boards_are_generated_as_the_rule_says() -> None:
    """The same games as a file that lists them, marked as regenerated."""
    assert list(regenerate(CONFIG, SeedStream(7), IdRuns([(2, 4), (8, 9)]))) == [
        games(7, 9)[number]._replace(metadata={"origin": "regenerated"}) for number in (2, 3, 8)
    ]


def test_every_listed_game_has_to_follow() -> None:
    """In any order; one that does not refuses the file, and is named."""
    missing = IdRuns([(10, 12)])
    listed = games(7, 10)
    check_reproducible(CONFIG, SeedStream(7), reversed(listed), missing, 0)
    for spoilt in (
        listed[6]._replace(seed=1),
        listed[6]._replace(seed=None),
        listed[6]._replace(board="[[1,1,1,1],[1,1,1,1],[1,1,1,1]]"),
    ):
        with pytest.raises(
            LayoutError, match=r"results for 2 games .* listed game 6 does not follow from base seed 7"
        ):
            check_reproducible(CONFIG, SeedStream(7), [*listed[:6], spoilt, *listed[7:]], missing, 0)


def test_boards_are_generated_in_proportion_to_the_file() -> None:
    """A few results must not ask for hours of drawing; boards of 20x20 come out of every file."""
    stream = SeedStream(7)
    for config, count, size, why in (
        (GameConfig(5, 5, 1), 1, 10**9, "no colours to draw from"),
        (GameConfig(501, 500, 3), 1, 10**9, "boards of 501x500x3 are too large"),
        (GameConfig(500, 500, 3), 17, 0, "out of proportion to a file of 0 bytes"),
        (GameConfig(20, 20, 3), 20_000, 20_000, "out of proportion to a file of 20000 bytes"),
    ):
        with pytest.raises(LayoutError, match=why):
            check_reproducible(config, stream, [], IdRuns([(0, count)]), size)
    for config, count, size in ((GameConfig(500, 500, 3), 16, 0), (GameConfig(20, 20, 3), 10**6, 27 * 10**6)):
        check_reproducible(config, stream, [], IdRuns([(0, count)]), size)


def test_results_for_games_that_are_not_listed(tmp_path: Path) -> None:
    """The rest of the set comes back when the listed games follow; otherwise the file is refused."""
    whole = read(write_legacy(tmp_path / "whole", num_games=12)).games
    path = write_legacy(tmp_path / "x", num_games=3, num_results=12)
    file = read(path).file
    assert file.missing == IdRuns([(3, 12)])
    assert [game[:3] for game in file.regenerated()] == [game[:3] for game in whole[3:]]
    assert list(read(tmp_path / "whole").file.regenerated()) == []

    def spoil(data: dict[str, Any]) -> None:
        data["games"][2].board[0][0] = 3 - data["games"][2].board[0][0]

    file = read(write_legacy(tmp_path / "y", num_games=3, num_results=12, spoil=spoil)).file
    with pytest.raises(
        LayoutError, match=r"results for 9 games .* listed game 2 does not follow from base seed 42"
    ):
        list(file.regenerated())
