"""Times in pickles: the one thing made by REDUCE that is read.

A `datetime.datetime` without a time zone is pickled as a call of its class with ten bytes: the year in two,
month, day, hour, minute, second in one each, microseconds in three; the highest bit of the month is `fold`
(CPython, `Modules/_datetimemodule.c`). Protocol 2 has no bytes: it has them made by `_codecs.encode` from a
text in Latin-1. Neither is looked up or called here. Both are names in a table, and what they would make of
exactly these arguments is worked out from the bytes; anything else is refused by whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

TIME_BYTES = 10
_FOLD = 0x80


class Maker(NamedTuple):
    """The name of a known function. It is no class: no instance is made of it."""

    module: str
    name: str


_DATETIME = Maker("datetime", "datetime")
_ENCODE = Maker("_codecs", "encode")
MAKERS: Mapping[tuple[str, str], Maker] = {
    (maker.module, maker.name): maker for maker in (_DATETIME, _ENCODE)
}


def made(maker: object, arguments: object, protocol: int) -> datetime | bytes | None:
    """What this call makes: a naive time, or in protocol 2 the bytes of one. None where it is another call,
    or the bytes are no time."""
    if type(maker) is not Maker or type(arguments) is not tuple:
        return None
    if maker == _DATETIME:
        return time_of(arguments[0]) if len(arguments) == 1 else None
    if protocol != 2 or len(arguments) != 2 or arguments[1] != "latin1":
        return None
    return _latin1(arguments[0])


def time_of(raw: object) -> datetime | None:
    """The time without a zone that ten bytes stand for, None where they stand for none."""
    if type(raw) is not bytes or len(raw) != TIME_BYTES:
        return None
    year, microsecond = int.from_bytes(raw[:2], "big"), int.from_bytes(raw[7:], "big")
    month, fold = raw[2] & ~_FOLD, raw[2] >> 7
    try:
        day, hour, minute, second = raw[3:7]
        return datetime(year, month, day, hour, minute, second, microsecond, fold=fold)  # noqa: DTZ001
    except ValueError:
        return None


def bytes_of(time: datetime) -> bytes:
    """The ten bytes that stand for a naive time."""
    fields = (time.month | (_FOLD if time.fold else 0), time.day, time.hour, time.minute, time.second)
    return time.year.to_bytes(2, "big") + bytes(fields) + time.microsecond.to_bytes(3, "big")


def _latin1(text: Any) -> bytes | None:
    if type(text) is not str or len(text) != TIME_BYTES or max(text) > "\xff":
        return None
    return text.encode("latin-1")
