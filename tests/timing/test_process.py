"""Processes that are asked, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress

import psutil
import pytest

from sgdb.errors import EnvironmentFaultError, InternalError
from sgdb.timing.process import program
from tests.steps import until

MODULE = "tests.timing.answering"


def test_one_process_answers_all_questions() -> None:
    """It answers whatever JSON can carry, forks where it is told to, and is gone afterwards."""
    with program(MODULE, about="answers") as ask:
        first, second, forked = ask("who"), ask("who"), ask({"fork": "who"})
        assert first == second
        assert len({first, forked, os.getpid()}) == 3
        assert not psutil.pid_exists(forked)
        for question in ({"a": [1, None, "\u00fc\ud800", 2**70]}, "a\nb"):
            assert ask(question) == question
            assert ask({"fork": question}) == question
    assert not psutil.pid_exists(first)


def test_it_is_handed_a_file_that_has_no_name() -> None:
    """Open, and only in this process: what was written into it is there."""
    with tempfile.TemporaryFile() as file:
        file.write(b"what was written")
        file.flush()
        with program(MODULE, about="answers", file=file) as ask:
            assert ask("file") == "what was written"


def test_one_that_cannot_answer_says_so_and_goes_on() -> None:
    """What the surroundings do comes with its hint; what nobody foresaw is a bug. So in forks."""
    with program(MODULE, about="answers") as ask:
        for question, error, says, hint in (
            ("memory", EnvironmentFaultError, "there is not enough memory", "without --timings"),
            ("away", EnvironmentFaultError, "no server", "start it"),
            ("fail", InternalError, "ValueError: no idea", ""),
        ):
            for each in (question, {"fork": question}):
                with pytest.raises(error, match=says) as caught:
                    ask(each)
                assert hint in (caught.value.hint or "")
        with pytest.raises(
            EnvironmentFaultError, match="the process that is forked has ended by signal SIGKILL"
        ):
            ask({"fork": "die"})
        assert ask("still there") == "still there"


@pytest.mark.parametrize(("question", "says"), [("die", "by signal SIGKILL"), ("leave", "with code 3")])
def test_one_that_is_lost_is_an_error(question: str, says: str) -> None:
    """Whenever it is asked."""
    with program(MODULE, about="answers") as ask:
        for _ in range(2):
            with pytest.raises(
                EnvironmentFaultError, match=f"the process that answers has ended {says}"
            ) as caught:
                ask(question)
            assert "memory may be short" in (caught.value.hint or "")


def test_one_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with (
        pytest.raises(EnvironmentFaultError, match="the process that answers cannot be started"),
        program(MODULE, about="answers"),
    ):
        pass


def test_nothing_is_left_when_the_asker_is_interrupted() -> None:
    """Neither the process nor what it has forked, whatever they are at."""
    asker = subprocess.Popen(
        [sys.executable, "-c", f"from sgdb.timing.process import program\n"
         f"with program({MODULE!r}, about='waits') as ask: ask({{'fork': 'wait'}})"],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    left: list[psutil.Process] = []

    def has_forked() -> bool:
        left[:] = psutil.Process(asker.pid).children(recursive=True)
        return len(left) == 2

    until(has_forked)
    asker.send_signal(signal.SIGINT)
    assert asker.wait(60) != 0
    until(lambda: not any(_is_at_work(process) for process in left))


def _is_at_work(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE  # nobody may be there to reap it
    return False
