"""Processes in which something is measured: started, asked, and killed when nobody waits for them any more.

They are programs of their own and no forks of the asking process: what that has in memory would be measured
as well. Question and answer are lines of JSON and go through pipes, so that no password shows in a list of
processes. One whose asker dies, however that happens, reads the end of its input and ends, too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO, NoReturn

from sgdb.errors import EnvironmentFaultError, InternalError, SgdbError

_SHORT_OF_MEMORY = "memory may be short: a pickle has to be loaded whole; without --timings none is"


@contextmanager
def program(module: str, *, about: str, file: BinaryIO | None = None) -> Iterator[Callable[[Any], Any]]:
    """A function that asks a new process, which runs `module`, has to `serve`, and is handed the open `file`.

    `about` says what it does, such as "loads the pickle". Raises EnvironmentFaultError when it cannot start.
    The function raises that when the process is lost or meets such an error itself, and InternalError when it
    fails otherwise. At the end of the block the process is gone, with all that it has forked.
    """
    handed = [] if file is None else [file.fileno()]
    try:
        process = subprocess.Popen(
            # -P: modules are not looked for where the command happens to be started.
            [sys.executable, "-P", "-m", module, *map(str, handed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            pass_fds=handed,
            start_new_session=True,  # Ctrl-C is for the one that asks
        )
    except OSError as error:
        raise EnvironmentFaultError(
            f"the process that {about} cannot be started: {error.strerror or error}",
            hint="run the command again when fewer processes are at work",
        ) from error
    try:
        yield lambda question: _ask(process, question, about)
    except BaseException:  # above all Ctrl-C
        with suppress(ProcessLookupError, PermissionError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(OSError):  # of a process that is gone
                pipe.close()
        process.wait()


def forked(work: Callable[[], Any], *, about: str) -> Any:
    """What `work` returns, in JSON's types, done in a fork of this process: what it needs and leaves behind
    does not stay in this one. Raises what the function of `program` raises."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "w", encoding="utf-8") as replies:
                replies.write(json.dumps(_reply(work)) + "\n")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as replies_:
        said = replies_.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not said.endswith(b"\n"):
        _raise_lost(code, about)
    return _answer(json.loads(said), about)


def serve(answer: Callable[[Any, BinaryIO | None], Any]) -> None:
    """Answers questions until there are no more: what a module that `program` runs does."""
    file = os.fdopen(int(sys.argv[1]), "r+b") if len(sys.argv) > 1 else None
    with os.fdopen(0, encoding="utf-8") as questions, os.fdopen(1, "w", encoding="utf-8") as replies:
        for line in questions:
            question = json.loads(line)
            reply = _reply(partial(answer, question, file))
            try:
                replies.write(json.dumps(reply) + "\n")
                replies.flush()
            except BrokenPipeError:  # nobody wants to know any more
                os._exit(0)


def _ask(process: subprocess.Popen[bytes], question: Any, about: str) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
        said = process.stdout.readline()
    except OSError:
        said = b""
    if not said.endswith(b"\n"):
        _raise_lost(process.wait(), about)
    return _answer(json.loads(said), about)


def _reply(work: Callable[[], Any]) -> list[Any]:
    """The answer and what went wrong, one of them None. Of a mistake: whether it is one of the surroundings,
    the message, and the hint."""
    try:
        return [work(), None]
    except MemoryError:
        return [None, [True, "there is not enough memory", _SHORT_OF_MEMORY]]
    except OSError as error:
        return [None, [True, f"the operating system refuses: {error.strerror or error}", None]]
    except InternalError as error:
        return [None, [False, error.message, None]]
    except SgdbError as error:
        return [None, [True, error.message, error.hint]]
    except Exception:
        return [None, [False, traceback.format_exc(), None]]


def _answer(reply: list[Any], about: str) -> Any:
    answer, problem = reply
    if problem is None:
        return answer
    is_of_the_surroundings, message, hint = problem
    if is_of_the_surroundings:
        raise EnvironmentFaultError(message, hint=hint)
    raise InternalError(f"the process that {about} has failed: {message}")


def _raise_lost(code: int, about: str) -> NoReturn:
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
    raise EnvironmentFaultError(f"the process that {about} has ended {how}", hint=_SHORT_OF_MEMORY)
