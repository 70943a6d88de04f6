"""How numbers are said."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 file", "10,000 files"; `many` where an s does not make the plural."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
