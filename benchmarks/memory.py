"""The memory of a process: what it holds now, and the most that it ever held."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import ROOT

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def now() -> int:
    """Bytes of this process in memory. Where the system does not tell, the most so far."""
    return _status("VmRSS")


def peak() -> int:
    """The most bytes of this process that were in memory at once, since its start or `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Counts the peak from now on, where the system can do that."""
    if _RESET.exists():
        _RESET.write_text("5")


def _status(name: str) -> int:
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def of_child(module: str, *arguments: object, environment: Mapping[str, str]) -> int:
    """The bytes that `python -m MODULE ARGUMENTS` prints as its last line: what is looked at for its memory
    runs in a process of its own, which nothing else has filled before."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(environment), stdout=subprocess.PIPE, text=True, check=True
    )
    return int(done.stdout.split()[-1])
