"""Rounds and memory."""

from __future__ import annotations

from sgdb.timing.stopwatch import PeakMemory, rounds

_MEGABYTE = 1_000_000


def test_there_is_at_least_one_round() -> None:
    """And not so many that a quick reading is repeated for ever."""
    numbers = list(rounds())
    assert numbers == list(range(len(numbers)))
    assert 1 <= len(numbers) <= 100


def test_a_peak_is_seen_although_it_has_passed() -> None:
    """What was needed for a moment counts; what an earlier peak had needed does not."""
    earlier = b"1" * (200 * _MEGABYTE)
    del earlier
    memory = PeakMemory()
    block = b"1" * (50 * _MEGABYTE)
    del block
    grown = memory.grown()
    assert grown is not None
    assert 40 * _MEGABYTE < grown < 80 * _MEGABYTE
    assert (PeakMemory().grown() or 0) < 10 * _MEGABYTE
