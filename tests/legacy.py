"""Legacy benchmark files for tests, written the way the old benchmark system wrote them.

`write_legacy` makes a whole file, `benchmark` the objects in it, `dump` their bytes. Boards and seeds follow
the real rule; results are plausible numbers, the same on every run. Here `pickle` writes, and `plain` loads
back files that a test itself has made; besides this only the weak readers of `tests/hostile` use it.

For streams that no pickler would write there are the opcode helpers at the end.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

from sgdb.game.boards import draw_board, game_seeds
from sgdb.records import GameConfig as Config

MODULES = {
    "A": "samegamerl.evaluation.benchmark_dataset",
    "B": "samegamerl.evaluation.benchmark",
    "C": "samegamerl.evaluation.benchmark_data",
}
CONFIG_MODULE = "samegamerl.game.game_config"


class Record:
    """Base of the stand-ins: attributes, and equality that looks at class name and attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __eq__(self, other: object) -> bool:
        return type(self).__name__ == type(other).__name__ and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


def _stand_in(module: str, name: str) -> type[Record]:
    return type(name, (Record,), {"__module__": module, "__qualname__": name})


CLASSES: dict[tuple[str, str], type[Record]] = {
    (module, name): _stand_in(module, name)
    for module in MODULES.values()
    for name in ("GameSnapshot", "BotPerformance")
}
GameConfig = CLASSES[CONFIG_MODULE, "GameConfig"] = _stand_in(CONFIG_MODULE, "GameConfig")


@contextmanager
def importable() -> Iterator[None]:
    """While this lasts, `pickle` finds the stand-ins under the old system's names."""
    names = {".".join(module.split(".")[:i]) for module, _ in CLASSES for i in (1, 2, 3)}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update((name, ModuleType(name)) for name in names)
    for (module, name), cls in CLASSES.items():
        setattr(sys.modules[module], name, cls)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def dump(data: object, protocol: int = 4, *, optimize: bool = False, python: bool = False) -> bytes:
    """The pickle of `data`; `python`: by the pickler written in Python, `optimize`: no idle memo entries."""
    with importable():
        if python:
            file = io.BytesIO()
            pickle._Pickler(file, protocol).dump(data)  # type: ignore[attr-defined]
            raw = file.getvalue()
        else:
            raw = pickle.dumps(data, protocol)
    return pickletools.optimize(raw) if optimize else raw


def plain(path: Path) -> dict[str, Any]:
    """What a file that a test has made holds, as dicts, lists and `Record`s that can be compared.

    Records of all layouts compare by class name and attributes; order of dict keys has to be compared apart.
    """
    with importable():
        found: dict[str, Any] = pickle.loads(path.read_bytes())
    return found


def game(layout: str, config: Record, game_id: int, seed: int) -> Any:
    """One game in the form of this layout, its board drawn from the seed."""
    shape = Config(config.num_rows, config.num_cols, config.num_colors)  # type: ignore[attr-defined]
    board = draw_board(shape, seed)
    if layout == "D":
        return {"game_index": game_id, "board_state": board, "seed": seed}
    snapshot = CLASSES[MODULES[layout], "GameSnapshot"]
    return snapshot(board=board, config=config, seed=seed, game_id=game_id)


def result(layout: str, config: Record, bot: str, game_id: int) -> Record:
    """A plausible result of this bot on this game, always the same one."""
    tiles = config.num_rows * config.num_cols  # type: ignore[attr-defined]
    draw = Random(f"{bot} {game_id} {tiles}")
    left = draw.choice((0, draw.randint(0, tiles), draw.randint(0, tiles)))
    performance = CLASSES[MODULES[layout], "BotPerformance"]
    return performance(
        bot_name=bot,
        game_id=game_id,
        tiles_cleared=tiles - left,
        singles_remaining=draw.randint(0, left),
        moves_made=draw.randint(1, max(1, tiles // 2)),
        completed=left == 0,
    )


def benchmark(
    layout: str = "C",
    config: tuple[int, int, int] = (5, 5, 3),
    num_games: int = 10,
    base_seed: int = 42,
    bots: Sequence[str] = ("LargestGroupBot",),
    *,
    num_results: int | None = None,
    shared_config: bool = True,
) -> dict[str, Any]:
    """What the old system kept in memory. `num_results` a bot, where that is not one for every game; without
    `shared_config` every game has a config object of its own."""
    names = ("num_rows", "num_cols", "num_colors")

    def new_config() -> Record:
        return GameConfig(**dict(zip(names, config, strict=True)))

    shared = new_config()
    games = [
        game(layout, shared if shared_config else new_config(), game_id, seed)
        for game_id, seed in enumerate(islice(game_seeds(base_seed), num_games))
    ]
    if layout == "D":
        return {"config": vars(shared), "num_games": num_games, "base_seed": base_seed, "games": games}
    ids = range(num_games if num_results is None else num_results)
    results = {bot: [result(layout, shared, bot, game_id) for game_id in ids] for bot in bots}
    data = {"games": games, "results": results}
    if layout == "A":
        return data
    return data | {"config": shared, "num_games": num_games, "base_seed": base_seed}


def write_legacy(
    path: Path,
    *,
    layout: str = "C",
    config: tuple[int, int, int] = (5, 5, 3),
    num_games: int = 10,
    base_seed: int = 42,
    bots: Sequence[str] = ("LargestGroupBot",),
    protocol: int = 4,
    spoil: Callable[[dict[str, Any]], Any] | None = None,
    spoil_bytes: Callable[[bytes], bytes] | None = None,
    num_results: int | None = None,
    shared_config: bool = True,
    optimize: bool = False,
    python: bool = False,
) -> Path:
    """Writes a legacy file and returns its path.

    `spoil` gets the objects before they are pickled and changes them in place, or returns others;
    `spoil_bytes` gets the pickle and returns another one. Layout D never has results.
    """
    data: Any = benchmark(
        layout, config, num_games, base_seed, bots, num_results=num_results, shared_config=shared_config
    )
    if spoil is not None:
        changed = spoil(data)
        data = data if changed is None else changed
    raw = dump(data, protocol, optimize=optimize, python=python)
    path.write_bytes(raw if spoil_bytes is None else spoil_bytes(raw))
    return path


# -- opcodes by hand ----------------------------------------------------------------------------------


def stream(*parts: bytes, protocol: int = 4) -> bytes:
    """PROTO, the parts, STOP: a pickle without frames."""
    return bytes((0x80, protocol)) + b"".join(parts) + b"."


def text(value: str) -> bytes:
    """SHORT_BINUNICODE or BINUNICODE."""
    raw = value.encode("utf-8", "surrogatepass")
    return (
        b"\x8c" + bytes((len(raw),)) + raw if len(raw) < 256 else b"X" + len(raw).to_bytes(4, "little") + raw
    )


def named(module: str, name: str) -> bytes:
    """A class (or whatever else has this name): STACK_GLOBAL."""
    return text(module) + text(name) + b"\x93"


def frame(content: bytes, length: int | None = None) -> bytes:
    """FRAME and its content; `length` tells a lie."""
    return b"\x95" + (len(content) if length is None else length).to_bytes(8, "little") + content


def mapping(*pairs: bytes) -> bytes:
    """A dict of opcodes of keys and values, in turn."""
    return b"}(" + b"".join(pairs) + b"u"


def sequence(*items: bytes) -> bytes:
    """A list of opcodes."""
    return b"](" + b"".join(items) + b"e"


def instance(cls: bytes, state: bytes) -> bytes:
    """NEWOBJ and BUILD."""
    return cls + b")\x81" + state + b"b"


def number(value: int) -> bytes:
    """BININT1, BININT or LONG1."""
    if 0 <= value < 256:
        return b"K" + bytes((value,))
    if -(2**31) <= value < 2**31:
        return b"J" + value.to_bytes(4, "little", signed=True)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes((len(raw),)) + raw


def attributes(**values: bytes) -> bytes:
    """A dict of opcodes whose keys are texts."""
    return mapping(*(part for name, value in values.items() for part in (text(name), value)))


def recall(index: int) -> bytes:
    """BINGET or LONG_BINGET."""
    return b"h" + bytes((index,)) if index < 256 else b"j" + index.to_bytes(4, "little")
