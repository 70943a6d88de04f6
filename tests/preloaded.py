"""Commands without the wait for imports: a process that has loaded sgdb forks a child for each.

Most of a small command's time goes into loading libraries, and a suite starts hundreds. A child of this
process is a command like any other: it has an id, a session, an environment, a folder and streams of its
own, runs `sgdb.__main__.main` to its end, and dies of a signal as every process does. Only what happens
before `main` cannot be tested with it: what is loaded when, and variables that Python reads as it starts.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

# Loaded by sgdb when they are needed.
_LATER = ("filelock", "psutil", "psycopg2.extras", "rich.console", "rich.table", "rich.text", "tqdm")


class Command:
    """A command that was started: like a `Popen`, its output kept in files."""

    def __init__(self, arguments: Sequence[str], report: socket.socket, streams: list[IO[bytes]]) -> None:
        self.arguments = list(arguments)
        self._report = report
        self._streams = streams
        self.pid = int(self._line())
        self.started = time.monotonic()
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int | None:
        """The return code, negative for a signal; None when it is still at work after `timeout` seconds."""
        if self.returncode is None and select.select([self._report], [], [], timeout)[0]:
            self.returncode = int(self._line())
            self._report.close()
        return self.returncode

    def kill(self) -> None:
        """SIGKILL for it and for all processes of its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def end(self, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Waits for its end; what it wrote until then."""
        if self.wait(timeout) is None:
            self.kill()
            self.wait()
            raise subprocess.TimeoutExpired(self.arguments, timeout)
        assert self.returncode is not None
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
            stream.close()
        return subprocess.CompletedProcess(self.arguments, self.returncode, *texts)

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            piece = self._report.recv(1)
            assert piece, "the process that has loaded sgdb is gone"
            line += piece
        return line


class _Preloaded:
    """The process that has loaded sgdb, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None

    def start(
        self,
        folder: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        is_one_stream: bool = False,
    ) -> Command:
        """Starts `sgdb ARGUMENTS` in `folder` with this environment and nobody to ask. `is_one_stream` puts
        what it says on standard error among its output, as on a terminal."""
        ours, theirs = socket.socketpair()
        streams: list[IO[bytes]] = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        request = json.dumps([str(folder), list(arguments), dict(environment)]).encode()
        with theirs, Path(os.devnull).open("rb") as stdin, self._lock:
            if self._requests is None:
                self._requests = self._launch()
            outputs = [streams[0], streams[0 if is_one_stream else 1]]
            descriptors = [theirs.fileno(), stdin.fileno(), *(stream.fileno() for stream in outputs)]
            socket.send_fds(self._requests, [len(request).to_bytes(4, "big")], descriptors)
            self._requests.sendall(request)
        return Command(arguments, ours, streams)

    def _launch(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the tests
            )
        atexit.register(lambda: (ours.close(), process.wait()))
        return ours


start = _Preloaded().start


# -- the other side ---------------------------------------------------------------------------------


class _Request(NamedTuple):
    descriptors: list[int]
    folder: str
    arguments: list[str]
    environment: dict[str, str]


def _receive(requests: socket.socket) -> _Request | None:
    head, descriptors, _, _ = socket.recv_fds(requests, 4, 4)
    if not head:
        return None
    missing = int.from_bytes(head, "big")
    body = b""
    while len(body) < missing:
        body += requests.recv(missing - len(body))
    return _Request(descriptors, *json.loads(body))


def _load() -> None:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's threads would be left behind by every fork
    import sgdb

    for module in pkgutil.walk_packages(sgdb.__path__, "sgdb."):
        importlib.import_module(module.name)
    for name in _LATER:
        importlib.import_module(name)
    gc.freeze()  # or the first collection of every child would copy it all


def _become(request: _Request) -> None:
    """Makes this process the command that is asked for."""
    report, *streams = request.descriptors
    os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.write(report, b"%d\n" % os.getpid())
    os.close(report)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    tempfile.tempdir = None
    sys.argv = ["sgdb", *request.arguments]


def _watch(pid: int, request: _Request) -> None:
    """Waits for the command's end and reports it."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):  # nobody wants to know any more
        os.write(request.descriptors[0], b"%d\n" % code)


def _serve() -> Any:
    requests = socket.socket(fileno=int(sys.argv[1]))
    _load()
    while (request := _receive(requests)) is not None:
        if os.fork() == 0:
            requests.close()
            pid = os.fork()
            if pid:
                _watch(pid, request)
                os._exit(0)
            _become(request)
            from sgdb.__main__ import main

            return main()
        for descriptor in request.descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    return 0


if __name__ == "__main__":
    sys.exit(_serve())
