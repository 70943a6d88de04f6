"""Processes that answer: in order, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from sgdb.benchmark.crew import answers
from sgdb.errors import EnvironmentFaultError, InternalError
from tests.steps import until

MODULE = "tests.benchmark.answering"


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # nobody may be there to reap it
    except psutil.NoSuchProcess:
        return True


def _same(question: object) -> object:
    return question


def test_answers_come_in_order_from_several_processes() -> None:
    """Each with its item; items are fetched as they are needed, and afterwards the processes are gone."""
    fetched = 0

    def items() -> object:
        nonlocal fetched
        for number in range(40):
            fetched += 1
            yield number

    found = answers(MODULE, items(), lambda number: number if number % 4 else "who", 3)  # type: ignore[arg-type]
    first = next(found)
    assert fetched < 10
    pairs = [first, *found]
    assert [item for item, _ in pairs] == list(range(40))
    assert all(answer == item for item, answer in pairs if item % 4)
    processes = {answer for item, answer in pairs if item % 4 == 0}
    assert 1 <= len(processes) <= 3
    assert os.getpid() not in processes
    assert not any(psutil.pid_exists(pid) for pid in processes)


@pytest.mark.parametrize(
    ("question", "error", "says"),
    [
        ("die", EnvironmentFaultError, "by signal SIGKILL"),
        ("leave", EnvironmentFaultError, "with code 3"),
        ("fail", InternalError, "no idea"),
    ],
)
def test_a_process_that_does_not_answer_is_an_error(question: str, error: type[Exception], says: str) -> None:
    """Nobody waits for it, and the others end as well."""
    found = answers(MODULE, ["who", "wait", question], _same, 3)
    (_, pid) = next(found)
    with pytest.raises(error, match=says):
        for _ in answers(MODULE, ["who", question, "wait"], _same, 2):
            pass
    found.close()
    assert not psutil.pid_exists(pid)


def test_nothing_is_left_of_one_who_is_killed() -> None:
    """A process whose asker is gone ends by itself."""
    program = (
        f"from sgdb.benchmark.crew import answers; import time; found = answers({MODULE!r}, "
        "['who'] * 99, lambda question: question, 2); print(next(found)[1], flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    asker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
    with asker:
        assert asker.stdout is not None
        pid = int(asker.stdout.readline())
        assert psutil.pid_exists(pid)
        asker.send_signal(signal.SIGKILL)
        until(lambda: _is_gone(pid))
