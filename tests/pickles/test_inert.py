"""Inert data: showing it is safe and quick, counting it ends."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from sgdb.pickles.inert import ClassRef, Instance, RowList, count_values, shown
from sgdb.pickles.times import Maker

CONFIG = Instance(ClassRef("m", "GameConfig", False), {"a": [1, 2]})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "'a'"),
        ("\x1b[31m\n\0\u202e\ud800é", r"'\x1b[31m\n\x00\u202e\ud800\xe9'"),
        (1, "1"),
        (True, "True"),
        (None, "None"),
        (float("nan"), "nan"),
        (10**400, "an integer of 1329 bits"),
        ([1, (2, "x")], "[1, (2, 'x')]"),
        ({"k": 1}, "{'k'}"),
        (CONFIG, "a GameConfig"),
        (datetime(2025, 1, 2, 3, 4, 5, 6), "2025-01-02T03:04:05.000006"),  # noqa: DTZ001
        (b"\x1b[2J", "4 bytes"),
        (Maker("datetime", "datetime"), "a class"),
        (RowList(1), "games or results"),
    ],
)
def test_values_are_shown_escaped(value: Any, expected: str) -> None:
    """In ASCII, without control characters."""
    assert shown(value) == expected


def test_anything_is_shown_quickly_and_briefly() -> None:
    """Long, deep, exponential or cyclic."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep, deep]
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    for value in (deep, cyclic, "\x1b" * 10**6, ["\x1b" * 10**6] * 10**6, {"\n" * 99: 1}, 1 << 10**6):
        text = shown(value)
        assert len(text) <= 80
        assert text.isascii()
        assert text.isprintable()
    assert shown("x" * 300).endswith("...")
    assert len(shown("x" * 300, 40)) == 40


def test_values_are_counted_as_written_out() -> None:
    """A dict counts its keys; what is shared counts each time; counting stops beyond the limit."""
    assert count_values(1, 10) == 1
    assert count_values([1, [2, 3]], 99) == 6
    assert count_values({"a": (1,)}, 99) == 5
    assert count_values(CONFIG, 99) == 6
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    assert count_values(value, 1000) > 1000
