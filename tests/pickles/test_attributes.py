"""Further attributes: any plain value through JSON and back, unchanged."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdb.errors import ValueRefusedError
from sgdb.pickles import attributes
from sgdb.pickles.inert import ClassRef, Instance, RowList

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
keys = texts | st.sampled_from(["$float", "$tuple", "$dict", "$datetime", "$"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.datetimes()
    | st.datetimes().map(lambda time: time.replace(fold=1))
    | st.sampled_from([1e22, -0.0, 1e-7, 2**900, 5e-324]),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=20,
)


def exactly(value: Any) -> Any:
    """Text that tells types, signs and NaN apart, but not the order of dict keys."""
    if type(value) is dict:
        return sorted((key, exactly(item)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value).__name__, [exactly(item) for item in value]
    return repr(value)


@given(values)
def test_values_come_back_from_json(value: Any) -> None:
    """Through the text of a strict JSON that knows neither NaN nor tuples."""
    travelled = json.loads(json.dumps(attributes.to_json(value, "here"), allow_nan=False))
    assert exactly(attributes.from_json(travelled)) == exactly(value)


@given(st.floats())
def test_floats_look_like_floats_in_jsonb(value: float) -> None:
    """JSONB reads a number as a decimal: only what prints with a point and no exponent is left bare."""
    stored = attributes.to_json(value, "here")
    if type(stored) is float:
        assert "." in json.dumps(stored)
        assert "e" not in json.dumps(stored)
    back = attributes.from_json(stored)
    assert math.isnan(back) if math.isnan(value) else struct.pack("d", back) == struct.pack("d", value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a\0b", "'a\\x00b' holds a character that PostgreSQL cannot store"),
        (["\ud800"], "cannot store"),
        ({"\0": 1}, "cannot store"),
        (1 << 1024, "an integer of 1025 bits is too large"),
        ([0] * 10_000, "too large"),
        (["x" * 600_000] * 2, "more than 1048576 characters of text"),
        (Instance(ClassRef("m", "GameConfig", False), {}), "a GameConfig where plain data is expected"),
        ([RowList(0)], "games or results where plain data is expected"),
        (ClassRef("m", "GameConfig", False), "a class where plain data is expected"),
    ],
)
def test_what_cannot_be_kept_is_refused(value: Any, why: str) -> None:
    """With the place and the reason."""
    with pytest.raises(ValueRefusedError) as caught:
        attributes.to_json(value, "game 3, field 'x'")
    assert caught.value.message.startswith("game 3, field 'x': ")
    assert why in caught.value.message


def test_depth_is_bounded() -> None:
    """However deep a value is nested."""
    value: Any = 1
    for _ in range(100_000):
        value = (value,)
    with pytest.raises(ValueRefusedError, match="nested too deeply"):
        attributes.to_json(value, "here")


def test_exponential_values_are_refused_quickly() -> None:
    """Sharing makes 2**60 values out of sixty lists."""
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    with pytest.raises(ValueRefusedError, match=r"too large|nested"):
        attributes.to_json(value, "here")


def test_names_are_values_too() -> None:
    """An attribute's name is kept as it is, or refused; a message shows it escaped."""
    assert attributes.further([("$x\n", 1.5), ("", None)], "here") == {"$x\n": 1.5, "": None}
    with pytest.raises(ValueRefusedError, match=r"here, field 'a\\x00': the name holds"):
        attributes.further([("a\0", 1)], "here")


def test_the_attributes_of_one_record_are_counted_together() -> None:
    """Many of them are no way around the bounds; names and digits count, and the last one is named."""
    for entries, why in (
        ([(f"x{i}", [0] * 999) for i in range(11)], r"here, field 'x10': .* too large"),
        ([(f"x{i}", "t" * 300_000) for i in range(4)], "here, field 'x3': more than 1048576 characters"),
        ([(f"{i}" * 300_000, 0) for i in range(4)], "here, field '3333.*more than 1048576 characters"),
        ([(f"x{i}", [1 << 1023] * 1000) for i in range(4)], "here, field 'x3': more than 1048576 characters"),
    ):
        with pytest.raises(ValueRefusedError, match=why):
            attributes.further(entries, "here")


def test_a_file_has_room_for_text_in_proportion_to_its_size() -> None:
    """Sixteen million characters, and sixteen for each of its bytes."""
    room = attributes.Room(100)
    room.take(16 * 2**20 + 1590, "here")
    attributes.further([("name", 255)], "here", room)  # four letters, and about two digits
    with pytest.raises(ValueRefusedError, match="game 7: the rows up to here hold more text than a file"):
        attributes.further([("name", "value")], "game 7", room)


def test_same_is_stricter_than_python() -> None:
    """1, 1.0 and True are three values; the order of keys is none."""
    assert attributes.same({"a": 1, "b": [2]}, {"b": [2], "a": 1})
    assert not attributes.same(1, True)
    assert not attributes.same({"a": 1}, {"a": 1.0})
    assert not attributes.same(None, {})
