"""Processes that answer questions: one JSON line for another, through pipes.

They are programs of their own and not forks: the asking process may have threads and connections. Nor do
they load the asking program, as processes of `multiprocessing` do. One whose asker dies, however that
happens, reads the end of its input and ends, too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sgdb.errors import EnvironmentFaultError, InternalError

T = TypeVar("T")
_AHEAD = 2  # questions a process that are taken from the iterator before the first answer is wanted


def answers(
    module: str, items: Iterable[T], question: Callable[[T], Any], processes: int
) -> Iterator[tuple[T, Any]]:
    """Each item with the answer to its question, in order, from `processes` processes that run `module`,
    which has to `serve`. Items are fetched as they are needed.

    Raises EnvironmentFaultError when a process is lost, InternalError when it cannot answer.
    """
    crew = _Crew(module)
    try:
        with ThreadPoolExecutor(processes, thread_name_prefix="sgdb-worker") as threads:
            waiting: deque[tuple[T, Future[Any]]] = deque()
            try:
                for item in items:
                    waiting.append((item, threads.submit(crew.ask, question(item))))
                    if len(waiting) > _AHEAD * processes:
                        first, answer = waiting.popleft()
                        yield first, answer.result()
                while waiting:
                    first, answer = waiting.popleft()
                    yield first, answer.result()
            except BaseException:  # also when whoever iterates goes away, or Ctrl-C is pressed
                threads.shutdown(wait=False, cancel_futures=True)
                crew.kill()
                raise
    finally:
        crew.end()


class _Crew:
    """Processes that are idle or at work; as many as threads ask at once."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        self._all: list[subprocess.Popen[str]] = []
        self._is_killed = False

    def ask(self, question: Any) -> Any:
        """One process's answer."""
        try:
            process = self._idle.get_nowait()
        except Empty:
            process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):
            line = ""
        if not line.endswith("\n"):
            code = process.wait()
            how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
            raise EnvironmentFaultError(
                f"a process that was to play games has ended {how}",
                hint="if memory is short, try fewer of them: --jobs 1 needs none",
            )
        self._idle.put(process)
        answer, problem = json.loads(line)
        if problem is not None:
            raise InternalError(f"a process that plays games has failed: {problem}")
        return answer

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            # -P: modules are not looked for where the command happens to be started.
            [sys.executable, "-P", "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for the one that asks
        )
        self._all.append(process)
        if self._is_killed:  # while it was starting
            process.kill()
        return process

    def kill(self) -> None:
        """Ends them all at once, whatever they are at."""
        self._is_killed = True
        for process in self._all:
            process.kill()

    def end(self) -> None:
        """Ends those that are idle, which all are when nobody asks any more, and waits for them."""
        for process in self._all:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):  # of a process that is gone
                    pipe.close()
            process.wait()


def serve(answer: Callable[[Any], Any]) -> None:
    """Answers questions until there are no more: what a module that `answers` runs does."""
    with os.fdopen(0, encoding="utf-8") as questions, os.fdopen(1, "w", encoding="utf-8") as replies:
        for line in questions:
            try:
                reply = [answer(json.loads(line)), None]
            except Exception:
                reply = [None, traceback.format_exc()]
            try:
                replies.write(json.dumps(reply) + "\n")
                replies.flush()
            except BrokenPipeError:  # nobody wants to know any more
                os._exit(0)
