"""What programs hand in: checked by columns, or row by row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdb.errors import SgdbError
from sgdb.records import BotPerformance
from sgdb.storage import values
from sgdb.storage.values import checked_results


class Alike(str):
    """A text of another class."""


class Row(BotPerformance):
    """A record of another class."""


_ODD: list[tuple[str, Any]] = [
    ("bot_name", "B"),
    ("bot_name", Alike("A")),
    ("bot_name", None),
    ("bot_name", "\0"),
    *((name, odd) for name in BotPerformance._fields[1:5] for odd in (-1, 2**31, True, 1.0, None, "1", 2)),
    ("completed", 1),
    ("completed", None),
    ("metadata", {}),
    ("metadata", {"attributes": {"a": 1}}),
    ("metadata", {"other": 1}),
    ("metadata", 7),
]


@settings(max_examples=150, deadline=None)
@given(
    ids=st.lists(st.integers(0, 9), max_size=8) | st.integers(0, 8).map(range).map(list),
    odd=st.lists(st.tuples(st.integers(0, 7), st.sampled_from(_ODD)), max_size=2),
    part=st.integers(1, 4),
    other_class=st.booleans(),
)
def test_by_columns_or_by_rows(
    ids: list[int], odd: list[tuple[int, tuple[str, Any]]], part: int, other_class: bool
) -> None:
    """The same rows come out, or the same refusal, wherever the odd one stands."""
    rows = [BotPerformance("A", number, 4, 2, 3, False) for number in ids]
    for at, (name, value) in odd:
        if at < len(rows):
            rows[at] = rows[at]._replace(**{name: value})
    if other_class and rows:
        rows[-1] = Row(*rows[-1])
    seen = []
    for in_columns in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(values, "_PART", part)
            if not in_columns:
                patch.setattr(values, "_as_stored", lambda _bot, _rows: False)
            try:
                seen.append(repr(checked_results("A", rows)))
            except SgdbError as error:
                seen.append(error.message)
    assert seen[0] == seen[1].replace("Row(", "BotPerformance(")


def test_what_is_given_may_change_afterwards() -> None:
    """The list is the program's own."""
    rows = [BotPerformance("A", number, 4, 2, 3, False) for number in range(3)]
    checked = checked_results("A", rows)
    rows.clear()
    assert [row.game_id for row in checked] == [0, 1, 2]
