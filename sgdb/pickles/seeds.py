"""What follows from seeds: a silent file's base seed, and the boards of games that are not listed."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from sgdb.errors import LayoutError, ValueRefusedError
from sgdb.game.boards import board_json, draw_board, game_seeds
from sgdb.pickles.layouts import INT64
from sgdb.records import GameConfig, GameSnapshot, IdRuns, is_run

SMALL_SEEDS = range(10_000)
_NUMBERS_IN_NAME = 8
# A base seed is looked for where the first game is near: walking far along many streams would take long.
_NEAR = 100  # games, for the small seeds
_NEAR_NAMED = 100_000  # games, for the few numbers in the name
# A row may name any game of a board of any size; seeds and boards are only followed up to these bounds.
# A game costs a result of 27 bytes or more, so boards of 20x20 come out of every file that lacks them.
LAST_GAME = 2_000_000
MAX_BOARD_CELLS = 250_000
FREE_CELLS = 4_000_000
CELLS_PER_BYTE = 16

_SEED_HINT = "if you know the base seed, give it with --set-base-seed N"


class SeedStream:
    """The seeds of a base seed's games, drawn as far as they are asked for, and kept."""

    def __init__(self, base_seed: int) -> None:
        self.base_seed = base_seed
        self._seeds = game_seeds(base_seed)
        self._drawn = array("i")

    def seed(self, game_id: int) -> int | None:
        """The seed of this game; None beyond LAST_GAME, too far to walk."""
        if game_id > LAST_GAME:
            return None
        self._draw_to(game_id)
        return self._drawn[game_id]

    def seeds(self, game_ids: Sequence[int]) -> list[int | None]:
        """The seeds of these games; None beyond LAST_GAME."""
        if game_ids and game_ids[-1] <= LAST_GAME and is_run(game_ids):
            self._draw_to(game_ids[-1])
            return list(self._drawn[game_ids[0] : game_ids[-1] + 1])
        return [self.seed(game_id) for game_id in game_ids]

    def _draw_to(self, game_id: int) -> None:
        lacking = game_id + 1 - len(self._drawn)
        if lacking > 0:
            self._drawn.extend(islice(self._seeds, lacking))


def follows(base_seed: int, sample: Iterable[tuple[int, Any]]) -> bool:
    """Whether all of these (game_id, seed) follow from the base seed."""
    stream = SeedStream(base_seed)
    return all(type(seed) is int and stream.seed(game_id) == seed for game_id, seed in sample)


def find_base_seed(sample: Sequence[tuple[int, Any]], name: str) -> int | None:
    """The base seed that explains the sample: tried are the numbers in the file's name, the last first,
    then 42, then small numbers. None when none does, or when there is nothing to explain."""
    if not sample or any(type(seed) is not int for _, seed in sample):
        return None
    named = [int(digits) for digits in reversed(re.findall(r"(?<!\d)\d{1,18}(?!\d)", name, re.ASCII))]
    candidates: list[int] = []
    near = sorted(sample)
    first_game, first_seed = near[0]
    if first_game <= _NEAR_NAMED:
        candidates += [*named[:_NUMBERS_IN_NAME], 42]
    if first_game <= _NEAR:
        draws = _draws_of_small_seeds(first_game)
        candidates += [small for small in SMALL_SEEDS if draws[small] == first_seed]
    return next((candidate for candidate in dict.fromkeys(candidates) if follows(candidate, near)), None)


@lru_cache(maxsize=_NEAR + 1)
def _draws_of_small_seeds(game_id: int) -> array[int]:
    """The seed of this game in the stream of each of the small base seeds."""
    return array("i", [next(islice(game_seeds(small), game_id, None)) for small in SMALL_SEEDS])


def missing_games(games: IdRuns, results: Iterable[IdRuns]) -> IdRuns:
    """The games that results exist for and that are not listed, sorted. Raises ValueRefusedError."""
    union = IdRuns([pair for runs in results for pair in runs.pairs()])
    missing = union.minus(games)
    last = missing.pairs()[-1][1] - 1 if len(missing) else 0
    if last > LAST_GAME:
        raise ValueRefusedError(
            f"results for game {last}, which is not listed and beyond {LAST_GAME}, "
            "the last game whose board sgdb generates"
        )
    return missing


def check_reproducible(
    config: GameConfig, seeds: SeedStream, games: Iterable[GameSnapshot], missing: IdRuns, size: int
) -> None:
    """Proves on every listed game that boards follow from the base seed. `size` is the file's, in bytes: a
    few results must not ask for hours of drawing. Raises LayoutError."""
    what = f"results for {len(missing)} games that are not listed, and their boards cannot be generated: "
    cells = config.num_rows * config.num_cols
    if config.num_colors < 2:
        raise LayoutError(f"{what}{config} has no colours to draw from")
    if cells > MAX_BOARD_CELLS:
        raise LayoutError(f"{what}boards of {config} are too large")
    if cells * len(missing) > FREE_CELLS + CELLS_PER_BYTE * size:
        raise LayoutError(f"{what}so many boards of {config} are out of proportion to a file of {size} bytes")
    for game in games:
        seed = seeds.seed(game.game_id)
        if seed is None or game.seed != seed or game.board != board_json(draw_board(config, seed)):
            raise LayoutError(
                f"{what}listed game {game.game_id} does not follow from base seed {seeds.base_seed}"
            )


def regenerate(config: GameConfig, seeds: SeedStream, missing: IdRuns) -> Iterator[GameSnapshot]:
    """The boards of these games, drawn from the seeds."""
    for game_id in missing:
        seed = seeds.seed(game_id)
        assert seed is not None
        yield GameSnapshot(game_id, board_json(draw_board(config, seed)), seed, {"origin": "regenerated"})


def settle_base_seed(
    given: int | None, sample: Sequence[tuple[int, Any]], name: str, notes: list[str]
) -> int:
    """The base seed of a file that does not say: proven by its seeds, or as given by the user.

    Raises LayoutError when it stays unknown, or when the seeds prove another one than was given.
    """
    if given is not None and not -INT64 - 1 <= given <= INT64:
        raise LayoutError(f"base seed {given} does not fit into 64 bits", hint="leave --set-base-seed out")
    if given is not None and sample and follows(given, sample):
        notes.append(f"base seed {given} as given; the games' seeds follow from it")
        return given
    found = find_base_seed(sample, name)
    if found is not None and given is not None:
        raise LayoutError(
            f"the file's seeds follow from base seed {found}, not from {given}",
            hint="leave --set-base-seed out",
        )
    if found is not None:
        notes.append(f"base seed {found} found: the games' seeds follow from it")
        return found
    if given is None:
        raise LayoutError("the base seed is not recorded and cannot be found from the seeds", hint=_SEED_HINT)
    proof = "the games' seeds do not follow from it" if sample else "there is no game to prove it"
    notes.append(f"base seed {given} as given; {proof}")
    return given
