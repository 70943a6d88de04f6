"""Sound files with hostile values: those that cannot be stored as they are, and those that must be."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from sgdb.errors import ValueRefusedError
from tests.hostile.cases import Case
from tests.legacy import benchmark, dump

BOT = "LargestGroupBot"
Spoil = Callable[[dict[str, Any]], Any]


def _spoilt(name: str, spoil: Spoil, words: str, why: str, protocol: int = 4) -> Case:
    data = benchmark("C", (2, 2, 3), 3)
    changed = spoil(data)
    return Case(
        f"value-{name}", dump(data if changed is None else changed, protocol), ValueRefusedError, words, why
    )


def _game(**fields: Any) -> Spoil:
    return lambda data: vars(data["games"][1]).update(fields)


def _result(**fields: Any) -> Spoil:
    return lambda data: vars(data["results"][BOT][1]).update(fields)


def _config(**fields: Any) -> Spoil:
    return lambda data: vars(data["config"]).update(fields)


def _entry(**fields: Any) -> Spoil:
    return lambda data: data.update(fields)


def _key(name: str) -> Spoil:
    return lambda data: data["results"].update({name: data["results"].pop(BOT)})


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _other(game: Any) -> Any:
    other = copy.copy(game)
    other.seed = 99
    return other


_WHOLE = "is not a whole number from"
_CHARACTER = "holds a character that PostgreSQL cannot store"

REFUSED = [
    _spoilt("key-nul", _key("a\0b"), _CHARACTER, "the one character that no text in PostgreSQL holds"),
    _spoilt("key-surrogate", _key("\ud800"), _CHARACTER, "half a character, which UTF-8 does not have"),
    _spoilt("key-surrogates-reversed", _key("\udc00\ud800"), _CHARACTER, "two halves that make no whole"),
    _spoilt("key-256", _key("x" * 256), "longer than 255 characters", "one character too many"),
    _spoilt("name-nul", _result(bot_name="\0"), "not a text that can be stored",
        "the same in a row's own name", 2),
    _spoilt("name-surrogate", _result(bot_name="a\udfff"), "not a text that can be stored", "and this"),
    _spoilt("name-bytes", _result(bot_name=["LargestGroupBot"]), "not a text that can be stored",
        "a name in a list"),
    _spoilt("attribute-nul", _result(note="\0"), _CHARACTER, "in an attribute", 3),
    _spoilt("attribute-surrogate", _game(note=["\ud800"]), _CHARACTER, "deep in an attribute"),
    _spoilt("attribute-key-nul", _game(note={"\0": 1}), _CHARACTER, "in a key of an attribute", 5),
    _spoilt("attribute-name-nul", _game(**{"\0": 1}), _CHARACTER, "in an attribute's name"),
    _spoilt("attribute-name-surrogate", _config(**{"\ud800": 1}), _CHARACTER,
        "in the name of one of the config's"),
    _spoilt("entry-nul", _entry(note="\0"), _CHARACTER, "at the top level"),
    _spoilt("entry-name-nul", _entry(**{"\0": 1}), _CHARACTER, "and in a name there"),
    _spoilt("attribute-deep", _game(note=_nested(21)), "nested too deeply", "deeper than JSON should be"),
    _spoilt("attribute-long", _game(note="x" * (1 << 20)), "more than 1048576 characters",
        "longer than a text may be"),
    _spoilt("attribute-1025-bits", _game(note=1 << 1024), "an integer of 1025 bits",
        "larger than a number may be"),
    _spoilt("seed-2**63", _game(seed=2**63), "not a 64-bit whole number", "one more than a bigint holds"),
    _spoilt("seed--2**63-1", _game(seed=-(2**63) - 1), "not a 64-bit whole number", "one less"),
    _spoilt("seed-float", _game(seed=5.0), "not a 64-bit whole number",
        "a number that would come back as another", 5),
    _spoilt("base-seed-2**63", _entry(base_seed=2**63), _WHOLE, "one more than a bigint holds"),
    _spoilt("base-seed-none", _entry(base_seed=None), _WHOLE, "said to be nothing"),
    _spoilt("num-games-2**31", _entry(num_games=2**31), _WHOLE, "one more than an integer holds"),
    _spoilt("num-games-negative", _entry(num_games=-1), _WHOLE, "less than none"),
    _spoilt("num-games-bool", _entry(num_games=True), _WHOLE, "equal to one, and no number", 2),
    _spoilt("game-id-2**31", _game(game_id=2**31), _WHOLE, "one more than an integer holds"),
    _spoilt("game-id-negative", _game(game_id=-1), _WHOLE, "before the first"),
    _spoilt("game-id-nan", _game(game_id=math.nan), _WHOLE, "not even equal to itself"),
    _spoilt("result-id-text", _result(game_id="1"), _WHOLE, "a digit is no number", 3),
    _spoilt("tiles-2**31", _result(tiles_cleared=2**31), _WHOLE, "one more than an integer holds"),
    _spoilt("tiles-infinite", _result(tiles_cleared=math.inf), _WHOLE, "more than anything"),
    _spoilt("moves-negative", _result(moves_made=-1), _WHOLE, "less than none"),
    _spoilt("singles-2**2000", _result(singles_remaining=2**2000), "an integer of 2001 bits",
        "six hundred digits"),
    _spoilt("completed-1", _result(completed=1), "neither True nor False", "equal to True, and not the same"),
    _spoilt("completed-none", _result(completed=None), "neither True nor False", "neither"),
    _spoilt("board-ragged", _game(board=[[1, 2], [1]]), "row 1 has 1 cells", "no rectangle"),
    _spoilt("board-empty", _game(board=[]), "0 rows, but the config says 2", "no rows"),
    _spoilt("board-text", _game(board="[[1,2],[2,1]]"), "is not a list of rows",
        "JSON that would be stored as it is"),
    _spoilt("board-injection", _game(board=[["1]],0,null,\\N\n", 2], [2, 1]]), "cell [0][0] is",
        "a text for a cell"),
    _spoilt("board-bool", _game(board=[[True, 2], [2, 1]]), "cell [0][0] is True", "equal to one"),
    _spoilt("board-float", _game(board=[[1.0, 2], [2, 1]]), "cell [0][0] is 1.0", "equal to one"),
    _spoilt("board-colour", _game(board=[[3, 2], [2, 1]]), "cell [0][0] is 3", "a colour that there is not"),
    _spoilt("board-negative", _game(board=[[-1, 2], [2, 1]]), "cell [0][0] is -1", "nor this"),
    _spoilt("board-mixed", _game(board=[[1, 2], (2, 1)]), "not all lists (or all tuples)",
        "lists and tuples"),
    _spoilt("board-none", _game(board=None), "None is not a list of rows", "no board"),
    _spoilt("config-zero", _config(num_rows=0), "not a positive whole number", "no rows"),
    _spoilt("config-2**31", _config(num_colors=2**31), "not a positive whole number",
        "one more than an integer holds"),
    _spoilt("config-text", _config(num_cols="2; DROP TABLE games"), "not a positive whole number", "a text"),
    _spoilt("twice", lambda data: data["games"].append(_other(data["games"][1])),
        "occurs twice with different values", "which of the two is meant?"),
]  # fmt: skip


# -- values that hurt somebody else, and have to come back as they were -----------------------------------

TEXTS = [
    "\x1b[2J\x1b[H\x1b]0;owned\x07",
    "\x9b31m\x85\x9d",
    "".join(map(chr, [*range(1, 32), *range(127, 160)])),
    "'; DROP TABLE games; --",
    "\" OR \"\"=\"",
    "$$; DELETE FROM bots; $$",
    "%s %(name)s %% {0} {name!r} ${HOME} $(id) `id`",
    r"\.",
    r"\N",
    r"\\N\t\n\101\x41\u0000",
    "a\tb\nc\rd\ve\ff\\",
    "\n\\.\n",
    "NULL",
    "null",
    "",
    " ",
    "bot",
    "bot ",
    "Bot",
    "\u00e9",
    "e\u0301",
    "\u202egnp.tob\u2066\u200f\u061c",
    "\ufeffzero\u200bwidth\u2060",
    "\u2028\u2029\x85",
    "\ufffe\uffff\U0010ffff",
    "\U0001f600" * 255,
    "Z\u0351\u036b\u0343" * 60,
    "=cmd|'/C calc'!A1",
    "@SUM(1+9)*cmd|' /C calc'!A0",
    "| a | b |\n|---|---|",
    "[red]markup[/red] [link=x]y[/link]",
    "<script>alert(1)</script>",
    "../../outside",
    "-rf",
    '{"$float": "nan"}',
    "x" * 255,
]  # fmt: skip

VALUES: dict[str, Any] = {
    "2**63": 2**63,
    "-2**63-1": -(2**63) - 1,
    "2**1024-1": 2**1024 - 1,
    "minus zero": -0.0,
    "nan": math.nan,
    "infinities": [math.inf, -math.inf],
    "floats": [5e-324, 1.7976931348623157e308, 1e16, 1e22, 0.1, 1.0, 1e-7, 123456789012345680.0],
    "one": [1, 1.0, True],
    "nothing": [None, [], (), {}, "", False],
    "nested": ((1, [2, ({"a": (3,)},)]), {"x": [{}, ()]}),
    "deep": _nested(17),
    "dollars": {"$float": "nan", "$tuple": [1], "$dict": [], "$": {"$": {}}},
    "$float": "1.0",
    "$tuple": ["x"],
    "a dict": {"$float": "inf"},
    "texts": TEXTS,
    "keys": {text: number for number, text in enumerate(TEXTS)},
    "__class__": "GameConfig",
    "__dict__": {"num_rows": 7},
    "__setstate__": "os.system",
    "__reduce__": ["os.system", ["true"]],
    "origin": "regenerated",
    "attributes": {"attributes": {}},
    "board_type": "tuple of tuples",
}


def _harmless() -> dict[str, dict[str, Any]]:
    """Benchmarks by name, as the old system would hold them; each a set of its own."""

    def made(base_seed: int, layout: str = "C") -> dict[str, Any]:
        return benchmark(layout, (2, 2, 3), 3, base_seed)

    found = {
        "bots-keys": made(101), "bots-names": made(102), "attributes-games": made(103),
        "attributes-results": made(104), "attributes-config": made(105), "attributes-top": made(106),
        "numbers": made(107), "names-of-attributes": made(108), "layout-a": made(109, "A"),
        "layout-b": made(110, "B"), "tuples": made(111),
    }  # fmt: skip
    found["bots-keys"]["results"] = {
        text: [_renamed(row, text) for row in found["bots-keys"]["results"][BOT]] for text in TEXTS
    }
    rows = found["bots-names"]["results"][BOT]
    found["bots-names"]["results"] = {
        str(number): [_renamed(row, text) for row in rows] for number, text in enumerate(TEXTS)
    }
    vars(found["attributes-games"]["games"][1]).update(VALUES)
    vars(found["attributes-results"]["results"][BOT][1]).update(VALUES)
    vars(found["attributes-config"]["config"]).update(VALUES)
    found["attributes-top"].update(VALUES)
    for data in (found["layout-a"], found["layout-b"]):
        for row in [*data["games"], *data["results"][BOT]]:
            vars(row).update(VALUES)
    vars(found["names-of-attributes"]["games"][0]).update(dict.fromkeys(TEXTS, 1))
    found["numbers"]["base_seed"] = 2**63 - 1
    found["numbers"]["num_games"] = 2**31 - 1
    for number, game in enumerate(found["numbers"]["games"]):
        game.seed = (2**63 - 1, -(2**63), None)[number]
    found["numbers"]["games"][2].game_id = 2**31 - 1
    found["numbers"]["results"][BOT][2].__dict__.update(
        game_id=2**31 - 1, tiles_cleared=2**31 - 1, singles_remaining=2**31 - 1, moves_made=2**31 - 1
    )
    for game in found["tuples"]["games"]:
        game.board = tuple(map(tuple, game.board))
    return found


def _renamed(row: Any, name: str) -> Any:
    renamed = copy.copy(row)
    renamed.bot_name = name
    return renamed


HARMLESS = _harmless()

_HARMLESS_CASES = [
    Case(f"harmless-{name}", dump(data, protocol), None, "", "odd values, every one of which can be stored")
    for number, (name, data) in enumerate(HARMLESS.items())
    for protocol in (2 + number % 4,)
]

VALUE_CASES = [*REFUSED, *_HARMLESS_CASES]
