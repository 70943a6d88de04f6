"""Calls that may never come back come to an end."""

from __future__ import annotations

import threading

import pytest

from sgdb.errors import ConflictError, DatabaseUnreachableError
from sgdb.storage.patience import patiently


def never(seconds: float) -> bool:
    raise AssertionError("nobody has to be asked")


def test_what_comes_at_once_comes_through() -> None:
    """Values and errors are those of the work itself."""
    assert patiently(lambda: 7, seconds=60, answers=never, abandon=lambda: None) == 7

    def refuse() -> int:
        raise ConflictError("no")

    with pytest.raises(ConflictError, match="no"):
        patiently(refuse, seconds=60, answers=never, abandon=lambda: None)


def test_long_work_is_waited_for_while_the_server_answers() -> None:
    """Whether it is there is asked again and again, each time for half of the patience."""
    finished = threading.Event()
    asked: list[float] = []

    def answers(seconds: float) -> bool:
        asked.append(seconds)
        if len(asked) == 3:
            finished.set()
        return True

    assert patiently(finished.wait, seconds=0.02, answers=answers, abandon=lambda: None)
    assert asked[:3] == [0.01] * 3


def test_a_server_that_does_not_answer_is_given_up() -> None:
    """The call is abandoned, which ends its thread."""
    cut = threading.Event()
    ended = threading.Event()

    def work() -> None:
        cut.wait()
        ended.set()

    with pytest.raises(DatabaseUnreachableError, match="does not answer"):
        patiently(work, seconds=0.02, answers=lambda _: False, abandon=cut.set)
    assert ended.wait(60)


def test_an_answer_in_the_last_moment_counts() -> None:
    """Work that ends while the server is being asked has ended well."""
    go = threading.Event()
    done = threading.Event()

    def work() -> str:
        go.wait()
        return "done"

    def answers(_: float) -> bool:
        go.set()
        for thread in threading.enumerate():
            if thread.name == "sgdb database call":
                thread.join()
        return False

    assert patiently(work, seconds=0.02, answers=answers, abandon=done.set) == "done"
    assert not done.is_set()


def test_an_interrupt_abandons_the_call() -> None:
    """Ctrl-C while waiting comes out as such, and the call is not left behind."""
    cut = threading.Event()

    def answers(_: float) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patiently(cut.wait, seconds=0.02, answers=answers, abandon=cut.set)
    assert cut.is_set()
