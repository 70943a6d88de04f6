"""Legacy pickles of any size, made in little memory and the same on every run.

The opcodes are those of CPython's own pickler, protocol 4, memo entries included; a test compares the two.
Boards and seeds follow the real rule, results are plausible numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from random import Random

from benchmarks.plain import CONFIG_MODULE, DATA_MODULES
from sgdb.game.boards import draw_board, game_seeds
from sgdb.records import GameConfig

BOTS = ("LargestGroupBot", "GreedySinglesBot")
BASE_SEED = 42
_BATCH = 1000  # items between a MARK and its APPENDS
_FRAME = 1 << 16


def write_legacy(path: Path, config: GameConfig, num_games: int, bots: Iterable[str] = BOTS) -> Path:
    """A file of layout C with as many games and every bot's result on each; returns its path."""
    with path.open("wb") as file:
        file.write(b"\x80\x04")
        frame = bytearray()
        for piece in _Stream().benchmark(config, num_games, bots):
            frame += piece
            if len(frame) >= _FRAME:
                file.write(b"\x95" + len(frame).to_bytes(8, "little") + frame)
                frame.clear()
        file.write(b"\x95" + len(frame).to_bytes(8, "little") + frame)
    return path


def outcomes(bot: str, tiles: int) -> Iterator[tuple[int, int, int, bool]]:
    """A bot's made-up outcomes, game after game: tiles cleared, singles remaining, moves made, completed."""
    draw = Random(bot).random
    while True:
        left = int(draw() * 6) if draw() > 0.4 else 0
        left = min(left, tiles)
        yield tiles - left, int(draw() * (left + 1)), 1 + int(draw() * tiles / 2), left == 0


class _Stream:
    """The opcodes. What is used again is known by its memo number, which counts all that is memoized."""

    def __init__(self) -> None:
        self._next = 0
        self._numbers: dict[str, int] = {}

    def benchmark(self, config: GameConfig, num_games: int, bots: Iterable[str]) -> Iterator[bytes]:
        yield b"}" + self._memoize() + b"(" + self._text("games")
        yield from self._list(self._game(config, *game) for game in _games(config, num_games))
        yield self._text("results") + b"}" + self._memoize()
        names = list(bots)
        yield b"(" if len(names) > 1 else b""
        for bot in names:
            yield self._text(bot)
            rows = enumerate(islice(outcomes(bot, config.num_rows * config.num_cols), num_games))
            yield from self._list(self._result(bot, number, outcome) for number, outcome in rows)
        yield (b"u" if len(names) > 1 else b"s") if names else b""
        yield self._text("config") + self._config(config)
        yield self._text("num_games") + _integer(num_games)
        yield self._text("base_seed") + _integer(BASE_SEED)
        yield b"u."

    def _memoize(self, name: str | None = None) -> bytes:
        if name is not None:
            self._numbers[name] = self._next
        self._next += 1
        return b"\x94"

    def _again(self, name: str) -> bytes | None:
        number = self._numbers.get(name)
        if number is None:
            return None
        return b"h" + bytes((number,)) if number < 256 else b"j" + number.to_bytes(4, "little")

    def _text(self, text: str) -> bytes:
        raw = text.encode()
        return self._again(text) or b"\x8c" + bytes((len(raw),)) + raw + self._memoize(text)

    def _instance(self, module: str, name: str) -> bytes:
        """A fresh instance and its empty state, up to the MARK before the state's items."""
        known = self._again(f"{module}.{name}")
        if known is None:
            known = self._text(module) + self._text(name) + b"\x93" + self._memoize(f"{module}.{name}")
        return known + b")\x81" + self._memoize() + b"}" + self._memoize() + b"("

    def _list(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        yield b"]" + self._memoize()
        rows = iter(rows)
        first, second = next(rows, None), next(rows, None)
        if first is None:
            return
        if second is None:
            yield first + b"a"
            return
        yield b"(" + first + second
        yield from islice(rows, _BATCH - 2)
        for row in rows:
            yield b"e(" + row
            yield from islice(rows, _BATCH - 1)
        yield b"e"

    def _config(self, config: GameConfig) -> bytes:
        known = self._again("the config")
        if known is not None:
            return known
        parts = [self._instance(CONFIG_MODULE, "GameConfig")]
        self._numbers["the config"] = self._next - 2
        names = ("num_rows", "num_cols", "num_colors")
        parts.extend(self._text(name) + _integer(getattr(config, name)) for name in names)
        return b"".join(parts) + b"ub"

    def _game(self, config: GameConfig, number: int, seed: int, board: list[list[int]]) -> bytes:
        parts = [self._instance(DATA_MODULES[0], "GameSnapshot"), self._text("board"), b"]", self._memoize()]
        parts.append(b"(" if len(board) > 1 else b"")
        for row in board:
            parts.append(b"]" + self._memoize())
            parts.append(b"(K" + b"K".join(map(_BYTES.__getitem__, row)) + b"e" if len(row) > 1 else b"")
        parts.append(b"e" if len(board) > 1 else b"a")
        parts += (self._text("config"), self._config(config), self._text("seed"), _integer(seed))
        parts += (self._text("game_id"), _integer(number), b"ub")
        return b"".join(parts)

    def _result(self, bot: str, number: int, outcome: tuple[int, int, int, bool]) -> bytes:
        parts = [self._instance(DATA_MODULES[0], "BotPerformance"), self._text("bot_name"), self._text(bot)]
        parts += (self._text("game_id"), _integer(number))
        for name, value in zip(("tiles_cleared", "singles_remaining", "moves_made"), outcome, strict=False):
            parts += (self._text(name), _integer(value))
        parts += (self._text("completed"), b"\x88" if outcome[3] else b"\x89", b"ub")
        return b"".join(parts)


_BYTES = [bytes((number,)) for number in range(256)]


def _games(config: GameConfig, num_games: int) -> Iterator[tuple[int, int, list[list[int]]]]:
    for number, seed in enumerate(islice(game_seeds(BASE_SEED), num_games)):
        yield number, seed, draw_board(config, seed)


def _integer(value: int) -> bytes:
    if value < 256:
        return b"K" + _BYTES[value]
    if value < 65536:
        return b"M" + value.to_bytes(2, "little")
    return b"J" + value.to_bytes(4, "little")
