"""Values that no column is made for, read from a file that anybody may have written."""

from __future__ import annotations

from typing import Any

from sgdb.errors import ValueRefusedError
from sgdb.pickles import attributes
from sgdb.pickles.inert import shown

_MAX_BOT_NAME = 255
_BOARD_TYPES = ("tuple of tuples", "tuple of lists", "list of tuples")


def require_bot_name(name: str, where: str) -> None:
    """Raises ValueRefusedError for a name that the database has no room for."""
    if len(name) > _MAX_BOT_NAME or not attributes.storable_text(name):
        raise ValueRefusedError(f"{where}: bot {shown(name)} is no name of up to {_MAX_BOT_NAME} characters")


def require_attributes(found: Any, where: str) -> None:
    """Raises ValueRefusedError unless this is an object of values in the form that `sgdb.pickles.attributes`
    gives them: in any other, they could not be written into a pickle again."""
    if type(found) is not dict:
        raise ValueRefusedError(f"{where}: {shown(found)} is not an object")
    try:
        values = [(name, attributes.from_json(value)) for name, value in found.items()]
    except (TypeError, ValueError, AttributeError):
        values = None
    if values is None or not attributes.same(attributes.further(values, where), found):
        raise ValueRefusedError(f"{where}: {shown(found)} is not written as `sgdb export` writes it")


def require_game_metadata(found: Any, where: str) -> None:
    """Raises ValueRefusedError unless a game may bear this metadata."""
    require_metadata(found, where)
    if "board_type" in found and found["board_type"] not in _BOARD_TYPES:
        raise ValueRefusedError(f"{where}, board_type: {shown(found['board_type'])} is not known")


def require_result_metadata(found: Any, where: str) -> None:
    """Raises ValueRefusedError unless a result may bear this metadata."""
    require_metadata(found, where)
    if "bot_name" in found and type(found["bot_name"]) is not str:
        raise ValueRefusedError(f"{where}, bot_name: {shown(found['bot_name'])} is not a text")


def require_metadata(found: Any, where: str) -> None:
    """Raises ValueRefusedError unless this is an object, and its attributes can be written again."""
    if type(found) is not dict:
        raise ValueRefusedError(f"{where}: {shown(found)} is not an object")
    if "attributes" in found:
        require_attributes(found["attributes"], f"{where}, attributes")
