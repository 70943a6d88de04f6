"""The one judgement on a reader: what it did with each case, and what is wrong with that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sgdb import errors
from tests.hostile.cases import Case

_ROOT = Path(__file__).resolve().parents[2]

RAN_CODE = "ran code"
CRASHED = "crashed"
TOOK_TIME = "took too much time"
TOOK_MEMORY = "took too much memory"
FOREIGN = "an error that is not sgdb's"
SPOILT = "spoilt the reading of the next file"
ACCEPTED = "read what is to be refused"
REFUSED = "refused what is harmless"
OTHER_REASON = "refused it for another reason"
KINDS = (RAN_CODE, CRASHED, TOOK_TIME, TOOK_MEMORY, FOREIGN, SPOILT, ACCEPTED, REFUSED, OTHER_REASON)


def write_cases(cases: Iterable[Case], folder: Path) -> Path:
    """Writes a file a case into a new folder."""
    folder.mkdir()
    for case in cases:
        (folder / case.name).write_bytes(case.raw)
    return folder


def read_guarded(reader: str, folder: Path, cpu_seconds: int = 2) -> dict[str, Any]:
    """What became of each file in a process of its own; see `guard`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.guard", reader, str(folder), str(cpu_seconds)],
        # Nothing that measures the tests may take time or memory from what is limited.
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {outcome["name"]: outcome for outcome in map(json.loads, done.stdout.splitlines())}


def judge(case: Case, outcome: dict[str, Any]) -> tuple[str, str] | None:
    """What is wrong, as one of KINDS and in detail; None when all is well."""
    if outcome["made"]:
        return RAN_CODE, f"it made {outcome['made']}"
    if outcome["killed"] in ("SIGXCPU", "SIGKILL", "SIGALRM"):
        return TOOK_TIME, outcome["killed"]
    if outcome["killed"] is not None or not outcome.keys() & {"read", "error", "foreign"}:
        return CRASHED, str(outcome["killed"])
    if outcome.get("foreign") == "MemoryError":
        return TOOK_MEMORY, "MemoryError"
    if "foreign" in outcome:
        return FOREIGN, outcome["foreign"]
    if not outcome["sample"]:
        return SPOILT, "a good file read right after it was not what it had been"
    if case.error is None:
        return None if "read" in outcome else (REFUSED, outcome["message"])
    if "read" in outcome:
        return ACCEPTED, "no error"
    if not issubclass(getattr(errors, outcome["error"]), case.error) or case.words not in outcome["message"]:
        return OTHER_REASON, f"{outcome['error']}: {outcome['message']}"
    return None


def failures(reader: str, cases: Iterable[Case], folder: Path, cpu_seconds: int = 2) -> dict[str, list[str]]:
    """All that is wrong with a reader: for each of KINDS the cases, with details."""
    cases = list(cases)
    outcomes = read_guarded(reader, write_cases(cases, folder), cpu_seconds)
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for case in cases:
        wrong = judge(case, outcomes[case.name])
        if wrong is not None:
            found[wrong[0]].append(f"{case.name} ({case.why}): {wrong[1]}")
    return found
