"""What results on the same boards say about two bots, and what those on many boards say about one.

Pure functions of counts: what they are given is never the boards one by one, but each distinct value and how
often it occurs. So neither the order of boards nor their number matters to memory, and a resample of n boards
is one draw from a multinomial distribution.

A seed gives the same resamples with every version of numpy: `RandomState` promises that its streams never
change (NEP 19), which its successor does not. Whole numbers are added up as such, so that rounding cannot
depend on the order.

Sources:

- B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap, 1993. Chapter 13 has the percentile interval.
- R. Agarwal, M. Schwarzer, P. S. Castro, A. Courville, M. G. Bellemare: Deep Reinforcement Learning at the
  Edge of the Statistical Precipice, NeurIPS 2021, arXiv:2108.13264. Section 4 has the stratified bootstrap,
  the interquartile mean and the probability of improvement.
- R. A. Fisher: The Design of Experiments, 1935, section 21, and E. J. G. Pitman: Significance Tests Which May
  Be Applied to Samples From Any Populations, 1937, have the test by changed signs.
- Q. McNemar: Note on the sampling error of the difference between correlated proportions, Psychometrika 12,
  1947.
- A. L. Edwards: Note on the "correction for continuity" in testing the significance of the difference between
  correlated proportions, Psychometrika 13, 1948.
- B. Phipson, G. K. Smyth: Permutation P-values Should Never Be Zero, 2010.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sgdb.records import Resampling

Numbers = npt.NDArray[Any]

EXACT_STEPS = 200_000_000
"""Additions that the exact test may take: well below a second."""
EXACT_SUMS = 1_000_000
"""Distinct sums that the exact test may hold where they lie too far apart for an array of all."""
_CELLS = 2_000_000  # numbers of a block of resamples: 16 MB
# The smallest p-value. The true one is never 0, whatever a float makes of it.
SMALLEST_P = sys.float_info.min


class Interval(NamedTuple):
    """From `low` to `high`, both included."""

    low: float
    high: float


class Counted(NamedTuple):
    """Distinct values in ascending order, and how often each occurs (at least once)."""

    values: Numbers
    counts: Numbers

    @classmethod
    def of(cls, values: Iterable[float]) -> Counted:
        """The values counted."""
        distinct, counts = np.unique(np.asarray(list(values)), return_counts=True)
        return cls(distinct, counts)

    @classmethod
    def from_counts(cls, counts: Mapping[int, int]) -> Counted:
        """Whole numbers of which it is known how often each occurs."""
        present = sorted(value for value, count in counts.items() if count > 0)
        return cls(np.array(present, np.int64), np.array([counts[value] for value in present], np.int64))

    @property
    def number(self) -> int:
        """How many values there are, repeats included."""
        return int(self.counts.sum())

    @property
    def total(self) -> int | float:
        """The sum of all values, repeats included."""
        return (self.values * self.counts).sum().item()  # type: ignore[no-any-return]

    def mirrored(self) -> Counted:
        """The same with every sign changed."""
        return Counted(-self.values[::-1], self.counts[::-1])


@dataclass(frozen=True, slots=True)
class Paired:
    """Two bots on the same boards, from the first one's view.

    `higher`, `ties` and `lower` count boards by the sign of the difference, first minus second.
    `probability_higher` is the share of boards on which the first has the higher value, ties counting half.
    An interval is None for a single board: one board tells nothing about others.
    """

    higher: int
    ties: int
    lower: int
    mean_difference: float
    interval: Interval | None
    p_value: float
    is_exact: bool
    probability_higher: float
    probability_interval: Interval | None


def paired(strata: Sequence[Counted], resampling: Resampling) -> Paired:
    """What differences on the same boards say; one stratum of whole-number differences for each kind of
    board.

    The mean is over all boards. Its interval is the percentile bootstrap's (Efron and Tibshirani, chapter
    13), each stratum resampled for itself and to its own size (Agarwal et al., section 4). The probability
    that the first is higher is P(X > Y) + P(X = Y) / 2, Agarwal et al.'s probability of improvement; theirs
    goes over all pairs of runs, here every board is a pair. The p-value is `sign_flip_test`'s.

    Comparing the second with the first gives exactly the mirror image: of the two ways round one is computed,
    and the other is derived from it. Raises ValueError where there is no board.
    """
    number = sum(stratum.number for stratum in strata)
    if not number:
        raise ValueError("no differences")
    signs = [Counted(np.sign(stratum.values), stratum.counts) for stratum in strata]
    total = sum(int(stratum.total) for stratum in strata)
    net = sum(int(stratum.total) for stratum in signs)
    ties = sum(int(stratum.counts[stratum.values == 0].sum()) for stratum in strata)
    higher = (number - ties + net) // 2
    p_value, is_exact = sign_flip_test(_together(strata))
    interval = probability = None
    if number > 1:
        interval, net_interval = _mirrorable_intervals(strata, resampling)
        probability = Interval(*((1 + bound) / 2 for bound in net_interval))
    return Paired(
        higher=higher,
        ties=ties,
        lower=number - ties - higher,
        mean_difference=total / number,
        interval=interval,
        p_value=p_value,
        is_exact=is_exact,
        probability_higher=(1 + net / number) / 2,
        probability_interval=probability,
    )


def _together(strata: Sequence[Counted]) -> Counted:
    values, places = np.unique(np.concatenate([stratum.values for stratum in strata]), return_inverse=True)
    counts = np.zeros(len(values), np.int64)
    np.add.at(counts, places, np.concatenate([stratum.counts for stratum in strata]))
    return Counted(values, counts)


def _mirrorable_intervals(strata: Sequence[Counted], resampling: Resampling) -> tuple[Interval, Interval]:
    """Intervals of the mean and of the mean sign that are each other's mirror images for mirrored strata."""
    mirrored = [stratum.mirrored() for stratum in strata]
    ours, theirs = _key(strata), _key(mirrored)
    if ours >= theirs:
        intervals = _intervals_of_means(strata, resampling)
        if ours == theirs:  # the differences are their own mirror image, so the intervals have to be, too
            intervals = [_symmetric(interval) for interval in intervals]
    else:
        intervals = [
            Interval(0.0 - interval.high, 0.0 - interval.low)
            for interval in _intervals_of_means(mirrored, resampling)
        ]
    return intervals[0], intervals[1]


def _key(strata: Sequence[Counted]) -> list[tuple[list[int], list[int]]]:
    return [(stratum.values.tolist(), stratum.counts.tolist()) for stratum in strata]


def _symmetric(interval: Interval) -> Interval:
    half = (interval.high - interval.low) / 2
    return Interval(0.0 - half, half)


def _intervals_of_means(strata: Sequence[Counted], resampling: Resampling) -> list[Interval]:
    draw = np.random.RandomState(resampling.seed)
    number = sum(stratum.number for stratum in strata)
    sums = np.zeros((2, resampling.resamples), np.int64)
    for stratum in strata:
        done = 0
        signs = np.sign(stratum.values)
        for counts in _resampled(stratum, resampling.resamples, draw):
            block = slice(done, done + len(counts))
            # Not by BLAS, which knows floats only: whole numbers have one sum on every machine.
            sums[0, block] += (counts * stratum.values).sum(axis=1)
            sums[1, block] += (counts * signs).sum(axis=1)
            done += len(counts)
    return [_percentiles(row / number, resampling.confidence) for row in sums]


def _resampled(stratum: Counted, resamples: int, draw: np.random.RandomState) -> Iterator[Numbers]:
    """How often each value occurs in a resample of the stratum's size, one row a resample, in blocks."""
    number = stratum.number
    rows = max(1, _CELLS // len(stratum.values))
    for start in range(0, resamples, rows):
        yield draw.multinomial(number, stratum.counts / number, size=min(rows, resamples - start))


def _percentiles(statistics: Numbers, confidence: float) -> Interval:
    low, high = np.quantile(statistics, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return Interval(low, high)


def sign_flip_test(differences: Counted) -> tuple[float, bool]:
    """The two-sided p-value of whole-number differences, and whether it is exact.

    Fisher's and Pitman's test: if the two bots were interchangeable on every board, each difference might as
    well have had the other sign. The p-value is the share of all 2^n ways to choose signs whose sum is at
    least as far from 0 as the one seen. Ties are sums of nothing, and have no say. Where all differences are
    of one size, as for boards completed or not, this is McNemar's test in its exact, binomial form.

    It is computed exactly, by adding up the distribution of the sum, while that stays within EXACT_STEPS or
    EXACT_SUMS; beyond, the sum is taken for normal with variance sum(d^2) and a correction for continuity
    (Edwards), which is then as good as exact but far out in the tails. Never 0 (Phipson and Smyth): what a
    float cannot hold is given as SMALLEST_P.
    """
    is_different = differences.values != 0
    sizes, counts = _sizes(differences.values[is_different], differences.counts[is_different])
    if not sizes:
        return 1.0, True
    unit = math.gcd(*sizes)
    sizes = [size // unit for size in sizes]
    distance = abs(int(differences.total)) // unit
    number = sum(counts)
    largest = sum(size * count for size, count in zip(sizes, counts, strict=True))
    if distance == 0:
        return 1.0, True
    if len(sizes) == 1:
        from scipy.special import bdtr  # the binomial distribution's sum from 0

        return _probability(2 * float(bdtr((number - distance) // 2, number, 0.5))), True
    # With P the sum of the sizes that got a plus, the whole sum is 2 P - largest.
    least = (largest + distance) // 2
    if number * (largest + 1) <= EXACT_STEPS:
        return _probability(2 * _tail_dense(sizes, counts, largest, least)), True
    if math.fsum(math.log(count + 1) for count in counts) <= math.log(EXACT_SUMS):
        return _probability(2 * _tail_sparse(sizes, counts, least)), True
    variance = math.fsum(float(size) ** 2 * count for size, count in zip(sizes, counts, strict=True))
    return _probability(math.erfc((distance - 1) / math.sqrt(2 * variance))), False


def _sizes(values: Numbers, counts: Numbers) -> tuple[list[int], list[int]]:
    """The distinct sizes of differences in ascending order, and how often each occurs."""
    sizes: dict[int, int] = {}
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        sizes[abs(value)] = sizes.get(abs(value), 0) + count
    ordered = sorted(sizes)
    return ordered, [sizes[size] for size in ordered]


def _probability(value: float) -> float:
    return min(1.0, max(value, SMALLEST_P))


def _tail_dense(sizes: Sequence[int], counts: Sequence[int], largest: int, least: int) -> float:
    """P(sum >= least), where each size is added or not with even chances; over an array of all sums."""
    chances = np.zeros(largest + 1)
    chances[0] = 1.0
    reach = 0
    for size, count in zip(sizes, counts, strict=True):
        for _ in range(count):
            before = chances[: reach + 1] / 2
            chances[: reach + 1] = before
            chances[size : reach + size + 1] += before
            reach += size
    return float(chances[least:].sum())


def _tail_sparse(sizes: Sequence[int], counts: Sequence[int], least: int) -> float:
    """The same for few sums that lie far apart: each with its chance."""
    from scipy.special import gammaln

    sums: Numbers = np.zeros(1, np.int64)
    chances: Numbers = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        chosen = np.arange(count + 1)
        binomial = np.exp(
            gammaln(count + 1) - gammaln(chosen + 1) - gammaln(count - chosen + 1) - count * math.log(2)
        )
        every = (sums[:, np.newaxis] + size * chosen).ravel()
        sums, places = np.unique(every, return_inverse=True)
        chances = np.bincount(places, np.outer(chances, binomial).ravel())
    return float(chances[sums >= least].sum())


@dataclass(frozen=True, slots=True)
class Summary:
    """A bot's scores over several kinds of boards. An interval is None where there is a single board."""

    mean: float
    mean_interval: Interval | None
    interquartile_mean: float
    interquartile_interval: Interval | None


def summary(strata: Sequence[Counted], resampling: Resampling) -> Summary:
    """Mean and interquartile mean of scores, one stratum for each kind of board, and their intervals.

    Every stratum has the same weight, however many boards it has: Agarwal et al. (section 4) have equally
    many runs of each task, and where the numbers differ, the large strata would otherwise speak for all.
    Intervals are the percentile bootstrap's, each stratum resampled for itself and to its own size. Raises
    ValueError where there is no stratum, or one without a board.
    """
    if not strata or not all(stratum.number for stratum in strata):
        raise ValueError("no scores")
    values = np.concatenate([stratum.values for stratum in strata]).astype(np.float64)
    order = np.argsort(values, kind="stable")
    values = values[order]

    def weighted(counts: Sequence[Numbers]) -> Numbers:
        parts = [rows / (stratum.number * len(strata)) for rows, stratum in zip(counts, strata, strict=True)]
        return np.concatenate(parts, axis=1)[:, order]

    mean, middle = _means(values, weighted([stratum.counts[np.newaxis] for stratum in strata]))
    if sum(stratum.number for stratum in strata) < 2:
        return Summary(mean.item(), None, middle.item(), None)
    draw = np.random.RandomState(resampling.seed)
    drawn = np.empty((2, resampling.resamples))
    rows = max(1, _CELLS // len(values))
    for start in range(0, resampling.resamples, rows):
        size = min(rows, resampling.resamples - start)
        counts = [
            draw.multinomial(stratum.number, stratum.counts / stratum.number, size=size) for stratum in strata
        ]
        drawn[:, start : start + size] = _means(values, weighted(counts))
    return Summary(
        mean.item(),
        _percentiles(drawn[0], resampling.confidence),
        middle.item(),
        _percentiles(drawn[1], resampling.confidence),
    )


def _means(values: Numbers, weights: Numbers) -> tuple[Numbers, Numbers]:
    """Mean and interquartile mean of ascending values, for each row of weights that add up to 1.

    The latter is 2 times the integral of the quantile function from 1/4 to 3/4. Agarwal et al. drop a quarter
    of n scores at either end; where that is no whole number, the two scores at the edges here count by the
    part that lies inside. For n that 4 divides, and equal weights, both are the same.
    """
    upper = np.cumsum(weights, axis=1)
    lower = upper - weights
    inside = np.clip(np.minimum(upper, 0.75) - np.maximum(lower, 0.25), 0, None)
    middle = (inside * values).sum(axis=1) / inside.sum(axis=1)
    return (weights * values).sum(axis=1) / weights.sum(axis=1), middle
