"""How numbers are said."""

from __future__ import annotations

import pytest

from sgdb.wording import counted


@pytest.mark.parametrize(
    ("number", "nouns", "said"),
    [
        (0, ("file",), "0 files"),
        (1, ("file",), "1 file"),
        (10_000, ("file",), "10,000 files"),
        (1, ("history", "histories"), "1 history"),
        (2, ("history", "histories"), "2 histories"),
    ],
)
def test_one_or_many(number: int, nouns: tuple[str, ...], said: str) -> None:
    """With the thousands set apart."""
    assert counted(number, *nouns) == said
