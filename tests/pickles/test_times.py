"""Times in pickles: read from their bytes, written back, and nothing else made of a call."""

from __future__ import annotations

import io
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sgdb.errors import UnsafePickleError
from sgdb.pickles.layouts import CLASSES
from sgdb.pickles.parser import PickleParser
from sgdb.pickles.times import bytes_of, time_of

FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001
times = st.datetimes(allow_imaginary=True) | st.datetimes().map(lambda time: time.replace(fold=1))


def _read(raw: bytes, **options: Any) -> Any:
    parser = PickleParser(io.BytesIO(raw), CLASSES, **options)
    for _ in parser.batches():
        pass
    return parser.tree


@given(times, st.integers(2, 5), st.booleans())
@example(FIRST, 2, False)
@example(LAST, 4, True)
def test_every_time_is_read_as_it_was_written(time: datetime, protocol: int, python: bool) -> None:
    """By either pickler, in every protocol, shared or not; `fold` where the protocol has it."""
    if python:
        file = io.BytesIO()
        pickle._Pickler(file, protocol).dump([time, {"again": time}])  # type: ignore[attr-defined]
        raw = file.getvalue()
    else:
        raw = pickle.dumps([time, {"again": time}], protocol)
    expected = pickle.loads(raw)
    found = _read(raw, remember=True, times=True)
    assert repr(found) == repr(expected)
    assert type(found[0]) is datetime


@given(times)
def test_bytes_are_those_of_the_pickler(time: datetime) -> None:
    """Both ways, `fold` included."""
    assert bytes_of(time) == time.__reduce_ex__(4)[1][0]
    assert repr(time_of(bytes_of(time))) == repr(time)


@given(st.binary(min_size=10, max_size=10))
def test_any_ten_bytes_are_a_time_or_none(raw: bytes) -> None:
    """Exactly those that Python itself would take."""
    try:
        expected: datetime | None = datetime(raw)  # type: ignore[arg-type, call-arg]  # noqa: DTZ001
    except (TypeError, ValueError):
        expected = None
    found = time_of(raw)
    if found is not None:
        assert repr(found) == repr(expected)
        assert bytes_of(found) == raw
    elif expected is not None:  # Python looks at the month only, and makes times that there are not
        with pytest.raises(ValueError):
            datetime.fromisoformat(expected.isoformat())


def test_benchmarks_hold_no_times() -> None:
    """Where nobody expects them, the class is unknown, and REDUCE and bytes are what they always were."""
    raw = pickle.dumps(FIRST, 4)
    with pytest.raises(UnsafePickleError, match=r"unknown class 'datetime\.datetime'"):
        _read(raw)
    with pytest.raises(UnsafePickleError, match="opcode SHORT_BINBYTES, which benchmark files do not use"):
        _read(pickle.dumps(b"0123456789", 4))
    with pytest.raises(UnsafePickleError, match="opcode REDUCE, which benchmark files do not use"):
        _read(b"\x80\x04NN\x85R.")


def test_times_with_a_zone_are_refused() -> None:
    """Checkpoints have none, and a zone would be a second call."""
    with pytest.raises(UnsafePickleError, match=r"unknown class 'datetime\.timezone'"):
        _read(pickle.dumps(datetime.now(UTC), 4), remember=True, times=True)
