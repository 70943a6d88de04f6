"""Checks without any file. What each finds in a tampered database is tested with `sgdb verify`."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.database.checks import run_checks
from sgdb.database.engine import transaction
from sgdb.settings import Settings
from tests.legacy import write_legacy
from tests.steps import migrate, tamper


def _failed(engine: Engine) -> dict[str, str]:
    with transaction(engine, read_only=True) as connection:
        return {check.name: check.detail for check in run_checks(connection) if not check.ok}


def test_an_empty_database_passes(engine: Engine) -> None:
    """There is nothing wrong with nothing."""
    assert _failed(engine) == {}


@pytest.mark.parametrize(
    "board",
    ["[[1,2],[2,3]]", "[[1,2],[2,-1]]", "[[1,2]]", "[[1,2,1],[1,1,1]]", "[[1,2],[1]]", "[[1,2],[1,true]]",
     "[[1,2],[1,1.0]]", "[[1,2],[1,null]]", "[[1,2],3]", "[]", "[[],[]]", '[[1,2],["1",1]]'],
)  # fmt: skip
def test_a_board_has_its_configs_shape_and_colours(
    settings: Settings, engine: Engine, tmp_path: Path, board: str
) -> None:
    """Anything else is found, whatever JSON somebody has written there."""
    migrate(settings, write_legacy(tmp_path / "a.pkl", config=(2, 2, 3)))
    assert _failed(engine) == {}
    tamper(engine, "UPDATE games SET board_state = CAST(:board AS json) WHERE game_index = 3", board=board)
    assert _failed(engine) == {"board shapes and colours": "set 1, game 3"}


def test_findings_are_counted_and_the_first_are_shown(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    """Five of them, so that a table stays a table."""
    migrate(settings, write_legacy(tmp_path / "a.pkl", num_games=20))
    tamper(engine, "DELETE FROM game_results WHERE id > 8")
    found = _failed(engine)["results as their files list them"]
    assert found.count("lacks") == 5
    assert found.endswith(" and 7 more")


def test_a_set_that_no_file_explains_has_to_count_from_0(engine: Engine) -> None:
    """Its gaps are gaps."""
    tamper(engine, "INSERT INTO game_configs (num_rows, num_cols, num_colors) VALUES (1, 1, 2)")
    tamper(engine, "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed) VALUES ('x', 1, 9, 1)")
    tamper(
        engine,
        "INSERT INTO games (benchmark_set_id, game_index, board_state) "
        "VALUES (1, 1, '[[1]]'), (1, 3, '[[1]]')",
    )
    found = _failed(engine)
    assert found["contiguous game_index"] == "set 1 lacks game 0; set 1 lacks game 2"
    assert found["orphans"] == "set 1 comes from no file"
