"""Values that no column is made for, as JSON that comes back as the same Python value.

JSON, and PostgreSQL's JSONB still more, knows less than a pickle. What it would change is written as an
object with a single key:

- `{"$float": "nan"}`: NaN, the infinities, -0.0, and floats that JSONB would give back as integers;
- `{"$tuple": [...]}`: a tuple;
- `{"$dict": [[key, value], ...]}`: a dict one of whose keys begins with a dollar sign.

Texts that PostgreSQL cannot hold (a NUL, a lone surrogate) are refused. What is not kept: the order of a
dict's keys, which JSONB sorts, and the payload of a NaN.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sgdb.errors import ValueRefusedError
from sgdb.pickles.inert import shown

_MAX_DEPTH = 20
_MAX_VALUES = 10_000
_MAX_TEXT = 1 << 20  # characters in all texts of one value
_MAX_BITS = 1024  # of an integer


def storable_text(text: str) -> bool:
    """Whether PostgreSQL can hold this text: no NUL, no lone surrogates."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_json(value: Any, where: str) -> Any:
    """The JSON form of plain data. Raises ValueRefusedError, naming `where`, for what has none."""
    return _Encoder(where).encode(value, 0)


def further(entries: Iterable[tuple[str, Any]], where: str) -> dict[str, Any]:
    """Attributes or entries that no column is made for, by name, each in its JSON form.

    Raises ValueRefusedError, naming `where` and the attribute.
    """
    found = {}
    for name, value in entries:
        place = f"{where}, field {shown(name)}"
        if not storable_text(name):
            raise ValueRefusedError(f"{place}: the name holds a character that PostgreSQL cannot store")
        found[name] = to_json(value, place)
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two JSON forms stand for the same value; unlike Python, 1, 1.0 and True are told apart."""
    return one is other or json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def from_json(value: Any) -> Any:
    """The value that `to_json` was given."""
    if type(value) is list:
        return [from_json(item) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key == "$float":
            return float(inner)
        if key == "$tuple":
            return tuple(from_json(item) for item in inner)
        if key == "$dict":
            return {name: from_json(item) for name, item in inner}
    return {name: from_json(item) for name, item in value.items()}


class _Encoder:
    def __init__(self, where: str) -> None:
        self._where = where
        self._values = 0
        self._characters = 0

    def _refused(self, why: str) -> ValueRefusedError:
        return ValueRefusedError(f"{self._where}: {why}")

    def encode(self, value: Any, depth: int) -> Any:
        self._values += 1
        if depth > _MAX_DEPTH or self._values > _MAX_VALUES:
            raise self._refused("nested too deeply or too large to be kept as an attribute")
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return self._text(value)
        if kind is int:
            if value.bit_length() > _MAX_BITS:
                raise self._refused(f"an integer of {value.bit_length()} bits is too large")
            return value
        if kind is float:
            text = repr(value)
            plain = "." in text and "e" not in text and text != "-0.0"
            return value if plain else {"$float": text}
        if kind is list:
            return [self.encode(item, depth + 1) for item in value]
        if kind is tuple:
            return {"$tuple": [self.encode(item, depth + 1) for item in value]}
        if kind is dict:
            return self._dict(value, depth)
        raise self._refused(f"{shown(value)} where plain data is expected")

    def _text(self, value: str) -> str:
        self._characters += len(value)
        if self._characters > _MAX_TEXT:
            raise self._refused(f"more than {_MAX_TEXT} characters of text")
        if not storable_text(value):
            raise self._refused(f"{shown(value)} holds a character that PostgreSQL cannot store")
        return value

    def _dict(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        pairs = [(self._text(key), self.encode(item, depth + 1)) for key, item in value.items()]
        if any(key.startswith("$") for key, _ in pairs):
            return {"$dict": [list(pair) for pair in pairs]}
        return dict(pairs)
