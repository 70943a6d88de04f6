"""Groups of commands that are loaded when they are named: loading all takes longer than most of them run."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


def lazy_group(places: Mapping[str, str]) -> type[TyperGroup]:
    """A `cls` for `typer.Typer`: its commands by name, in the order of the help, each as the
    "module:attribute" of a function or of a Typer app below `sgdb.cli.commands`."""

    class LazyGroup(TyperGroup):
        def __init__(self, **attrs: Any) -> None:
            super().__init__(**attrs)
            # In front those that were registered in the usual way.
            self.commands = ChainMap(self.commands, cast("MutableMapping[str, Any]", _Commands(places)))

    return LazyGroup


class _Commands(Mapping[str, Any]):
    """Commands by name, as Typer keeps them; each is made once."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _make(name, self._places[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _make(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"sgdb.cli.commands.{module}"), attribute)
    if isinstance(found, typer.Typer):
        command = get_group(found)
        command.name = name
        return command
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(found)
    return get_command(alone)
