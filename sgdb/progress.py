"""How a long operation tells what it is doing, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What an operation reports to. Nothing it does may fail the operation."""

    def notice(self, message: str) -> None:
        """One sentence for the person at the keyboard."""

    def start(self, total: int, unit: str) -> None:
        """A stretch of work of `total` units ("B" for bytes) begins."""

    def advance(self, amount: int, label: str | None = None) -> None:
        """So many units more are done; `label` says what is being worked on."""

    def finish(self) -> None:
        """The stretch of work is over, well or not."""


class Silent:
    """Reports to nobody."""

    def notice(self, message: str) -> None:
        """Nothing."""

    def start(self, total: int, unit: str) -> None:
        """Nothing."""

    def advance(self, amount: int, label: str | None = None) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""
