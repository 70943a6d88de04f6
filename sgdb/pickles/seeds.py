"""What follows from seeds: a silent file's base seed, and boards that a file has results for but not itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sgdb.errors import LayoutError, ValueRefusedError
from sgdb.game.boards import board_json, draw_board, game_seeds
from sgdb.records import GameConfig, GameSnapshot, IdRuns

SMALL_SEEDS = range(10_000)
# A results row may name any game; boards are only made up to these bounds.
MAX_REGENERATED_ID = 2_000_000
MAX_REGENERATED_CELLS = 200_000_000

_SEED_HINT = "if you know the base seed, give it with --set-base-seed N"


class SeedStream:
    """Seeds of games asked for in ascending order."""

    def __init__(self, base_seed: int) -> None:
        self._seeds = game_seeds(base_seed)
        self._next = 0

    def seed(self, game_id: int) -> int | None:
        """The seed of this game; None when it lies behind, or too far ahead to walk there."""
        if not self._next <= game_id <= self._next + MAX_REGENERATED_ID:
            return None
        seed = -1
        while self._next <= game_id:
            seed = next(self._seeds)
            self._next += 1
        return seed


def follows(base_seed: int, sample: Sequence[tuple[int, Any]]) -> bool:
    """Whether all of these (game_id, seed) follow from the base seed."""
    stream = SeedStream(base_seed)
    return all(stream.seed(game_id) == seed for game_id, seed in sorted(sample, key=lambda pair: pair[0]))


def find_base_seed(sample: Sequence[tuple[int, Any]], name: str) -> int | None:
    """The base seed that explains the sample: tried are numbers in the file's name, the last first, then
    42, then small numbers. None when none does, or when there is nothing to explain."""
    if not sample or any(type(seed) is not int for _, seed in sample):
        return None
    named = [int(digits) for digits in reversed(re.findall(r"\d{1,18}", name))]
    near = sorted(sample)[:8]
    if near[0][0] > 100:
        candidates: Iterable[int] = (*named, 42)  # walking far along 10,000 streams would take too long
    else:
        candidates = (*named, 42, *SMALL_SEEDS)
    return next((candidate for candidate in candidates if follows(candidate, near)), None)


def missing_games(games: IdRuns, results: Iterable[IdRuns]) -> IdRuns:
    """The games that results exist for and that are not listed, sorted. Raises ValueRefusedError."""
    union = IdRuns([pair for runs in results for pair in runs.pairs()])
    missing = union.minus(games)
    last = missing.pairs()[-1][1] - 1 if len(missing) else 0
    if last > MAX_REGENERATED_ID:
        raise ValueRefusedError(
            f"results for game {last}, which is not listed and beyond {MAX_REGENERATED_ID}, "
            "the last game whose board sgdb generates"
        )
    return missing


def check_reproducible(
    config: GameConfig, base_seed: int, games: Iterable[GameSnapshot], missing: IdRuns
) -> None:
    """Proves on every listed game that boards follow from the base seed. Raises LayoutError otherwise."""
    if config.num_colors < 2 or config.num_rows * config.num_cols * len(missing) > MAX_REGENERATED_CELLS:
        raise LayoutError(
            f"results for {len(missing)} games that are not listed, and boards of {config} cannot be generated"
        )
    stream = SeedStream(base_seed)
    for game in sorted(games, key=lambda game: game.game_id):
        seed = stream.seed(game.game_id)
        if seed is None or game.seed != seed or game.board != board_json(draw_board(config, seed)):
            raise LayoutError(
                f"results for {len(missing)} games that are not listed, and their boards cannot be generated: "
                f"listed game {game.game_id} does not follow from base seed {base_seed}"
            )


def regenerate(config: GameConfig, base_seed: int, missing: IdRuns) -> Iterator[GameSnapshot]:
    """The boards of these games, drawn from the seeds."""
    stream = SeedStream(base_seed)
    for game_id in missing:
        seed = stream.seed(game_id)
        assert seed is not None
        yield GameSnapshot(game_id, board_json(draw_board(config, seed)), seed, {"origin": "regenerated"})


def settle_base_seed(
    given: int | None, sample: Sequence[tuple[int, Any]], name: str, notes: list[str]
) -> int:
    """The base seed of a file that does not say: proven by its seeds, or as given by the user.

    Raises LayoutError when it stays unknown, or when the seeds prove another one than was given.
    """
    if given is not None and follows(given, sample):
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
    notes.append(f"base seed {given} as given; the games' seeds do not follow from it")
    return given
