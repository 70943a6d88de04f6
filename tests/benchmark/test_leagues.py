"""Who is ranked against whom, and on which boards."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as some

from sgdb.benchmark.leagues import League, boards_of, common_boards, leagues
from sgdb.records import GameConfig

SMALL, LARGE = GameConfig(5, 5, 3), GameConfig(15, 15, 6)


def _known(**groups: int) -> dict[frozenset[str], int]:
    """`AB=3`: three boards that A and B have played, and nobody else."""
    return {frozenset(bots): boards for bots, boards in groups.items()}


def test_bots_with_the_same_boards_are_one_league() -> None:
    """On all configs, whatever their sizes."""
    coverage = {SMALL: _known(AB=1000), LARGE: _known(AB=50)}
    assert leagues(coverage, 30) == [League(("A", "B"), {SMALL: 1000, LARGE: 50})]


def test_a_league_counts_only_what_all_have_played() -> None:
    """Gaps here and there narrow it, and nobody is thrown out for them."""
    coverage = {SMALL: _known(ABC=900, AB=60, BC=40, A=7)}
    assert leagues(coverage, 30) == [League(("A", "B", "C"), {SMALL: 900})]


def test_a_bot_with_few_boards_takes_them_from_nobody() -> None:
    """It has a league of its own on its boards, together with those that have played them."""
    coverage = {SMALL: _known(AB=9_900, ABC=100)}
    assert leagues(coverage, 30) == [
        League(("A", "B"), {SMALL: 10_000}),
        League(("A", "B", "C"), {SMALL: 100}),
    ]
    assert leagues(coverage, 101) == [League(("A", "B"), {SMALL: 10_000})]


def test_a_bot_of_one_config_is_ranked_on_that() -> None:
    """The others keep the league on all their configs."""
    coverage = {SMALL: _known(AB=500), LARGE: _known(ABC=400, C=200)}
    assert leagues(coverage, 30) == [
        League(("A", "B"), {SMALL: 500, LARGE: 400}),
        League(("A", "B", "C"), {LARGE: 400}),
    ]


def test_bots_without_common_boards_do_not_meet() -> None:
    """Not even when they have played equally many of one config."""
    coverage = {SMALL: _known(A=100, B=100, C=99)}
    assert leagues(coverage, 30) == [
        League(("A",), {SMALL: 100}),
        League(("B",), {SMALL: 100}),
        League(("C",), {SMALL: 99}),
    ]
    assert leagues({}, 1) == leagues(coverage, 1000) == []


groups = some.dictionaries(
    some.frozensets(some.sampled_from("ABCDE"), min_size=1), some.integers(1, 60), max_size=6
)


@settings(max_examples=200, deadline=None)
@given(some.dictionaries(some.sampled_from([SMALL, LARGE]), groups), some.integers(1, 60))
def test_what_holds_for_every_league(
    coverage: dict[GameConfig, dict[frozenset[str], int]], least: int
) -> None:
    """Its boards are those that all its bots have played, and enough; every bot has one on all that it
    covers; and order plays no part."""
    found = leagues(coverage, least)
    for league in found:
        common = common_boards(coverage, set(league.bots))
        assert league.boards == {config: common[config] for config in league.boards}
        assert min(league.boards.values()) >= least
    for bot in "ABCDE":
        covered = {config for config, boards in boards_of(coverage, bot).items() if boards >= least}
        homes = [league for league in found if bot in league.bots and league.boards.keys() == covered]
        assert len(homes) >= bool(covered)
        assert all(covered >= league.boards.keys() for league in found if bot in league.bots)
    turned = {config: dict(reversed(known.items())) for config, known in reversed(coverage.items())}
    assert leagues(turned, least) == found
