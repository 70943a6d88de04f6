"""The tree of errors."""

from __future__ import annotations

import re

from sgdb import errors


def _all(cls: type[errors.SgdbError]) -> list[type[errors.SgdbError]]:
    return [cls] + [below for child in cls.__subclasses__() for below in _all(child)]


def test_the_tree_at_the_top_of_the_module_is_the_tree() -> None:
    """Every class is drawn there, at its depth, in its order."""
    drawn = [
        (match[2], (match.start(2) - match.start(0)) // 4)
        for match in re.finditer(r"^([│├└─ ]*)(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    ]

    def walk(cls: type[errors.SgdbError], depth: int) -> list[tuple[str, int]]:
        below = [pair for child in cls.__subclasses__() for pair in walk(child, depth + 1)]
        return [(cls.__name__, depth), *below]

    assert drawn == walk(errors.SgdbError, 0)


def test_every_error_has_an_exit_code_of_the_list() -> None:
    """2 usage, 3 environment, 4 refused, 5 busy, 70 a bug; a subclass keeps its parent's."""
    for cls in _all(errors.SgdbError):
        assert cls.exit_code in (2, 3, 4, 5, 70)
        parent = cls.__base__
        if parent not in (errors.SgdbError, Exception):
            assert cls.exit_code == parent.exit_code  # type: ignore[union-attr]


def test_an_error_says_its_message_and_keeps_its_hint() -> None:
    """The hint stands apart, for the terminal to lay out."""
    error = errors.BusyError("somebody else is at it", hint="wait")
    assert str(error) == error.message == "somebody else is at it"
    assert error.hint == "wait"
    assert errors.BusyError("x").hint is None
