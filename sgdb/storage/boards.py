"""Boards that nobody handed in: they follow from the base seed, where the known ones do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sgdb.errors import ValueRefusedError
from sgdb.pickles.seeds import LAST_GAME, SeedStream, check_reproducible, regenerate
from sgdb.records import GameConfig, GameSnapshot, IdRuns

MAX_DRAWN_CELLS = 50_000_000  # a mistyped game id must not ask for hours of drawing


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
    if config.num_rows * config.num_cols * len(missing) > MAX_DRAWN_CELLS:
        raise ValueRefusedError(
            f"results for game {last} ask for {len(missing)} boards of {config}: more than one call draws",
            hint="save the set's games first, or correct the game's id",
        )
    check_reproducible(config, SeedStream(base_seed), known, missing, size=MAX_DRAWN_CELLS)


def growth(there: IdRuns, declared: int, needed: IdRuns) -> tuple[IdRuns, int]:
    """The games that a set lacks for results on the games `needed`, and the size that it declares with them.

    A game in a gap is added alone; a set that has to reach further gets every game up to the last. It then
    declares as many, unless it declares more already.
    """
    new = needed.minus(there)
    if not len(new):
        return new, declared
    last = max(stop for _, stop in new.pairs())
    end = max((stop for _, stop in there.pairs()), default=0)
    reached = IdRuns([*new.pairs(), *([(end, last)] if last > end else [])]).distinct()
    return reached, max(declared, last) if last > end else declared


def draw_games(config: GameConfig, base_seed: int, missing: IdRuns) -> Iterator[GameSnapshot]:
    """The boards of these games, as records. To be called after `require_drawable`."""
    for game in regenerate(config, SeedStream(base_seed), missing):
        yield game._replace(metadata=None)
