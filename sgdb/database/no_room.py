"""A full disk, a used-up quota or a limit on the size of files, told by the operating system's words."""

from __future__ import annotations

_WORDS = ("no space left on device", "disk quota exceeded", "file too large")


def says_no_room(text: str) -> bool:
    """Whether a message, or the log of a program that ran with English messages, speaks of it."""
    text = text.lower()
    return any(words in text for words in _WORDS)
