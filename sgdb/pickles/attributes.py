"""Values that no column is made for, as JSON that comes back as the same Python value.

JSON, and PostgreSQL's JSONB still more, knows less than a pickle. What it would change is written as an
object with a single key:

- `{"$float": "nan"}`: NaN, the infinities, -0.0, and floats that JSONB would give back as integers;
- `{"$tuple": [...]}`: a tuple;
- `{"$datetime": "2025-01-02T03:04:05"}`: a naive time, as checkpoints have them; `["...", 1]` if its `fold`
  is 1;
- `{"$dict": [[key, value], ...]}`: a dict one of whose keys begins with a dollar sign.

Texts that PostgreSQL cannot hold (a NUL, a lone surrogate) are refused. What is not kept: the order of a
dict's keys, which JSONB sorts, and the payload of a NaN.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sgdb.errors import ValueRefusedError
from sgdb.pickles.inert import shown

# Of one record's attributes together.
_MAX_DEPTH = 20
_MAX_VALUES = 10_000
_MAX_TEXT = 1 << 20  # characters in all texts and names, and digits
_MAX_BITS = 1024  # of an integer
# Of all records of a file, in characters.
_FREE_TEXT = 1 << 24
_TEXT_PER_BYTE = 16


def storable_text(text: str) -> bool:
    """Whether PostgreSQL can hold this text: no NUL, no lone surrogates."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_plain(value: float) -> bool:
    """Whether JSONB gives this number back as the same float."""
    text = repr(value)
    return "." in text and "e" not in text and text != "-0.0"


class Room:
    """How much text the rows of one file may bring, each written out.

    A pickle holds a text once and names it again in a few bytes; a database holds it in every row. So a
    file of a megabyte could fill a disk.
    """

    def __init__(self, file_size: int) -> None:
        self._left = _FREE_TEXT + _TEXT_PER_BYTE * file_size

    def take(self, characters: int, where: str) -> None:
        """Counts what a row brings. Raises ValueRefusedError, naming `where`, when it is too much."""
        self._left -= characters
        if self._left < 0:
            raise ValueRefusedError(
                f"{where}: the rows up to here hold more text than a file of this size accounts for"
            )


def to_json(value: Any, where: str) -> Any:
    """The JSON form of plain data. Raises ValueRefusedError, naming `where`, for what has none."""
    return _Encoder(where).encode(value, 0)


def further(entries: Iterable[tuple[str, Any]], where: str, room: Room | None = None) -> dict[str, Any]:
    """Attributes or entries that no column is made for, by name, each in its JSON form; counted in `room`.

    Raises ValueRefusedError, naming `where` and the attribute.
    """
    found = {}
    encoder = _Encoder(where)
    for name, value in entries:
        encoder.where = f"{where}, field {shown(name)}"
        if not storable_text(name):
            raise ValueRefusedError(
                f"{encoder.where}: the name holds a character that PostgreSQL cannot store"
            )
        encoder.count(len(name))
        found[name] = encoder.encode(value, 0)
    if room is not None:
        room.take(encoder.characters, where)
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
        if key == "$datetime":
            return _time(inner)
        if key == "$tuple":
            return tuple(from_json(item) for item in inner)
        if key == "$dict":
            return {name: from_json(item) for name, item in inner}
    return {name: from_json(item) for name, item in value.items()}


def _time(form: Any) -> datetime:
    text, fold = (form, 0) if type(form) is str else form
    return datetime.fromisoformat(text).replace(fold=fold)


class _Encoder:
    """Encodes values and counts what they take together."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.characters = 0
        self._values = 0

    def _refused(self, why: str) -> ValueRefusedError:
        return ValueRefusedError(f"{self.where}: {why}")

    def count(self, characters: int) -> None:
        """Adds to the size of what is encoded."""
        self.characters += characters
        if self.characters > _MAX_TEXT:
            raise self._refused(f"more than {_MAX_TEXT} characters of text")

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
            self.count(value.bit_length() // 3)
            return value
        if kind is float:
            return value if is_plain(value) else {"$float": repr(value)}
        if kind is datetime and value.tzinfo is None:
            text = value.isoformat()
            return {"$datetime": [text, 1] if value.fold else text}
        if kind is list:
            return [self.encode(item, depth + 1) for item in value]
        if kind is tuple:
            return {"$tuple": [self.encode(item, depth + 1) for item in value]}
        if kind is dict:
            return self._dict(value, depth)
        raise self._refused(f"{shown(value)} where plain data is expected")

    def _text(self, value: str) -> str:
        self.count(len(value))
        if not storable_text(value):
            raise self._refused(f"{shown(value)} holds a character that PostgreSQL cannot store")
        return value

    def _dict(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        pairs = [(self._text(key), self.encode(item, depth + 1)) for key, item in value.items()]
        if any(key.startswith("$") for key, _ in pairs):
            return {"$dict": [list(pair) for pair in pairs]}
        return dict(pairs)
