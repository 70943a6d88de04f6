"""The corpus would notice a weaker reader: three that are often taken for safe fail before the same judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.corpus import FOR_READERS
from tests.hostile.judge import (
    ACCEPTED,
    RAN_CODE,
    SPOILT,
    TOOK_MEMORY,
    TOOK_TIME,
    failures,
)


@pytest.mark.parametrize(
    ("reader", "ran"),
    [
        ("plain", ["reduce-0", "reduce-5", "inst-2", "obj-1", "os.system", "build-setstate", "pickle.loads"]),
        ("prefix", ["builtins.exec", "call-for-a-number", "dotted-os", "build-setstate-dotted", "ext1"]),
        ("exact", ["ext1", "ext2", "ext4"]),
    ],
)
@pytest.mark.slow
def test_a_weak_reader_turns_the_suite_red(reader: str, ran: list[str], tmp_path: Path) -> None:
    """`pickle.load`, an allow-list of modules, and one of exact classes: each runs code, hangs, takes a
    gigabyte, spoils the reading of the next file, and takes what no benchmark is for one."""
    expected = dict.fromkeys(ran, RAN_CODE) | {
        "laughing-key": TOOK_TIME,
        "memo-huge": TOOK_MEMORY,
        "build-a-class": SPOILT,
        "build-twice": ACCEPTED,
        "two-pickles": ACCEPTED,
        "newobj-with-arguments": ACCEPTED,
    }
    cases = [FOR_READERS[name] for name in expected]
    # A second instead of two: what hangs does not end in either.
    found = failures(reader, cases, tmp_path / "corpus", cpu_seconds=1)
    for name, kind in expected.items():
        assert any(line.startswith(f"{name} ") for line in found[kind]), (kind, found)
