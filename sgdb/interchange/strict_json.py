"""JSON as a database can keep it: what Python's reader lets pass beyond that is refused."""

from __future__ import annotations

import json
import math
from typing import Any

from sgdb.errors import ValueRefusedError
from sgdb.pickles.attributes import storable_text

MAX_DEPTH = 100
_MAX_BITS = 1024  # of an integer, as in `sgdb.pickles.attributes`


def loads(text: str | bytes) -> Any:
    """The value of a JSON text (RFC 8259).

    Raises ValueRefusedError for what is none, and for what PostgreSQL would not give back as it is: NaN and
    the infinities, a name twice in one object, characters that it cannot store, more than 100 levels.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueRefusedError("nested too deeply") from None
    except ValueError as error:
        raise ValueRefusedError(f"no JSON: {error}") from None
    require_storable(value)
    return value


def require_storable(value: Any) -> None:
    """Raises ValueRefusedError where PostgreSQL could not hold this JSON value."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueRefusedError(f"nested more than {MAX_DEPTH} levels deep")
        below: list[Any] = []
        for each in level:
            if type(each) is list:
                below += [item for item in each if type(item) is not int or _is_large(item)]
            elif type(each) is dict:
                below += each.keys()
                below += each.values()
            elif type(each) is str and not storable_text(each):
                raise ValueRefusedError("a text with a character that PostgreSQL cannot store")
            elif type(each) is int and _is_large(each):
                raise ValueRefusedError(f"an integer of {each.bit_length()} bits is too large")
        level, depth = below, depth + 1


def compact(text: str) -> str:
    """A JSON text of the database on one line."""
    return text if "\n" not in text and "\r" not in text else json.dumps(json.loads(text), ensure_ascii=False)


def _is_large(value: int) -> bool:
    return value.bit_length() > _MAX_BITS


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueRefusedError("an object with one name twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueRefusedError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueRefusedError(f"the number {digits[:40]} is too large")
    return value
