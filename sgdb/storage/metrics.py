"""Metrics and hyperparameters: what programs hand in, as JSON that is good to ask questions about.

A number stays a number, so that SQL can compare and draw it; NaN, the infinities, -0.0, and floats that JSONB
would give back as integers become `{"$float": "nan"}`, as in `sgdb.pickles.attributes`, whose `from_json`
reads both. Tuples become lists. Scalars of other libraries, such as numpy's or a tensor with one value, are
taken for the number that their `item()` is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from sgdb.errors import ValueRefusedError
from sgdb.pickles.attributes import storable_text

_MAX_DEPTH = 20
_MAX_TEXT = 1 << 20  # characters of one document
_MAX_BITS = 1024  # of an integer
_INTEGRAL = 1e15  # from here on a float may be written without a point


def as_json(values: Mapping[str, Any] | None, what: str) -> dict[str, Any] | None:
    """The JSON form of named values, None where there are none.

    Raises ValueRefusedError, naming `what` and the value, for what cannot be kept: a name that is no text, an
    object that is no plain data, nesting without end, more than a megabyte.
    """
    if values is None:
        return None
    if not isinstance(values, Mapping):
        raise ValueRefusedError(f"{what}: {values!a:.80} is no dict", hint="give a dict of names and values")
    found = _object(values, what, 0)
    if len(json.dumps(found)) > _MAX_TEXT:
        raise ValueRefusedError(
            f"{what}: more than {_MAX_TEXT:,} characters", hint="keep large data in a file of its own"
        )
    return found


def _object(values: Mapping[Any, Any], where: str, depth: int) -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        if not isinstance(name, str) or not storable_text(name) or name.startswith("$"):
            raise ValueRefusedError(
                f"{where}: {name!a:.80} is no name that can be kept",
                hint="names are texts that do not begin with a dollar sign",
            )
        found[str(name)] = _value(value, f"{where}, {name!a:.80}", depth + 1)
    return found


def _value(value: Any, where: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueRefusedError(f"{where}: nested too deeply")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not storable_text(value):
            raise ValueRefusedError(f"{where}: {value!a:.80} holds a character that cannot be stored")
        return str(value)
    if isinstance(value, int):
        if value.bit_length() > _MAX_BITS:
            raise ValueRefusedError(f"{where}: an integer of {value.bit_length()} bits is too large")
        return int(value)
    if isinstance(value, float):
        return _number(float(value))
    if isinstance(value, Mapping):
        return _object(value, where, depth)
    if isinstance(value, list | tuple):
        return [_value(item, where, depth + 1) for item in value]
    return _scalar(value, where)


def _number(value: float) -> Any:
    is_plain = math.isfinite(value) and abs(value) < _INTEGRAL and (value or math.copysign(1, value) > 0)
    return value if is_plain else {"$float": repr(value)}


def _scalar(value: Any, where: str) -> Any:
    """A number of another library."""
    try:
        plain = value.item()
    except Exception:  # whatever an object that is none says to that
        plain = value
    if not isinstance(plain, bool | int | float | str):
        raise ValueRefusedError(
            f"{where}: {value!a:.80} is no plain value",
            hint="give numbers, texts, lists and dicts; of anything else, str(...)",
        )
    return _value(plain, where, _MAX_DEPTH)
