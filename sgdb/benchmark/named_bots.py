"""From what a user names to a bot: one of the built-in ones, `package.module:Class`, a class or an object.

Code of a bot runs here, so this is called where it may do no harm: in a process of its own, or in a
program that has brought the bot itself.
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from typing import Any, NamedTuple

from sgdb.benchmark.reports import in_a_line
from sgdb.errors import BotError, NotFoundError, SgdbError, UsageError
from sgdb.game.bots import BUILT_IN, Bot

_LONGEST_NAME = 255


class BotSource(NamedTuple):
    """Where a bot comes from: `spec` is a name to look it up by, or else `bot` is the object itself."""

    spec: str | None
    bot: Any = None

    @property
    def is_built_in(self) -> bool:
        """Whether it is one of sgdb's own bots, known to end every game."""
        return self.spec in BUILT_IN

    def is_same_as(self, other: BotSource | None) -> bool:
        """Whether both are the same bot; an object is the same only as itself."""
        return other is not None and other.spec == self.spec and other.bot is self.bot

    def __str__(self) -> str:
        return self.spec if self.spec is not None else type(self.bot).__name__


def source_of(bot: Any) -> BotSource:
    """The source of what a program hands in: a text, a class that is made without arguments, or an object.

    Raises UsageError for anything else, NotFoundError for a name that no built-in bot has.
    """
    if isinstance(bot, str):
        if ":" not in bot:
            _require_built_in(bot)
        return BotSource(bot)
    if isinstance(bot, type):
        bot = _made(bot, bot.__name__)
    name = checked_name(bot, type(bot).__name__)
    # As a name the bot needs not travel, and is known to be one of ours.
    return BotSource(name) if _is_one_of_ours(bot, name) else BotSource(None, bot)


def open_bot(source: BotSource) -> Bot:
    """The bot itself.

    Raises NotFoundError for a name, module or class that does not exist, BotError when the bot's own code
    fails or makes no bot, UsageError for a name that is not its own.
    """
    if source.spec is None:
        found = source.bot
    elif ":" in source.spec:
        found = _imported(source.spec)
    else:
        found = _require_built_in(source.spec)()
    checked_name(found, str(source))
    return found  # type: ignore[no-any-return]


def checked_name(bot: Any, called: str) -> str:
    """The bot's name. Raises BotError where it is no bot, UsageError for another bot's name."""
    try:
        found, plays = bot.name, callable(bot.select_action)
        # A text as it is: what a kind of text of the bot's own says of itself is the bot's code, too.
        name = str.__str__(found) if issubclass(type(found), str) else None
        shown = ascii(found if name is None else name)[:80]
    except (SgdbError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise BotError(
            f"{called} is no bot: {in_a_line(error)}", hint="a bot has a name and select_action(board)"
        ) from error
    if name is None or not plays or not _is_storable(name):
        raise BotError(
            f"{called} is no bot: its name is {shown}, and select_action "
            + ("can be called" if plays else "cannot be called"),
            hint=f"a bot has a name of 1 to {_LONGEST_NAME} characters, and select_action(board)",
        )
    if name in BUILT_IN and not _is_one_of_ours(bot, name):
        raise UsageError(
            f"{called} calls itself {name}, which is the name of a built-in bot",
            hint="give it a name of its own: results are filed under names",
        )
    return name


def _is_storable(name: str) -> bool:
    if not 0 < len(name) <= _LONGEST_NAME or "\0" in name:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _is_one_of_ours(bot: Any, name: str) -> bool:
    """Whether it plays as the built-in bot of this name, not as a variant of it."""
    kind = BUILT_IN.get(name)
    return kind is not None and type(bot) is kind and _state(bot) == _state(kind())


def _state(bot: Any) -> dict[str, Any]:
    slots = {name: getattr(bot, name, None) for name in getattr(type(bot), "__slots__", ())}
    return slots | getattr(bot, "__dict__", {})


def _require_built_in(name: str) -> type[Bot]:
    found = BUILT_IN.get(name)
    if found is None:
        near = get_close_matches(name, BUILT_IN, n=1)
        raise NotFoundError(
            f"there is no built-in bot {name!a:.80}",
            hint=(f"did you mean {near[0]}? " if near else f"there are {', '.join(BUILT_IN)}; ")
            + "a bot of your own is named as package.module:Class",
        )
    return found


def _imported(spec: str) -> Any:
    module_name, _, path = spec.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise UsageError(f"{spec!a:.120} names no bot", hint="name it as package.module:Class")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise BotError(f"{module_name} cannot be imported: {in_a_line(error)}") from error
        raise NotFoundError(
            f"there is no module {error.name!a:.120}",
            hint="it is looked for where Python looks, and in the current folder",
        ) from error
    except BaseException as error:
        raise BotError(f"{module_name} cannot be imported: {in_a_line(error)}") from error
    where = getattr(found, "__file__", None) or module_name
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise NotFoundError(
                f"there is no {path} in {where}", hint="name the bot as package.module:Class"
            ) from error
    return _made(found, spec) if isinstance(found, type) else found


def _made(kind: type, called: str) -> Any:
    try:
        return kind()
    except BaseException as error:
        raise BotError(
            f"{called}() fails: {in_a_line(error)}", hint="a bot has to be made without arguments"
        ) from error
