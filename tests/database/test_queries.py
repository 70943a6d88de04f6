"""Questions to the database. Their answers are tested with `sgdb query`; here, how they are fetched."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, text

from sgdb.database import queries
from sgdb.database.engine import transaction
from sgdb.database.sets import bots_with_results
from sgdb.settings import Settings
from tests.legacy import write_legacy
from tests.steps import migrate, tamper


def test_rows_come_through_a_cursor_in_batches(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """The server keeps the rest, and other questions can be asked in between."""
    migrate(settings, write_legacy(tmp_path / "a.pkl", num_games=2500))
    with transaction(engine, read_only=True) as connection:
        rows = queries.games(connection, 1)
        first = next(rows)
        assert connection.execute(text("SELECT count(*) FROM pg_cursors")).scalar() == 1
        assert len(list(queries.results(connection, 1, "LargestGroupBot", 10, 20))) == 10
        assert [first["game_index"], *(row["game_index"] for row in rows)] == list(range(2500))
        assert connection.execute(text("SELECT count(*) FROM pg_cursors")).scalar() == 0


def test_a_cursor_is_planned_for_being_read_whole(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """Otherwise the server prefers plans with a quick first row, which can take minutes as a whole."""
    migrate(settings, write_legacy(tmp_path / "a.pkl"))
    with transaction(engine, read_only=True) as connection:
        list(queries.results(connection, 1, "LargestGroupBot"))
        assert connection.execute(text("SHOW cursor_tuple_fraction")).scalar() == "1"


def test_bots_of_a_set_are_those_with_results(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """By name; a key with an empty list has none."""
    migrate(settings, write_legacy(tmp_path / "a.pkl", bots=("Z", "A")))
    tamper(engine, "INSERT INTO bots (name) VALUES ('Nobody')")
    with transaction(engine, read_only=True) as connection:
        assert bots_with_results(connection, 1) == ["A", "Z"]
        assert bots_with_results(connection, 2) == []
