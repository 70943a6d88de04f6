"""One file's rows on their way into a set, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from sgdb.database.engine import transaction
from sgdb.database.ids import IdSource, SequenceIds
from sgdb.database.intake import Intake
from sgdb.database.provenance import make_run, make_source_file
from sgdb.errors import ConflictError
from sgdb.records import BotPerformance, Contents, GameConfig, GameSnapshot, IdRuns
from tests.steps import ask, count, database_state

BOARD = "[[1,2]]"


def _contents(games: int, results: int | None = None, num_games: int | None = None) -> Contents:
    keys = (("B", IdRuns([(0, games if results is None else results)])), ("Empty", IdRuns()))
    return Contents("C", GameConfig(1, 2, 3), num_games or games, 5, IdRuns([(0, games)]), keys)


def _games(start: int, stop: int, board: str = BOARD) -> Iterator[list[GameSnapshot]]:
    for number in range(start, stop, 3):
        yield [GameSnapshot(n, board, n) for n in range(number, min(number + 3, stop))]


def _results(numbers: Iterable[int], moves: int = 1) -> Iterator[tuple[str, list[BotPerformance]]]:
    for number in numbers:
        yield "B", [BotPerformance("B", number, 2, 0, moves, True)]


class _Source:
    """Makes the row of source_files and counts how often it was asked to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        ids: IdSource = SequenceIds()
        run_id = make_run(self._connection, ids, "test", {})
        return make_source_file(self._connection, ids, run_id, Path("file"), sha256="0" * 64, size_bytes=1)


def _take(
    engine: Engine,
    contents: Contents,
    games: Iterator[list[GameSnapshot]],
    results: Iterator[tuple[str, list[BotPerformance]]],
) -> tuple[Intake, int]:
    with transaction(engine) as connection:
        source = _Source(connection)
        intake = Intake(connection, SequenceIds(), contents, source)
        intake.open()
        intake.add_games(games, len(contents.games), intake.games)
        intake.add_results(results, contents.result_count)
    return intake, source.calls


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """A database with ten games and results."""
    _take(engine, _contents(10), _games(0, 10), _results(range(10)))
    return engine


def test_a_new_set_is_made_with_one_source(engine: Engine) -> None:
    """Set, config, bots, games and results, each with the id of the one source row."""
    intake, calls = _take(engine, _contents(10, 4), _games(0, 10), _results([3, 0, 1, 2]))
    assert (calls, intake.is_new, intake.extended_from, intake.wrote) == (1, True, None, True)
    assert (intake.games.inserted, intake.results.inserted) == (10, 4)
    assert ask(engine, "SELECT game_index, seed FROM games JOIN game_results r ON games.id = game_id") == [
        (3, 3), (0, 0), (1, 1), (2, 2),
    ]  # fmt: skip


def test_what_is_there_already_leaves_no_trace(filled: Engine) -> None:
    """No source row is asked for, and no sequence moves."""
    state = database_state(filled)
    intake, calls = _take(filled, _contents(10), _games(0, 10), _results(range(10)))
    assert (calls, intake.wrote, intake.games.identical, intake.results.identical) == (0, False, 10, 10)
    assert database_state(filled) == state


def test_a_larger_declaration_alone_extends_the_set(filled: Engine) -> None:
    """It is a change, though no row is inserted and none needs a source."""
    intake, calls = _take(filled, _contents(10, num_games=11), _games(0, 10), _results(range(10)))
    assert (calls, intake.extended_from, intake.wrote) == (0, 10, True)
    assert ask(filled, "SELECT num_games FROM benchmark_sets") == [(11,)]


def test_missing_rows_are_found_one_by_one(filled: Engine) -> None:
    """Between rows that are there, whatever the order; results find the games of earlier files."""
    with filled.begin() as connection:
        connection.exec_driver_sql("DELETE FROM games WHERE game_index IN (1, 4, 5, 9)")
        connection.exec_driver_sql(
            "DELETE FROM game_results WHERE game_id = (SELECT id FROM games WHERE game_index = 7)"
        )
    intake, _ = _take(filled, _contents(10), _games(0, 10), _results(reversed(range(10))))
    assert (intake.games.inserted, intake.games.identical) == (4, 6)
    assert (intake.results.inserted, intake.results.identical) == (5, 5)
    query = "SELECT game_index FROM games JOIN game_results ON games.id = game_id ORDER BY 1"
    assert ask(filled, query) == [(number,) for number in range(10)]


def test_a_conflict_names_the_first_differences(filled: Engine) -> None:
    """And says how many more there are in that row."""
    with pytest.raises(ConflictError, match=r"game 0, field board\[0\]\[0\]: file 2, database 1") as caught:
        _take(filled, _contents(10), _games(0, 10, board="[[2,2]]"), _results([]))
    assert "sgdb verify" in (caught.value.hint or "")
    with pytest.raises(ConflictError, match="game 9, bot 'B', field moves_made: file 8, database 1"):
        _take(filled, _contents(10), _games(0, 10), _results([9], moves=8))


@pytest.mark.parametrize(("games", "results"), [(11, 10), (10, 11)])
def test_more_rows_than_announced_are_never_dropped(engine: Engine, games: int, results: int) -> None:
    """Rows without a key would be lost silently; nothing is stored instead."""
    with pytest.raises((ValueError, KeyError)):
        _take(engine, _contents(10), _games(0, games), _results(range(results)))
    assert (count(engine, "games"), count(engine, "benchmark_sets")) == (0, 0)
