"""Metrics and hyperparameters on their way into JSON and back."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, cast, select
from sqlalchemy.dialects.postgresql import JSONB

from sgdb.errors import ValueRefusedError
from sgdb.pickles.attributes import from_json
from sgdb.storage.metrics import as_json

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_NAMES = _TEXT.filter(lambda name: not name.startswith("$"))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**1000), 2**1000) | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal, with NaN equal to itself and kinds of numbers told apart."""
    return repr(one) == repr(other)


def in_order(value: Any) -> Any:
    """The value with its dicts sorted, as JSONB has them."""
    if isinstance(value, dict):
        return {name: in_order(value[name]) for name in sorted(value)}
    return [in_order(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(_NAMES, _VALUES, max_size=5))
def test_everything_comes_back(values: dict[str, Any]) -> None:
    """Whatever plain values are given, the same come back, by way of JSON that has no NaN."""
    found = as_json(values, "metrics")
    assert same(from_json(json.loads(json.dumps(found, allow_nan=False))), values)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(_NAMES, _VALUES, max_size=5), max_size=40))
@pytest.mark.no_cover
def test_the_database_gives_back_the_same(engine: Engine, documents: list[dict[str, Any]]) -> None:
    """JSONB rewrites numbers, and yet each comes back as what it was."""
    stored = [as_json(values, "metrics") for values in documents]
    if not stored:
        return
    with engine.connect() as connection:
        found = connection.execute(
            select(*(cast(each, JSONB).label(f"c{n}") for n, each in enumerate(stored)))
        )
        rows = list(found.one())
    for values, row in zip(documents, rows, strict=True):
        assert same(in_order(from_json(row)), in_order(values))


def test_numbers_are_numbers() -> None:
    """What SQL is to compare and draw is a number there, small ones too, unless JSON has none for it."""
    found = as_json({"loss": 1e-7, "steps": 10, "mean": 0.5, "far": math.inf, "huge": 1e22}, "metrics")
    assert found == {
        "loss": 1e-7,
        "steps": 10,
        "mean": 0.5,
        "far": {"$float": "inf"},
        "huge": {"$float": "1e+22"},
    }


def test_other_libraries() -> None:
    """Scalars of numpy, and what else has one `item()`, are the numbers that they are; tuples are lists."""

    class Tensor:
        def item(self) -> float:
            return 0.25

    given_values = {
        "float32": np.float32(0.5),
        "float64": np.float64("nan"),
        "int64": np.int64(7),
        "bool": np.bool_(True),
        "one": np.array([3]),
        "tensor": Tensor(),
        "shape": (8, 8),
    }
    assert as_json(given_values, "metrics") == {
        "float32": 0.5,
        "float64": {"$float": "nan"},
        "int64": 7,
        "bool": True,
        "one": 3,
        "tensor": 0.25,
        "shape": [8, 8],
    }


def _deep() -> Any:
    found: Any = 1
    for _ in range(30):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"a": object()}, "'a': <object", id="an object"),
        ({"a": {"b": [1, b"bytes"]}}, "'b': b'bytes' is no plain value"),
        ({"a": np.zeros(3)}, "no plain value"),
        ({1: 2}, "1 is no name"),
        ({"$float": "nan"}, "no name that can be kept"),
        ({"a\0": 1}, "no name"),
        ({"a": "x\udcff"}, "cannot be stored"),
        ({"a": 2**2000}, "2001 bits is too large"),
        ({"a": _deep()}, "nested too deeply"),
        ({"a": "x" * (1 << 20)}, "more than 1,048,576 characters"),
        ([("a", 1)], "is no dict"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_cannot_be_kept_is_named(values: Any, said: str) -> None:
    """A value that would not come back is refused, with where it stands."""
    with pytest.raises(ValueRefusedError) as caught:
        as_json(values, "metrics")
    assert caught.value.message.startswith("metrics")
    assert said in caught.value.message


def test_a_dict_that_holds_itself_is_refused() -> None:
    """It does not go on for ever."""
    values: dict[str, Any] = {}
    values["self"] = values
    with pytest.raises(ValueRefusedError, match="nested too deeply"):
        as_json(values, "metrics")
