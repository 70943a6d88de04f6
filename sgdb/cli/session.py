"""What every command is given: settings from the global options, and the output."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sgdb.cli.output import Output

if TYPE_CHECKING:
    from sgdb.settings import Settings


@dataclass
class Session:
    """One run of the command line."""

    output: Output
    debug: bool = False
    overrides: dict[str, object] = field(default_factory=dict)

    def settings(self) -> Settings:
        """The settings that hold for this command. Raises ConfigError."""
        from sgdb.settings import load_settings  # pydantic takes a while to load; --help does without

        settings = load_settings(self.overrides)
        for warning in settings.warnings:
            self.output.message(f"warning: {warning}")
        return settings


def session(context: typer.Context) -> Session:
    """The session of this context."""
    found = context.obj
    assert isinstance(found, Session)
    return found


def as_paths(paths: list[Path] | None) -> tuple[Path, ...]:
    """A repeated path argument."""
    return tuple(paths or ())
