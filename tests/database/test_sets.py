"""Finding and making sets, configs and bots."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.database.engine import transaction
from sgdb.database.ids import SequenceIds
from sgdb.database.sets import (
    describe_bot,
    describe_set,
    fetch_games,
    fetch_keys,
    fetch_results,
    find_bots,
    find_set,
    make_bots,
)
from sgdb.errors import NotFoundError
from sgdb.records import GameConfig
from sgdb.settings import Settings
from tests.legacy import benchmark, write_legacy
from tests.steps import migrate, tamper


@pytest.mark.parametrize(
    ("name", "kind", "metadata"),
    [
        ("LargestGroupBot", "rule_based", None),
        ("RandomBot", "rule_based", None),
        ("randombot", None, None),
        ("", None, None),
        (
            "my deep_net_20250131_235959_0123abcd", "dqn",
            {"model_name": "my deep_net", "trained_at": "20250131_235959", "weights_hash": "0123abcd"},
        ),
        (
            "a_20240101_000000_aaaaaaaa_20250131_235959_0123abcd", "dqn",
            {"model_name": "a_20240101_000000_aaaaaaaa", "trained_at": "20250131_235959",
             "weights_hash": "0123abcd"},
        ),
        ("net_20250131_235959_0123ABCD", None, None),
        ("_20250131_235959_0123abcd", None, None),
    ],
)  # fmt: skip
def test_a_name_is_read_from_the_right(name: str, kind: str | None, metadata: dict[str, str] | None) -> None:
    """Names are all that the old system records of a bot; model names may hold anything."""
    assert describe_bot(name) == (kind, metadata)


def test_bots_that_another_writer_was_first_with_are_taken_as_they_are(engine: Engine) -> None:
    """The second writer keeps the first one's row."""
    tamper(engine, "INSERT INTO runs (sgdb_version) VALUES ('1')")
    tamper(engine, "INSERT INTO source_files (run_id, path, status) VALUES (1, 'x', 'migrated')")
    tamper(engine, "INSERT INTO bots (name, version) VALUES ('B', 'first')")
    with transaction(engine) as connection:
        make_bots(connection, SequenceIds(), ["C", "B", "A"], 1)
        assert find_bots(connection, ["A", "B", "C", "D"]).keys() == {"A", "B", "C"}
        assert find_bots(connection, ["B"]) == {"B": 1}
        assert find_bots(connection, []) == {}


def test_of_two_sets_with_one_seed_the_largest_is_found(engine: Engine) -> None:
    """By config and base seed; ids tell them apart."""
    tamper(engine, "INSERT INTO game_configs (num_rows, num_cols, num_colors) VALUES (2, 3, 4)")
    for number in (5, 9, 7):
        tamper(
            engine,
            "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed) VALUES ('x', 1, :n, -8)",
            n=number,
        )
    with transaction(engine, read_only=True) as connection:
        assert find_set(connection, GameConfig(2, 3, 4), -8) == (2, 9)
        assert find_set(connection, GameConfig(3, 2, 4), -8) is None
        assert find_set(connection, GameConfig(2, 3, 4), 8) is None
        assert describe_set(connection, 3) == (3, GameConfig(2, 3, 4), -8, 7)
        with pytest.raises(NotFoundError, match="no benchmark set 4"):
            describe_set(connection, 4)


@pytest.mark.parametrize("indexes", [[3, 4, 5], [5, 3], [0, 49, 50, 99], [7], [2, 2, 4]])
def test_rows_are_found_by_their_games_index(
    settings: Settings, engine: Engine, tmp_path: Path, indexes: list[int]
) -> None:
    """Consecutive or not; those that are not there are left out."""
    migrate(settings, write_legacy(tmp_path / "a.pkl", num_games=50))
    data = benchmark(num_games=50)
    there = {index for index in indexes if index < 50}
    with transaction(engine, read_only=True) as connection:
        games = fetch_games(connection, 1, indexes)
        keys = fetch_keys(connection, 1, indexes)
        results = fetch_results(connection, 1, 1, indexes)
    assert there <= games.keys()
    assert {index: games[index].seed for index in there} == {n: data["games"][n].seed for n in there}
    assert {index: games[index].id for index in there} == {index: keys[index] for index in there}
    rows = data["results"]["LargestGroupBot"]
    assert {index: results[index].moves_made for index in there} == {n: rows[n].moves_made for n in there}


@pytest.mark.parametrize(
    "stored",
    [
        {4: 11, 5: 12, 6: 13, 7: 14},
        {4: 14, 5: 13, 6: 12, 7: 11},
        {4: 11, 5: 13, 6: 12, 7: 14},
        {4: 11, 6: 13, 7: 14},
        {5: 12, 6: 13},
        {},
    ],
)
def test_keys_in_any_order_and_with_gaps(
    settings: Settings, engine: Engine, tmp_path: Path, stored: dict[int, int]
) -> None:
    """Of the games from 4 to 7: whoever stored them, each has its own."""
    migrate(settings, write_legacy(tmp_path / "a.pkl", num_games=2))
    add = "INSERT INTO games (id, benchmark_set_id, game_index, board_state) VALUES (:key, 1, :index, '[]')"
    for index, key in {3: 10, **stored, 8: 15}.items():
        tamper(engine, add, key=key, index=index)
    with transaction(engine, read_only=True) as connection:
        keys = fetch_keys(connection, 1, [4, 5, 6, 7])
    for index in range(3, 9):
        if index in stored:
            assert keys[index] == stored[index]
        else:
            with pytest.raises(KeyError):
                keys[index]
