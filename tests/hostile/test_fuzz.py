"""Mutated files: a few thousand of the million that `make fuzz` reads, and proof that it would notice."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from itertools import count
from pathlib import Path

from sgdb.operations.verify import VerifyOptions, verify
from sgdb.settings import Settings
from tests.hostile.fuzz import check
from tests.hostile.mutations import mutated
from tests.steps import migrate

_ROOT = Path(__file__).resolve().parents[2]


def _python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A Python process in which nothing measures the tests: its time and memory are limited."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment | variables,
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_mutated_files_are_refused_or_read_alike() -> None:
    """No crash, no hang, no error but sgdb's; what reads gives the same in every way, and written again."""
    done = _python("-m", "tests.hostile.fuzz", "--count", "3000", "--seed", "1", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    for became in ("DamagedPickleError", "UnsafePickleError", "LayoutError", "ValueRefusedError", "read"):
        (number,) = re.findall(rf"([\d,]+) {became}", done.stderr)
        assert int(number.replace(",", "")) > 30, done.stderr


def test_a_file_is_known_by_its_number() -> None:
    """Seed and number give the same bytes in every process."""
    digest = (
        "import hashlib\nfrom tests.hostile.mutations import mutated\n"
        "print(hashlib.sha256(b''.join(mutated(5, number) for number in range(300))).hexdigest())"
    )
    here = hashlib.sha256(b"".join(mutated(5, number) for number in range(300))).hexdigest()
    assert _python("-c", digest, PYTHONHASHSEED="1").stdout == here + "\n"


_PLANTED = """
import json, os, signal, sys
from tests.hostile import fuzz
def hang():
    while True: pass
bugs = {
    fuzz.mutated(7, 3): lambda: 1 / 0,
    fuzz.mutated(7, 6): lambda: os.kill(os.getpid(), signal.SIGSEGV),
    fuzz.mutated(7, 9): lambda: b"x" * (1 << 30),
    fuzz.mutated(7, 12): hang,
}
def check(raw):
    bugs.get(raw, str)()
    return "read"
"""


def test_a_bug_is_found_and_the_run_goes_on() -> None:
    """Errors, a dead process, memory and a hang, each at its file; all other files are read."""
    code = """
done = 0
def note(files, findings):
    global done
    done = files
outcome = fuzz.run(7, 20, jobs=2, check=check, seconds=0.3, on_progress=note)
print(json.dumps([done, [[finding.number, finding.what] for finding in outcome.findings]]))
"""
    ran = _python("-c", _PLANTED + code)
    done, findings = json.loads(ran.stdout)
    assert [number for number, _ in findings] == [3, 6, 9, 12]
    for (_, what), words in zip(
        findings, ("ZeroDivisionError", "SIGSEGV", "MemoryError", "too much processor time"), strict=True
    ):
        assert words in what
    assert done == 20


def test_a_finding_can_be_replayed() -> None:
    """Exit 1, with seed, number, bytes, and the command that reads this one file again."""
    code = 'del bugs[fuzz.mutated(7, 12)]; sys.exit(fuzz.main("--seed 7 --count 8 --jobs 2".split(), check))'
    ran = _python("-c", _PLANTED + code)
    assert ran.returncode == 1
    assert "file 3 of seed 7: Traceback" in ran.stderr
    assert f"bytes: {mutated(7, 3).hex()}" in ran.stderr
    assert "again: python -m tests.hostile.fuzz --seed 7 --first 3 --count 1" in ran.stderr
    again = 'sys.exit(fuzz.main("--seed 7 --first 3 --count 1".split(), check))'
    assert "ZeroDivisionError" in _python("-c", _PLANTED + again).stderr


def test_what_still_reads_is_stored_as_it_is(settings: Settings, tmp_path: Path) -> None:
    """Forty mutated files that sgdb reads, into one database: each is taken whole, or rejected because
    of what others have brought; then every value is that of the originals."""
    folder = tmp_path / "mutated"
    folder.mkdir()
    found = 0
    for number in count():
        raw = mutated(2, number)
        if found == 40:
            break
        if check(raw) == "read":
            (folder / f"{number}.pkl").write_bytes(raw)
            found += 1
    result = migrate(settings, folder)
    assert len(result.files) == 40
    assert {type(report.refusal).__name__ for report in result.files} <= {"NoneType", "ConflictError"}
    assert sum(report.status == "migrated" for report in result.files) >= 8
    verified = verify(VerifyOptions(), settings)
    assert [verdict for verdict in verified.files if verdict.status != "equal"] == []
    assert all(check.ok for check in verified.checks), verified.checks
