"""How fast the built-in bots play: `python -m benchmarks.play`.

Every line is measured here and now: games a second on one core, side by side with the plain form of the rules
(`sgdb.game.rules` and the bots' `select_action`), on the same boards, with equal outcomes. Both take turns on
each board, and the best time of each on each board counts, so that other work on the machine disturbs both
alike, and little.

The system that sgdb replaces cannot be run here. What it did on one core is known for some sizes, on a
machine that took about 0.1 seconds to unpickle a certain file of 10,000 games and 20,000 results. A file
like it is made and unpickled here between the runs, and the old figures are scaled by the time that takes.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from benchmarks.legacy_files import write_legacy
from sgdb.game.boards import draw_board, game_seeds
from sgdb.game.bots import BUILT_IN, Bot
from sgdb.game.play import play
from sgdb.records import GameConfig

SECONDS_OF_THE_OLD_MACHINE = 0.1
OLD_GAMES_PER_SECOND = {
    ((5, 7, 3), "LargestGroupBot"): 3_400,
    ((5, 7, 3), "GreedySinglesBot"): 2_000,
    ((8, 8, 4), "RandomBot"): 1_100,
    ((8, 8, 4), "LargestGroupBot"): 1_200,
    ((8, 8, 4), "GreedySinglesBot"): 320,
}
GAMES = {(5, 7, 3): 100, (8, 8, 4): 50, (15, 15, 6): 2}
ROUNDS = 6


class Plain:
    """A built-in bot that is asked move by move, as any other bot is."""

    def __init__(self, bot: Bot) -> None:
        self.name = bot.name
        self.select_action = bot.select_action


def yardstick() -> Callable[[], object]:
    """Unpickles a file like the one that the old figures came with."""
    with tempfile.TemporaryDirectory() as folder:
        raw = write_legacy(Path(folder) / "made.pkl", GameConfig(5, 7, 3), 10_000).read_bytes()
    return lambda: pickle.loads(raw)


def measure(
    boards: Sequence[list[list[int]]], bot: Bot, unpickle: Callable[[], object]
) -> tuple[float, float, float]:
    """Games a second on bits and plainly, and the yardstick's seconds."""
    plain = Plain(bot)
    best = [[float("inf")] * len(boards) for _ in range(2)]
    unpickling = float("inf")
    for _ in range(ROUNDS):
        for at, board in enumerate(boards):
            fast_seconds, outcome = timed(partial(play, board, bot))
            plain_seconds, expected = timed(partial(play, board, plain))
            if outcome != expected:
                raise SystemExit(f"{bot.name} plays differently on bits: {board}")
            best[0][at] = min(best[0][at], fast_seconds)
            best[1][at] = min(best[1][at], plain_seconds)
        unpickling = min(unpickling, timed(unpickle)[0])
    return len(boards) / sum(best[0]), len(boards) / sum(best[1]), unpickling


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """How long this took, in seconds, and what came of it."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    """Measures and prints a line for each board size and bot."""
    unpickle = yardstick()
    heads = f"{'board':9}{'bot':18}{'games/s':>9}{'plainly':>9}{'ratio':>8}{'yardstick':>11}"
    print(heads + f"{'old, scaled':>13}{'ratio':>8}")
    for config, games in GAMES.items():
        boards = [draw_board(GameConfig(*config), seed) for seed in islice(game_seeds(42), games)]
        for name, kind in BUILT_IN.items():
            fast, plain, unpickling = measure(boards, kind(), unpickle)
            line = f"{'x'.join(map(str, config)):9}{name:18}{fast:9,.0f}{plain:9,.0f}{fast / plain:7.1f}x"
            line += f"{unpickling:9.3f} s"
            if old := OLD_GAMES_PER_SECOND.get((config, name)):
                old_here = old * SECONDS_OF_THE_OLD_MACHINE / unpickling
                line += f"{old_here:13,.0f}{fast / old_here:7.1f}x"
            print(line, flush=True)


if __name__ == "__main__":
    main()
