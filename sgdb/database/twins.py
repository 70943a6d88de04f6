"""Which games are the same board.

A board may be stored more than once: base seeds n and -n give the same boards, and so do two sets of one base
seed and different sizes. Whoever counts boards as independent of each other must count such twins once.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, Connection, Text, Uuid, cast, func, select

from sgdb.database.models import BenchmarkSet, Game, GameConfigRow
from sgdb.records import GameConfig


def boards(connection: Connection, *, set_id: int | None = None, config: GameConfig | None = None) -> CTE:
    """The games of this set, or of this config, or all: `game_id`, `config_id`, and their `board`.

    The board is the smallest id of the games that are the same one. They are where config, seed and cells are
    the same: equal cells alone are none, since on small boards independent draws come out equal, too. A game
    without a seed is the same board as any of its config with equal cells.
    """
    # sgdb writes boards without blanks, others need not. A digest that is a number is sorted without a
    # collation.
    cells = cast(func.md5(func.translate(cast(Game.board_state, Text), " \t\r\n", "")), Uuid)
    games = (
        select(Game.id, BenchmarkSet.config_id, Game.seed, cells.label("cells"))
        .join(BenchmarkSet, BenchmarkSet.id == Game.benchmark_set_id)
        .join(GameConfigRow, GameConfigRow.id == BenchmarkSet.config_id)
    )
    if set_id is not None:
        games = games.where(BenchmarkSet.id == set_id)
    if config is not None:
        games = games.where(of_config(config))
    found = games.subquery()
    seed: Any = found.c.seed
    # Seldom so, and the index on seeds knows; the detour over all boards with these cells costs a sort.
    if connection.execute(select(select(Game.id).where(Game.seed.is_(None)).exists())).scalar_one():
        near = func.min(found.c.seed).over(partition_by=[found.c.config_id, found.c.cells])
        found = select(
            found.c.id, found.c.config_id, func.coalesce(seed, near).label("seed"), found.c.cells
        ).subquery()
        seed = found.c.seed
    board = func.min(found.c.id).over(partition_by=[found.c.config_id, seed, found.c.cells])
    return select(found.c.id.label("game_id"), found.c.config_id, board.label("board")).cte("boards")


def of_config(config: GameConfig) -> Any:
    """The condition that a row of game_configs is this config."""
    return (
        (GameConfigRow.num_rows == config.num_rows)
        & (GameConfigRow.num_cols == config.num_cols)
        & (GameConfigRow.num_colors == config.num_colors)
    )
