"""Every truncation and every flipped bit of a small file of each layout: refused, or read and noticed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from sgdb.errors import DamagedPickleError, InputRefusedError
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.settings import Settings
from tests.legacy import benchmark, dump
from tests.pickles.reading import BytesSource, parsed_somehow, read
from tests.steps import migrate

PROTOCOLS = {"A": 4, "B": 2, "C": 5, "D": 3}


def small(layout: str) -> bytes:
    """A file as the old system wrote them, with two games, two results, and an attribute that no column is
    for; its base seed is none of those that sgdb looks for, but for layout A."""
    data = benchmark(layout, (2, 2, 3), 2, 42 if layout == "A" else 123_456, ("bot",), num_results=2)
    data["origin"] = "x"
    if layout != "D":
        data["results"]["bot"][0].seconds = 0.5
    return dump(data, PROTOCOLS[layout])


def damaged(raw: bytes) -> Iterator[bytes]:
    """The file with each of its bits flipped."""
    for at in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[at // 8] ^= 1 << at % 8
        yield bytes(changed)


def readable(raw: bytes) -> bool:
    """Whether it is read to its end."""
    return everything(raw, "file.pkl") is not None


def everything(raw: bytes, name: str) -> str | None:
    """All that a file holds, boards that follow from it included; None when it is refused."""
    try:
        found = read(BytesSource(raw, name))
        drawn = list(found.file.regenerated_batches())
    except InputRefusedError:
        return None
    return repr((found.file.contents, found.games, found.results, drawn))


@pytest.mark.parametrize("layout", PROTOCOLS)
def test_every_truncation_is_refused(layout: str) -> None:
    """A file that is cut off anywhere is damaged, not smaller; read in one step or opcode by opcode."""
    raw = small(layout)
    for length in range(len(raw)):
        with pytest.raises(InputRefusedError):
            read(raw[:length])
        with pytest.raises(DamagedPickleError):
            parsed_somehow(raw[:length], accelerate=False)


@pytest.mark.parametrize(
    "layout", ["C", *(pytest.param(layout, marks=pytest.mark.survival) for layout in "ABD")]
)
def test_every_flipped_bit_is_refused_or_read(layout: str) -> None:
    """No other error comes out; whatever still reads has another SHA-256 than the one on record, which is
    that of the very bytes."""
    raw = small(layout)
    kept = 0
    for changed in damaged(raw):
        try:
            file = read(changed).file
            list(file.regenerated_batches())
        except InputRefusedError:
            continue
        kept += 1
        assert file.sha256 == hashlib.sha256(changed).hexdigest() != hashlib.sha256(raw).hexdigest()
    assert 100 < kept < 2 * len(raw)


def test_verify_finds_damage_that_can_be_read(settings: Settings, tmp_path: Path) -> None:
    """Whatever still reads, and holds other values than the file that was migrated, is told to be different
    or missing; what does not read, to be unreadable, unless its set is missing already; and bytes that mean
    the same are no difference."""
    originals = {tmp_path / f"{layout}.pkl": small(layout) for layout in PROTOCOLS}
    for path, raw in originals.items():
        path.write_bytes(raw)
    assert [report.error for report in migrate(settings, tmp_path).files] == [None] * 4
    seen: Counter[str] = Counter()
    # Mostly of those that can still be read.
    samples = [
        [
            changed
            for at, changed in enumerate(damaged(raw))
            if at % 500 == 0 or (at % 37 == 0 and readable(changed))
        ]
        for raw in originals.values()
    ]
    for several in zip_longest(*samples):
        for (path, raw), changed in zip(originals.items(), several, strict=True):
            path.write_bytes(changed or raw)
        for verdict in verify(VerifyOptions((tmp_path,)), settings).files:
            path = Path(verdict.path)
            found = everything(path.read_bytes(), path.name)
            if found is None:
                assert verdict.status in ("unreadable", "missing")
            elif found == everything(originals[path], path.name):
                assert verdict.status == "equal"
            else:
                assert verdict.status in ("different", "missing"), found
            seen[verdict.status] += 1
    assert min(seen[status] for status in ("unreadable", "different", "missing", "equal")) > 2, seen
