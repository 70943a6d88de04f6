"""Reads mutated files by the million: `python -m tests.hostile.fuzz --count N --seed S`.

Every file goes through sgdb's reader to the last row and the last board that follows from it. Either it is
refused with an error of sgdb's, or it is read: then it holds the same when it is written and read again, and
when rows are read opcode by opcode. Nothing else may happen: no other error, no death of the process, no
more than two seconds of processor time, no more than 256 MiB. What does is printed with its number, so that
`--first NUMBER --count 1 --seed S` shows it again, and with its bytes; the exit code is then 1.

The work is spread over processes that are watched from outside. Each says in shared memory what it is
reading; a timer that nothing in Python can stop ends it when a file takes too long.
"""

from __future__ import annotations

import argparse
import io
import json
import mmap
import os
import resource
import secrets
import select
import signal
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from sgdb.errors import InputRefusedError
from sgdb.pickles.writer import write_pickle
from tests.hostile.guard import MEMORY
from tests.hostile.mutations import mutated, samples
from tests.pickles.reading import Read, parsed_somehow, read

SECONDS = 2.0
_ENOUGH = 20  # findings; more of them say little more
_SLOT = struct.Struct("QQ")  # the file being read, and how many have been

Check = Callable[[bytes], str]


def check(raw: bytes) -> str:
    """Reads one file; tells what became of it. Raises whatever should not come out."""
    try:
        found = read(raw)
        for batch in found.file.regenerated_batches():
            assert batch
    except InputRefusedError as error:
        if len(raw) % 4 == 0:  # a part of them is enough, and takes half the time
            _require_alike(raw)
        return type(error).__name__
    _require_alike(raw)
    again = read(_written(found))
    assert repr(again.records) == repr(found.records), "written and read again it holds something else"
    assert again.file.missing == found.file.missing
    return "read"


def _require_alike(raw: bytes) -> None:
    """Proves that rows in one step and opcode by opcode are the same, or refused both ways."""
    slow, fast = (_parsed(raw, accelerate=accelerate) for accelerate in (False, True))
    assert slow == fast, "opcode by opcode it is something else"


def _parsed(raw: bytes, *, accelerate: bool) -> str:
    """Everything in the file, as far as it can be written down."""
    try:
        return repr(parsed_somehow(raw, accelerate=accelerate))
    except InputRefusedError:
        return "refused"
    except RecursionError:  # of the helper, which has no need to go deep
        return "deep"


def _written(found: Read) -> bytes:
    """The same in a new file, of a layout that can be written and that says its base seed."""
    file = io.BytesIO()
    contents = replace(found.file.contents, layout="C")
    rows = [(key, found.results.get(key, [])) for key in found.file.result_keys]
    write_pickle(file, contents, found.games, rows)
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that did what no file may do."""

    number: int
    what: str


@dataclass
class Outcome:
    """What a run came to. `became` counts what files became; those of a process that died are not in it."""

    became: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


class _Worker:
    """A process that reads every `step`-th file from `first` up to but without `stop`."""

    def __init__(self, seed: int, first: int, stop: int, step: int, check: Check, seconds: float) -> None:
        self.first, self.stop, self.step = first, stop, step
        self._memory = mmap.mmap(-1, _SLOT.size)
        _SLOT.pack_into(self._memory, 0, first, 0)
        self.pipe, writing = os.pipe()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self.pipe)
                self._work(seed, check, seconds, writing)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)

    @property
    def current(self) -> int:
        """The file it is at."""
        return int(_SLOT.unpack_from(self._memory)[0])

    @property
    def done(self) -> int:
        """How many it has read."""
        return int(_SLOT.unpack_from(self._memory)[1])

    def wait(self) -> str | None:
        """Waits for its end; what ended it, or None when it went through all of its files."""
        os.close(self.pipe)
        status = os.waitpid(self.pid, 0)[1]
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            return "took too much processor time" if name == "SIGPROF" else f"ended by {name}"
        return None if os.WEXITSTATUS(status) == 0 else f"ended with exit code {os.WEXITSTATUS(status)}"

    def _work(self, seed: int, check: Check, seconds: float, out: int) -> None:
        """In the process itself. Reports a line of JSON a finding, and one with the counts at the end."""
        _limit_memory()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        became: Counter[str] = Counter()
        for done, number in enumerate(range(self.first, self.stop, self.step)):
            _SLOT.pack_into(self._memory, 0, number, done)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            try:
                became[check(mutated(seed, number))] += 1
            except BaseException:
                os.write(out, json.dumps([number, traceback.format_exc()[-3000:]]).encode() + b"\n")
            signal.setitimer(signal.ITIMER_PROF, 0)
        _SLOT.pack_into(self._memory, 0, self.stop, len(range(self.first, self.stop, self.step)))
        os.write(out, json.dumps(became).encode() + b"\n")


def _limit_memory() -> None:
    pages = Path("/proc/self/statm")
    if pages.exists():  # elsewhere the kernel does not limit memory anyway
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(
    seed: int,
    count: int,
    *,
    first: int = 0,
    jobs: int = 1,
    check: Check = check,
    seconds: float = SECONDS,
    on_progress: Callable[[int, int], object] = lambda done, findings: None,
) -> Outcome:
    """Reads files `first` to `first + count - 1` of this seed in `jobs` processes.

    A process that dies is a finding at the file it was at, and another one takes its place behind it.
    `on_progress` is told now and then how many files are done and how many findings there are. A score of
    findings ends the run.
    """
    samples()  # made once, for all
    stop = first + count
    outcome = Outcome()
    workers = [_Worker(seed, first + job, stop, jobs, check, seconds) for job in range(min(jobs, count))]
    unread = dict.fromkeys((worker.pipe for worker in workers), b"")
    gone = 0
    while workers:
        ready, _, _ = select.select([worker.pipe for worker in workers], [], [], 5)
        for worker in [worker for worker in workers if worker.pipe in ready]:
            data = os.read(worker.pipe, 1 << 16)
            *lines, unread[worker.pipe] = (unread[worker.pipe] + data).split(b"\n")
            for report in map(json.loads, lines):
                if isinstance(report, dict):
                    outcome.became.update(report)
                else:
                    outcome.findings.append(Finding(*report))
            if data:
                continue
            workers.remove(worker)
            why = worker.wait()
            gone += worker.done
            if why is not None:
                outcome.findings.append(Finding(worker.current, why))
                gone += 1
                if worker.current + jobs < stop:
                    workers.append(_Worker(seed, worker.current + jobs, stop, jobs, check, seconds))
                    unread[workers[-1].pipe] = b""
        on_progress(gone + sum(worker.done for worker in workers), len(outcome.findings))
        if len(outcome.findings) >= _ENOUGH:
            for worker in workers:
                os.kill(worker.pid, signal.SIGKILL)
                worker.wait()
            break
    outcome.findings.sort(key=lambda finding: finding.number)
    return outcome


def main(arguments: list[str] | None = None, check: Check = check) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile.fuzz", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--count", type=int, default=1_000_000, help="how many files (default: a million)")
    parser.add_argument("--seed", type=int, help="which files (default: others every time)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--save", type=Path, help="folder for the files that do what no file may do")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    started = shown = time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    def progress(done: int, findings: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= 5:
            shown = now
            rate = done / (now - started)
            say(f"{done:,} of {options.count:,} files, {rate:,.0f} a second, {findings} findings")

    say(f"seed {seed}, {options.count:,} files")
    outcome = run(
        seed, options.count, first=options.first, jobs=options.jobs, check=check, on_progress=progress
    )
    for finding in outcome.findings:
        say(f"\nfile {finding.number} of seed {seed}: {finding.what}")
        raw = mutated(seed, finding.number)
        if options.save is not None:
            options.save.mkdir(parents=True, exist_ok=True)
            (options.save / f"{seed}-{finding.number}.pkl").write_bytes(raw)
        say(f"bytes: {raw.hex() if len(raw) <= 1500 else f'{len(raw)}, which --save FOLDER writes'}")
        say(f"again: python -m tests.hostile.fuzz --seed {seed} --first {finding.number} --count 1")
    became = ", ".join(f"{count:,} {name}" for name, count in sorted(outcome.became.items()))
    say(f"{time.monotonic() - started:.0f} seconds: {became}; {len(outcome.findings)} findings")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
