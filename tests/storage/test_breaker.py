"""After a failure nothing is tried for a while, then by one caller."""

from __future__ import annotations

from sgdb.storage.breaker import CircuitBreaker, breaker_of


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_closed_breaker_lets_everybody_try() -> None:
    """Success is no news."""
    breaker = CircuitBreaker(clock=Clock())
    assert [breaker.allows(), breaker.allows(), breaker.succeeded(), breaker.is_open] == [
        True,
        True,
        False,
        False,
    ]


def test_failures_open_it_for_longer_and_longer() -> None:
    """Only the first failure is news; pauses double up to the longest; one caller tries after each."""
    clock = Clock()
    breaker = CircuitBreaker(first_pause=10, longest_pause=35, clock=clock)
    assert breaker.failed()
    for pause in (10, 20, 35, 35):
        clock.now += pause - 0.1
        assert not breaker.allows()
        clock.now += 0.2
        assert [breaker.allows(), breaker.allows()] == [True, False]
        assert not breaker.failed()
    clock.now += 36
    assert breaker.allows()
    assert breaker.succeeded()
    assert not breaker.is_open
    assert breaker.failed()
    clock.now += 10.1
    assert breaker.allows()


def test_a_try_that_reports_nothing_does_not_close_the_way_for_ever() -> None:
    """A caller that is interrupted while it tries leaves it to another, a pause later."""
    clock = Clock()
    breaker = CircuitBreaker(first_pause=10, clock=clock)
    breaker.failed()
    clock.now += 11
    assert breaker.allows()
    assert not breaker.allows()
    clock.now += 11
    assert breaker.allows()


def test_one_breaker_for_a_database() -> None:
    """All storages of a process share what is known of it."""
    assert breaker_of("a test's own address") is breaker_of("a test's own address")
