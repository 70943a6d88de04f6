"""Statistics against values computed otherwise: by SciPy, by trying out all signs, and in closed form."""

from __future__ import annotations

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats

from sgdb.benchmark.statistics import SMALLEST_P, Counted, Interval, Paired, paired, sign_flip_test, summary
from sgdb.records import Resampling

FEW = Resampling(resamples=200)
MANY = Resampling(resamples=20_000)
differences = some.lists(some.integers(-6, 6), min_size=1, max_size=9)
strata_of_differences = some.lists(differences, min_size=1, max_size=3)


def _by_all_signs(values: list[int]) -> float:
    sizes = [abs(value) for value in values]
    sums = [
        sum(sign * size for sign, size in zip(signs, sizes, strict=True))
        for signs in itertools.product((1, -1), repeat=len(sizes))
    ]
    return sum(abs(total) >= abs(sum(values)) for total in sums) / len(sums)


@settings(max_examples=60, deadline=None)
@given(differences)
def test_the_test_is_what_trying_out_all_signs_gives(values: list[int]) -> None:
    """For differences near each other, which are added up over an array of all sums."""
    p_value, is_exact = sign_flip_test(Counted.of(values))
    assert is_exact
    assert p_value == pytest.approx(_by_all_signs(values), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(some.lists(some.integers(-(2**31), 2**31), min_size=2, max_size=9))
def test_differences_far_apart_are_exact_too(values: list[int]) -> None:
    """Sums that no array could hold are kept one by one."""
    p_value, is_exact = sign_flip_test(Counted.of(values))
    assert is_exact
    assert p_value == pytest.approx(_by_all_signs(values), rel=1e-12)


def test_the_test_is_scipys() -> None:
    """Its permutation test of paired samples, which tries out all signs as long as there are few."""
    ours, theirs = [24, 25, 19, 20, 25, 7, 12, 25], [25, 20, 12, 21, 25, 1, 14, 25]
    expected = stats.permutation_test(
        (ours, theirs), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=math.inf
    )
    values = [one - other for one, other in zip(ours, theirs, strict=True)]
    assert sign_flip_test(Counted.of(values)) == (pytest.approx(expected.pvalue, rel=1e-12), True)


@pytest.mark.parametrize(("wins", "losses"), [(1, 0), (3, 3), (9, 2), (40, 61), (5_200, 4_800), (0, 70)])
def test_for_completed_boards_it_is_mcnemars_exact_test(wins: int, losses: int) -> None:
    """A two-sided sign test on the boards that only one of the two completed, whatever the number of ties."""
    counted = Counted.from_counts({1: wins, 0: 12_345, -1: losses})
    expected = stats.binomtest(wins, wins + losses).pvalue
    assert sign_flip_test(counted) == (pytest.approx(expected, rel=1e-9), True)


def test_where_it_cannot_be_exact_it_is_near() -> None:
    """The normal distribution takes over where it is as good: p-values of much the same differences agree."""
    draw = Random(3)
    small = [draw.choice((-1, 1, 1)) * draw.randint(1, 30) for _ in range(300)]
    small += [draw.choice((-1, 1)) * draw.randint(1, 30) for _ in range(2200)]
    large = [value * 10**6 + draw.randint(-9, 9) for value in small]
    exact, is_exact = sign_flip_test(Counted.of(small))
    near, is_near_exact = sign_flip_test(Counted.of(large))
    assert (is_exact, is_near_exact) == (True, False)
    assert 1e-6 < exact < 0.2
    assert near == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize(
    "counts", [{1: 10**6}, {1: 3000, 2: 3000}, dict.fromkeys(range(1, 500), 10**4), {2**31: 2, 1: 5000}]
)
def test_a_p_value_is_never_zero(counts: dict[int, int]) -> None:
    """Not even where a float cannot hold it; nor is it above 1."""
    assert 0 < SMALLEST_P <= sign_flip_test(Counted.from_counts(counts))[0] < 1e-200
    assert sign_flip_test(Counted.from_counts({1: 7, -1: 7}))[0] == 1
    assert sign_flip_test(Counted.from_counts({0: 7}))[0] == 1


def _mirror(of: Paired) -> Paired:
    assert of.interval is None or of.probability_interval is not None
    return Paired(
        higher=of.lower,
        ties=of.ties,
        lower=of.higher,
        mean_difference=0.0 - of.mean_difference,
        interval=of.interval and Interval(0.0 - of.interval.high, 0.0 - of.interval.low),
        p_value=of.p_value,
        is_exact=of.is_exact,
        probability_higher=pytest.approx(1 - of.probability_higher, abs=1e-15),
        probability_interval=of.probability_interval
        and pytest.approx((1 - of.probability_interval.high, 1 - of.probability_interval.low), abs=1e-15),
    )


@settings(max_examples=60, deadline=None)
@given(strata_of_differences, some.randoms(use_true_random=False))
def test_the_other_way_round_is_the_mirror_image(strata: list[list[int]], draw: Random) -> None:
    """Exactly, and whatever the order of boards is."""
    found = paired([Counted.of(values) for values in strata], FEW)
    for values in strata:
        draw.shuffle(values)
    assert paired([Counted.of(values) for values in strata], FEW) == found
    mirrored = [Counted.of([-value for value in values]) for values in strata]
    assert paired(mirrored, FEW) == _mirror(found)


@pytest.mark.parametrize("values", [[-3, 3], [-1, 0, 0, 1], [-5, -2, 2, 5]])
def test_differences_that_are_their_own_mirror_image(values: list[int]) -> None:
    """The intervals are so, too, as the two ways round cannot be told apart."""
    found = paired([Counted.of(values)], FEW)
    assert found.interval is not None
    assert found.probability_interval is not None
    assert found.interval.low == -found.interval.high < 0
    assert sum(found.probability_interval) == pytest.approx(1)
    assert found == _mirror(found)


@settings(max_examples=60, deadline=None)
@given(strata_of_differences)
def test_boards_and_means_are_those_of_plain_arithmetic(strata: list[list[int]]) -> None:
    """Over all strata together."""
    values = [value for each in strata for value in each]
    found = paired([Counted.of(each) for each in strata], FEW)
    higher, lower = sum(value > 0 for value in values), sum(value < 0 for value in values)
    assert (found.higher, found.ties, found.lower) == (higher, values.count(0), lower)
    assert found.mean_difference == pytest.approx(sum(values) / len(values))
    assert found.probability_higher == pytest.approx((higher + values.count(0) / 2) / len(values))
    assert found.p_value == sign_flip_test(Counted.of(values))[0]


def test_an_interval_is_the_bootstraps() -> None:
    """A resample of ones and zeros has a binomial number of ones, so the true bounds are known."""
    found = paired([Counted.from_counts({1: 4, 0: 22})], MANY)
    expected = stats.binom.ppf([0.025, 0.975], 26, 4 / 26) / 26
    assert found.interval == pytest.approx(expected, abs=1e-9)
    assert found.probability_interval == pytest.approx((1 + expected) / 2, abs=1e-9)
    narrower = paired([Counted.from_counts({1: 4, 0: 22})], Resampling(0.5, 20_000))
    assert narrower.interval == pytest.approx(stats.binom.ppf([0.25, 0.75], 26, 4 / 26) / 26, abs=1e-9)


def test_each_stratum_is_resampled_for_itself() -> None:
    """One whose boards all gave the same difference adds to the mean, and nothing to the interval's width."""
    strata = [Counted.from_counts({5: 60}), Counted.from_counts({1: 4, 0: 22})]
    expected = (5 * 60 + stats.binom.ppf([0.025, 0.975], 26, 4 / 26)) / 86
    assert paired(strata, MANY).interval == pytest.approx(expected, abs=1e-9)


def test_many_distinct_values_are_resampled_in_blocks() -> None:
    """What a block holds is bounded, and the interval is the one that theory has for large numbers."""
    draw = Random(7)
    values = [draw.randint(-10_000, 11_000) for _ in range(5000)]
    found = paired([Counted.of(values)], Resampling(resamples=1000))
    error = float(np.std(values)) / math.sqrt(len(values))
    assert found.interval == pytest.approx(
        (found.mean_difference - 1.96 * error, found.mean_difference + 1.96 * error), abs=error / 3
    )


def test_a_seed_gives_the_same_resamples_and_another_gives_others() -> None:
    """Whoever repeats a command sees the same numbers; these stand here so that they stay so for good."""
    counted = [Counted.from_counts({-2: 40, 0: 31, 1: 50, 7: 12})]
    assert paired(counted, FEW) == paired(counted, FEW)
    other = paired(counted, Resampling(resamples=200, seed=1)).interval
    assert paired(counted, FEW).interval != other
    assert summary(counted, FEW) == summary(counted, FEW) != summary(counted, Resampling(0.95, 200, 1))


def test_one_board_has_no_interval_and_none_is_refused() -> None:
    """All ties have an interval without width, a p-value of 1, and even chances."""
    alone = paired([Counted.of([4])], FEW)
    assert (alone.mean_difference, alone.p_value) == (4, 1)
    assert (alone.interval, alone.probability_interval) == (None, None)
    ties = paired([Counted.of([0] * 9)], FEW)
    assert (ties.ties, ties.interval, ties.p_value) == (9, (0, 0), 1)
    assert (ties.probability_higher, ties.probability_interval) == (0.5, (0.5, 0.5))
    one = summary([Counted.of([0.25])], FEW)
    assert (one.mean, one.interquartile_mean) == (0.25, 0.25)
    assert (one.mean_interval, one.interquartile_interval) == (None, None)
    for nothing in ([], [Counted.of([])]):
        with pytest.raises(ValueError):
            paired(nothing, FEW)
        with pytest.raises(ValueError):
            summary(nothing, FEW)


@settings(max_examples=60, deadline=None)
@given(some.lists(some.lists(some.integers(0, 20), min_size=1, max_size=7), min_size=1, max_size=3))
def test_the_interquartile_mean_is_scipys_trimmed_mean(strata: list[list[int]]) -> None:
    """Of scores written so often that all strata have the same weight and a quarter is a whole number."""
    size = 4 * math.lcm(*map(len, strata))
    written_out = [score / 20 for scores in strata for score in scores * (size // len(scores))]
    found = summary([Counted.of([score / 20 for score in scores]) for scores in strata], FEW)
    assert found.interquartile_mean == pytest.approx(stats.trim_mean(written_out, 0.25), abs=1e-12)
    assert found.mean == pytest.approx(np.mean(written_out), abs=1e-12)


def test_every_stratum_has_the_same_weight() -> None:
    """Ten thousand boards of one kind do not outweigh a few of another, neither in means nor in intervals."""
    strata = [Counted.from_counts({1: 10_000}), Counted.from_counts({1: 4, 0: 22})]
    found = summary(strata, MANY)
    assert found.mean == pytest.approx((1 + 4 / 26) / 2)
    expected = (1 + stats.binom.ppf([0.025, 0.975], 26, 4 / 26) / 26) / 2
    assert found.mean_interval == pytest.approx(expected, abs=1e-9)


def test_the_interval_of_the_interquartile_mean_is_that_of_plain_resampling() -> None:
    """Scores one by one, drawn with replacement and trimmed by SciPy, spread as far."""
    draw = np.random.default_rng(5)
    scores = draw.integers(0, 26, 80)
    drawn = stats.trim_mean(draw.choice(scores, (20_000, 80)), 0.25, axis=1)
    found = summary([Counted.of(scores.tolist())], MANY)
    assert found.interquartile_mean == pytest.approx(stats.trim_mean(scores, 0.25))
    assert found.interquartile_interval == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.1)
