"""Rows as records, inside a transaction. That they are the right ones is tested with the storage."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from sgdb.database import reading
from sgdb.database.engine import transaction
from sgdb.database.reading import read_games, read_results
from sgdb.errors import DatabaseUnreachableError
from tests.database.odd_sets import OddSet, Result, expected, store
from tests.steps import tamper

_GAMES = OddSet(0, [(index, f"[[{index}]]", index, None) for index in range(30)], [])


def test_games_come_in_batches_of_a_size(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at a time as their boards allow, one at least; however that changes on the way, all come."""
    monkeypatch.setattr(reading, "MOST_CHARACTERS", 1000)
    small, large = "[[1]]", "[[1],%s[2]]"
    boards = [small] * 25 + [large % (" " * 3000)] * 3 + [small] * 500
    odd = OddSet(0, [(index, board, None, None) for index, board in enumerate(boards)], [])
    set_id = store(engine, 1, odd)
    with transaction(engine, read_only=True) as connection:
        assert list(read_games(connection, set_id)) == expected(odd, 1).games


def test_a_walk_that_is_left_leaves_nothing_behind(engine: Engine) -> None:
    """Its cursor ends with the transaction, and the next one on that session is none of its business, however
    late the rest of the walk is thrown away."""
    set_id = store(engine, 1, _GAMES)
    walks = []
    for _ in range(2):
        with transaction(engine, read_only=True) as connection:
            walks.append(read_games(connection, set_id))
            assert next(walks[-1]).game_id == 0
    with transaction(engine) as connection:
        walks.clear()
        assert connection.execute(text("SELECT count(*) FROM pg_cursors")).scalar() == 0
        assert len(list(read_games(connection, set_id))) == 30
        assert connection.execute(text("SELECT count(*) FROM pg_cursors")).scalar() == 0


def test_other_questions_in_between(engine: Engine) -> None:
    """Two walks and a question share a transaction, and its moment."""
    set_id = store(engine, 1, _GAMES)
    with transaction(engine, read_only=True) as connection:
        one, other = read_games(connection, set_id), read_games(connection, set_id, 5)
        pairs = [(next(one).game_id, next(other).game_id)]
        tamper(engine, "DELETE FROM games")
        assert read_results(connection, set_id) == {}
        pairs += [(a.game_id, b.game_id) for a, b in zip(one, other, strict=False)]
        assert pairs == [(index, index + 5) for index in range(25)]


def test_results_of_a_set_whose_keys_lie_among_those_of_others(engine: Engine) -> None:
    """The bounds of the keys only help: what lies between them and belongs to another set is none of it."""
    rows = [Result(bot, index, index, 0, 0, False, None, None) for bot in "BA" for index in (9, 0, 4)]
    odd = OddSet(9, [(index, "[[1]]", None, None) for index in (9, 0, 4)], rows)
    lacking = OddSet(9, [game for game in odd.games if game[0] != 4], [row for row in rows if row.index != 4])
    first, second = store(engine, 1, lacking), store(engine, 2, odd)
    tamper(
        engine,
        "INSERT INTO games (benchmark_set_id, game_index, board_state) VALUES (:id, 4, '[[1]]')",
        id=first,
    )
    tamper(
        engine,
        "INSERT INTO game_results (game_id, bot_id, tiles_cleared, singles_remaining, moves_made, completed)"
        " SELECT g.id, b.id, 4, 0, 0, false FROM games g, bots b"
        " WHERE g.game_index = 4 AND g.benchmark_set_id = :id",
        id=first,
    )
    with transaction(engine, read_only=True) as connection:
        for set_id in (first, second):
            found = read_results(connection, set_id)
            assert found == expected(odd, 1).results
            assert list(found) == ["A", "B"]
        assert read_results(connection, first, ["B", "nobody"], 4, 9) == {"B": found["B"][1:2]}
        assert read_results(connection, first, []) == {}
        assert read_results(connection, first, start=5, stop=9) == {}


def test_a_session_that_ends_in_the_middle(engine: Engine) -> None:
    """Is told as what it is, and the pool does not hand it out again."""
    set_id = store(engine, 1, _GAMES)
    with pytest.raises(DatabaseUnreachableError), transaction(engine, read_only=True) as connection:
        walk = read_games(connection, set_id)
        next(walk)
        tamper(
            engine,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        list(walk)
    with transaction(engine, read_only=True) as connection:
        assert len(list(read_games(connection, set_id))) == 30
