"""Boards that nobody handed in: they follow from the base seed, where the known ones do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sgdb.errors import ValueRefusedError
from sgdb.pickles.seeds import LAST_GAME, check_reproducible, regenerate
from sgdb.records import GameConfig, GameSnapshot, IdRuns


def require_drawable(
    config: GameConfig, base_seed: int, known: Iterable[GameSnapshot], missing: IdRuns
) -> None:
    """Returns when the boards of the games `missing` can be drawn: all `known` games follow from the base
    seed. Raises LayoutError where they don't, ValueRefusedError for a game too far away to walk to."""
    if not len(missing):
        return
    last = max(stop for _, stop in missing.pairs()) - 1
    if last > LAST_GAME:
        raise ValueRefusedError(
            f"results for game {last}, which is not listed and beyond {LAST_GAME}, "
            "the last game whose board sgdb generates"
        )
    check_reproducible(config, base_seed, known, missing)


def first_games(config: GameConfig, base_seed: int, count: int) -> Iterator[GameSnapshot]:
    """The first `count` games of a base seed. Raises as `require_drawable`."""
    wanted = IdRuns([(0, count)])
    require_drawable(config, base_seed, (), wanted)
    for game in regenerate(config, base_seed, wanted):
        yield game._replace(metadata=None)
