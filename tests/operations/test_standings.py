"""How bots stand: on the boards that they have in common, each counted once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from sqlalchemy import Engine

from sgdb.errors import NotFoundError, UsageError
from sgdb.operations.standings import (
    COMPARE_FIELDS,
    COVERAGE_FIELDS,
    STANDING_FIELDS,
    CompareOptions,
    CompareResult,
    LeaderboardOptions,
    LeaderboardResult,
    compare,
    leaderboard,
)
from sgdb.records import GameConfig, RankBy, Resampling
from sgdb.settings import Settings
from tests.legacy import benchmark, write_legacy
from tests.steps import database_state, migrate, tamper

SMALL, WIDE = GameConfig(5, 5, 3), GameConfig(4, 6, 4)
FEW = Resampling(resamples=200)
METRICS = ("tiles_cleared", "completed", "singles_remaining", "moves_made")


def _keep(**numbers: int) -> Callable[[dict[str, Any]], None]:
    """Of these bots' results only the first so many."""

    def spoil(data: dict[str, Any]) -> None:
        for bot, number in numbers.items():
            del data["results"][bot][number:]

    return spoil


def _compare(settings: Settings, a: str = "A", b: str = "B", **options: Any) -> CompareResult:
    return compare(CompareOptions(a, b, resampling=FEW, **options), settings)


def _leaderboard(settings: Settings, **options: Any) -> LeaderboardResult:
    return leaderboard(LeaderboardOptions(resampling=FEW, **options), settings)


@pytest.fixture
def filled(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a database where A and B have played 30 of 40 small boards and 25 wide ones, C 35 wide
    ones."""
    migrate(
        settings,
        write_legacy(tmp_path / "1", num_games=40, bots=("A", "B"), spoil=_keep(B=30)),
        write_legacy(
            tmp_path / "2",
            config=(4, 6, 4),
            num_games=35,
            base_seed=7,
            bots=("C", "A", "B"),
            spoil=_keep(A=25, B=25),
        ),
    )
    return settings


def _values(bot: str, metric: str, boards: dict[GameConfig, int]) -> list[int]:
    """What the files say that this bot did on the first so many boards."""
    found: list[int] = []
    for config, number in boards.items():
        shape = (config.num_rows, config.num_cols, config.num_colors)
        rows = benchmark(config=shape, num_games=number, bots=(bot,))["results"][bot]
        found += [int(getattr(row, metric)) for row in rows]
    return found


def test_a_comparison_is_plain_arithmetic_over_the_common_boards(filled: Settings) -> None:
    """By config and then over all; fewer singles are better, and no number of moves is."""
    result = _compare(filled)
    assert [tuple(row) for row in result.rows] == [COMPARE_FIELDS] * 12
    assert [row["metric"] for row in result.rows] == [*METRICS] * 3
    parts = [{WIDE: 25}, {SMALL: 30}, {WIDE: 25, SMALL: 30}]
    for row, boards in zip(result.rows, [part for part in parts for _ in METRICS], strict=True):
        ours, theirs = (_values(bot, row["metric"], boards) for bot in "AB")
        found = [one - other for one, other in zip(ours, theirs, strict=True)]
        shape = (row["num_rows"], row["num_cols"], row["num_colors"])
        assert shape == ((None,) * 3 if len(boards) > 1 else tuple(vars_of(next(iter(boards)))))
        assert row["boards"] == len(found) == sum(boards.values())
        assert row["mean_a"] == pytest.approx(sum(ours) / len(ours))
        assert row["mean_b"] == pytest.approx(sum(theirs) / len(theirs))
        assert row["mean_difference"] == pytest.approx(row["mean_a"] - row["mean_b"])
        assert row["low"] < row["mean_difference"] < row["high"]
        assert row["ties"] == found.count(0)
        higher, lower = sum(value > 0 for value in found), sum(value < 0 for value in found)
        if row["metric"] == "singles_remaining":
            higher, lower = lower, higher
        if row["metric"] == "moves_made":
            assert {row[name] for name in ("better", "wins", "losses", "improvement")} == {None}
            continue
        assert (row["wins"], row["losses"]) == (higher, lower)
        assert row["improvement"] == pytest.approx((higher + row["ties"] / 2) / len(found))
        assert row["improvement_low"] < row["improvement"] < row["improvement_high"]
        if row["metric"] == "completed":
            assert row["p_value"] == pytest.approx(stats.binomtest(higher, higher + lower).pvalue)


def vars_of(config: GameConfig) -> tuple[int, int, int]:
    """Its three numbers."""
    return config.num_rows, config.num_cols, config.num_colors


def test_what_only_one_has_played_is_left_out_and_said(filled: Settings) -> None:
    """By bot and config, also where the two have nothing in common."""
    result = _compare(filled, "A", "C")
    assert {row["boards"] for row in result.rows} == {25}
    assert [tuple(row) for row in result.coverage] == [COVERAGE_FIELDS] * 4
    told = ("bot", "num_cols", "boards", "common", "results", "inconsistent")
    assert [tuple(row[name] for name in told) for row in result.coverage] == [
        ("A", 6, 25, 25, 25, 0),
        ("A", 5, 40, 0, 40, 0),
        ("C", 6, 35, 25, 35, 0),
        ("C", 5, 0, 0, 0, 0),
    ]


def test_the_other_way_round_is_the_mirror_image(filled: Settings) -> None:
    """To the last digit, but for 1 - x."""
    for ours, theirs in zip(_compare(filled).rows, _compare(filled, "B", "A").rows, strict=True):
        assert (theirs["wins"], theirs["ties"], theirs["losses"]) == (
            ours["losses"],
            ours["ties"],
            ours["wins"],
        )
        assert (theirs["mean_a"], theirs["mean_b"]) == (ours["mean_b"], ours["mean_a"])
        assert theirs["mean_difference"] == -ours["mean_difference"]
        assert (theirs["low"], theirs["high"]) == (-ours["high"], -ours["low"])
        assert (theirs["p_value"], theirs["test"]) == (ours["p_value"], ours["test"])
        if ours["better"]:
            assert theirs["improvement"] == pytest.approx(1 - ours["improvement"], abs=1e-15)
            assert theirs["improvement_low"] == pytest.approx(1 - ours["improvement_high"], abs=1e-15)


def test_a_set_or_a_config_narrows_it(filled: Settings) -> None:
    """To the boards of that one."""
    assert (
        _compare(filled, set_id=1).rows == _compare(filled, config=SMALL).rows == _compare(filled).rows[4:8]
    )


def test_boards_in_several_sets_count_once(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """Base seeds n and -n give the same boards. Two bots meet on them, though each has played another
    copy."""
    migrate(
        settings,
        write_legacy(tmp_path / "1", num_games=40, bots=("A", "B"), spoil=_keep(B=10)),
        write_legacy(tmp_path / "2", num_games=50, base_seed=-42, bots=("A", "B"), spoil=_keep(A=45)),
    )

    def counted() -> list[tuple[int, ...]]:
        return [
            tuple(row[name] for name in ("boards", "common", "results", "inconsistent"))
            for row in _compare(settings).coverage
        ]

    once = [(45, 45, 85, 0), (50, 45, 60, 0)]
    assert counted() == once
    assert [row["mean_a"] for row in _compare(settings).rows[:1]] == [
        pytest.approx(sum(_values("A", "tiles_cleared", {SMALL: 45})) / 45)
    ]
    (league,) = _leaderboard(settings).leagues
    assert (league.boards, [row["boards_played"] for row in league.rows]) == ({SMALL: 45}, [50, 45])
    # Who has written a board with blanks, or lost a seed, has still the same board.
    tamper(
        engine,
        "UPDATE games SET board_state = replace(board_state::text, ',', ', ')::json WHERE game_index = 3",
    )
    tamper(
        engine,
        "UPDATE games SET board_state = replace(board_state::text, ', ', ',')::json WHERE game_index = 3"
        " AND benchmark_set_id = 1",
    )
    tamper(engine, "UPDATE games SET seed = NULL WHERE benchmark_set_id = 2 AND game_index < 20")
    assert counted() == once


def test_equal_cells_alone_are_not_the_same_board(settings: Settings, tmp_path: Path) -> None:
    """Small boards come out equal again and again, and each is a draw of its own."""
    migrate(
        settings,
        write_legacy(tmp_path / "1", config=(1, 2, 3), num_games=40, base_seed=1, bots=("A", "B")),
        write_legacy(tmp_path / "2", config=(1, 2, 3), num_games=40, base_seed=2, bots=("A", "B")),
    )
    assert {row["boards"] for row in _compare(settings).rows} == {80}


def test_of_different_results_on_copies_those_stored_first_count(settings: Settings, tmp_path: Path) -> None:
    """And on how many boards they differ is said."""

    def other(data: dict[str, Any]) -> None:
        for row in data["results"]["A"][:3]:
            row.tiles_cleared, row.completed = 0, False

    first = write_legacy(tmp_path / "1", num_games=20, bots=("A", "B"))
    migrate(
        settings, first, write_legacy(tmp_path / "2", num_games=20, base_seed=-42, bots=("A",), spoil=other)
    )
    result = _compare(settings)
    assert [row["inconsistent"] for row in result.coverage] == [3, 0]
    assert result.rows == _compare(settings, set_id=1).rows


def test_one_board_and_bots_that_are_equal(settings: Settings, tmp_path: Path) -> None:
    """A single board has no intervals; equal bots share a rank."""

    def equal(data: dict[str, Any]) -> None:
        data["results"]["B"] = [type(row)(**vars(row) | {"bot_name": "B"}) for row in data["results"]["A"]]

    path = write_legacy(tmp_path / "1", num_games=30, bots=("A", "B", "C"), spoil=equal)
    migrate(settings, path, write_legacy(tmp_path / "2", config=(2, 2, 3), num_games=1, bots=("A", "B")))
    row = _compare(settings, config=SMALL).rows[0]
    assert (row["wins"], row["ties"], row["losses"], row["p_value"]) == (0, 30, 0, 1)
    assert (row["low"], row["high"], row["improvement"], row["test"]) == (0, 0, 0.5, "exact")
    alone = _compare(settings, config=GameConfig(2, 2, 3)).rows[0]
    assert [alone[name] for name in ("boards", "low", "high", "improvement_low")] == [1, None, None, None]
    (league,) = _leaderboard(settings).leagues
    ranks = {row["bot"]: row["rank"] for row in league.rows}
    assert ranks["A"] == ranks["B"] != ranks["C"]
    assert sorted(ranks.values()) in ([1, 1, 3], [1, 2, 2])
    lone = _leaderboard(settings, bots=("C",)).leagues[0]
    assert [row["rank"] for row in lone.rows] == [None]


def test_a_leaderboard_ranks_on_common_boards_and_names_who_lacks_what(filled: Settings) -> None:
    """Every config has the same weight; who has not played one is ranked apart, with those who have."""
    result = _leaderboard(filled, min_boards=20)
    assert [league.boards for league in result.leagues] == [{WIDE: 25, SMALL: 30}, {WIDE: 25}]
    assert [sorted(row["bot"] for row in league.rows) for league in result.leagues] == [
        ["A", "B"],
        ["A", "B", "C"],
    ]
    assert [league.lacking for league in result.leagues] == [{"C": {SMALL: 30}}, {}]
    assert result.in_none == {}
    for league in result.leagues:
        assert [tuple(row) for row in league.rows] == [STANDING_FIELDS] * len(league.rows)
        assert [row["rank"] for row in league.rows] == list(range(1, len(league.rows) + 1))
        for row in league.rows:
            completed = [_values(row["bot"], "completed", {of: n}) for of, n in league.boards.items()]
            tiles = [_values(row["bot"], "tiles_cleared", {of: n}) for of, n in league.boards.items()]
            cells = [of.num_rows * of.num_cols for of in league.boards]
            assert row["completion_rate"] == pytest.approx(_mean([_mean(each) for each in completed]))
            shares = [_mean(each) / size for each, size in zip(tiles, cells, strict=True)]
            assert row["tiles_share_mean"] == pytest.approx(_mean(shares))
            for name in ("completion", "tiles_share", "tiles_share_iqm"):
                assert 0 <= row[f"{name}_low"] < row[f"{name}_high"] <= 1
        rates = [row["completion_rate"] for row in league.rows]
        assert rates == sorted(rates, reverse=True)
    by_tiles = _leaderboard(filled, min_boards=20, by=RankBy.TILES).leagues[1].rows
    assert [row["tiles_share_iqm"] for row in by_tiles] == sorted(
        (row["tiles_share_iqm"] for row in result.leagues[1].rows), reverse=True
    )
    played = {row["bot"]: row["boards_played"] for row in result.leagues[1].rows}
    assert played == {"A": 25, "B": 25, "C": 35}


def _mean(values: list[Any]) -> float:
    return sum(values) / len(values)


def test_too_few_boards_are_no_league(filled: Settings) -> None:
    """Whoever is in none is named with what it has played; a config, and bots, can be chosen."""
    result = _leaderboard(filled)
    assert [(league.boards, len(league.rows)) for league in result.leagues] == [
        ({WIDE: 35}, 1),
        ({SMALL: 30}, 2),
    ]
    assert _leaderboard(filled, min_boards=36).in_none == {"B": {WIDE: 25, SMALL: 30}, "C": {WIDE: 35}}
    chosen = _leaderboard(filled, config=WIDE, bots=("C", "A"), min_boards=1)
    assert [sorted(row["bot"] for row in league.rows) for league in chosen.leagues] == [["A", "C"]]
    assert _leaderboard(filled, config=SMALL, min_boards=99).in_none == {"A": {SMALL: 40}, "B": {SMALL: 30}}
    assert _leaderboard(filled, config=SMALL, bots=("C",)).in_none == {"C": {}}


def test_documents_are_json_and_the_same_every_time(filled: Settings) -> None:
    """Their names are those that scripts rely on."""
    compared = _compare(filled).to_json()
    assert list(compared) == [
        "bot_a", "bot_b", "set_id", "confidence", "resamples", "seed", "coverage", "comparisons",
    ]  # fmt: skip
    ranked = _leaderboard(filled, min_boards=20).to_json()
    assert list(ranked) == [
        "by", "min_boards", "confidence", "resamples", "seed", "leagues", "in_no_league",
    ]  # fmt: skip
    assert list(ranked["leagues"][0]) == ["configs", "boards", "bots", "not_ranked"]
    shape = {"num_rows": 5, "num_cols": 5, "num_colors": 3, "boards": 30}
    assert ranked["leagues"][0]["configs"][1] == shape
    assert ranked["leagues"][0]["not_ranked"] == [{"bot": "C", "lacks": [shape]}]
    for document in (compared, ranked):
        assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert _compare(filled).to_json() == compared
    assert _leaderboard(filled, min_boards=20).to_json() == ranked


def test_what_cannot_be_compared_is_refused_with_a_way_out(filled: Settings) -> None:
    """Unknown bots and sets, bots that never met, and options that make no sense."""
    for options, error, message in (
        ({"a": "AA"}, NotFoundError, "no results of a bot named 'AA'"),
        ({"b": "A"}, UsageError, "'A' is named twice"),
        ({"set_id": 9}, NotFoundError, "no benchmark set 9"),
        ({"set_id": 1, "config": SMALL}, UsageError, "--set and --config"),
    ):
        with pytest.raises(error, match=message) as caught:
            _compare(filled, **options)
        assert caught.value.hint
    with pytest.raises(NotFoundError) as missed:
        _compare(filled, "B", "C", config=SMALL)
    assert missed.value.message == (
        "'B' and 'C' have no board in common of 5x5x3: 'B' has played 30 boards of 5x5x3, 'C' has played none"
    )
    with pytest.raises(
        NotFoundError, match="in set 1: 'B' has played 30 boards of 5x5x3, 'C' has played none"
    ):
        _compare(filled, "B", "C", set_id=1)
    for resampling in (
        Resampling(confidence=1), Resampling(confidence=float("nan")), Resampling(resamples=99),
        Resampling(resamples=10**9), Resampling(seed=-1), Resampling(seed=2**32),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            compare(CompareOptions("A", "B", resampling=resampling), filled)
        with pytest.raises(UsageError):
            leaderboard(LeaderboardOptions(resampling=resampling), filled)
    with pytest.raises(NotFoundError, match="'D'"):
        _leaderboard(filled, bots=("A", "D"))
    with pytest.raises(UsageError, match="--min-boards 0"):
        _leaderboard(filled, min_boards=0)


def test_nothing_is_written_and_an_empty_database_has_no_leagues(filled: Settings, engine: Engine) -> None:
    """Every table and sequence is as before."""
    state = database_state(engine)
    _compare(filled)
    _leaderboard(filled)
    assert database_state(engine) == state
    tamper(engine, "DELETE FROM game_results")
    assert _leaderboard(filled).to_json()["leagues"] == []
    with pytest.raises(NotFoundError, match="no results of a bot named 'A'"):
        _compare(filled)
