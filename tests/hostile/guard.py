"""Reads files in processes that the kernel keeps within limits, and tells what became of each.

`python -m tests.hostile.guard READER FOLDER CPU_SECONDS` prints a line of JSON a file. Every file is read
by a child of its own, in an empty folder of its own, that may use so many seconds of processor time and 256
MiB more than the interpreter has already; a wait that uses none ends after a minute. After each file the
child reads a good one, which has to be what it was before.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from sgdb.errors import SgdbError
from tests.hostile.readers import install, read_all
from tests.legacy import write_legacy

MEMORY = 256 << 20  # bytes
_WAIT = 60  # seconds


def _limit(cpu_seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    pages = Path("/proc/self/statm")
    if pages.exists():  # elsewhere the kernel does not limit memory anyway
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.alarm(_WAIT)


def _answer(path: Path) -> dict[str, Any]:
    """What the reader says about a file."""
    try:
        read_all(path)
    except SgdbError as error:
        return {"error": type(error).__name__, "message": error.message}
    except MemoryError:
        return {"foreign": "MemoryError"}
    except BaseException:
        return {"foreign": traceback.format_exc()}
    return {"read": True}


def _same_as_ever(sample: Path, expected: str) -> bool:
    try:
        return repr(read_all(sample)) == expected
    except BaseException:
        return False


def _child(path: Path, sample: Path, expected: str, cpu_seconds: int, out: int) -> None:
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    _limit(cpu_seconds)
    answer = _answer(path)
    answer["sample"] = _same_as_ever(sample, expected)
    os.write(out, json.dumps(answer).encode())
    os._exit(0)


def _judged(path: Path, sample: Path, expected: str, cpu_seconds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="sgdb-hostile-") as folder:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.chdir(folder)
            _child(path, sample, expected, cpu_seconds, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        status = os.waitpid(pid, 0)[1]
        killed = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
        made = sorted(entry.name for entry in Path(folder).iterdir())
    return {"name": path.name, "killed": killed, "made": made, **(json.loads(answer) if answer else {})}


def main(reader: str, folder: str, cpu_seconds: str) -> None:
    """Judges every file of the folder."""
    install(reader)
    with tempfile.TemporaryDirectory(prefix="sgdb-hostile-") as aside:
        sample = write_legacy(Path(aside, "sample"), num_games=1)
        expected = repr(read_all(sample))
        gc.freeze()
        for path in sorted(Path(folder).iterdir()):
            outcome = _judged(path, sample, expected, int(cpu_seconds))
            sys.stdout.write(json.dumps(outcome) + "\n")
            sys.stdout.flush()  # a child must not have it to write once more


if __name__ == "__main__":
    main(*sys.argv[1:])
