"""The views: their figures, who may read them, and what stands in their way."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Engine, make_url, text

from sgdb.database import revisions, schema
from sgdb.database.engine import make_engine, transaction
from sgdb.database.views import VIEWS_REVISION, View, describe_views
from sgdb.errors import DatabasePermissionError, SchemaError
from sgdb.operations.performance import BotPerformanceOptions, bot_performance
from sgdb.operations.standings import CompareOptions, LeaderboardOptions, compare, leaderboard
from sgdb.records import Resampling
from sgdb.settings import Settings
from tests.legacy import write_legacy
from tests.steps import ask, migrate, tamper

BEFORE = f"{int(VIEWS_REVISION) - 1:04d}"
FEW = Resampling(resamples=100)
NAMES = [
    "bot_by_config", "bot_by_set", "checkpoint_benchmarks", "data_growth", "leaderboard", "learning_curve",
    "lineage", "paired_differences", "set_difficulty",
]  # fmt: skip


def rows(engine: Engine, query: str) -> list[dict[str, Any]]:
    """Rows by column."""
    with transaction(engine, read_only=True) as connection:
        return [dict(row._mapping) for row in connection.execute(text(query))]


@pytest.fixture
def filled(settings: Settings, engine: Engine, tmp_path: Path) -> Settings:
    """Settings of a database with two shapes, three sets and three bots; A and B have played all of it."""
    migrate(
        settings,
        write_legacy(tmp_path / "1", num_games=40, bots=("A", "B", "C")),
        write_legacy(tmp_path / "2", num_games=35, base_seed=7, bots=("A", "B")),
        write_legacy(tmp_path / "3", config=(4, 6, 4), num_games=31, bots=("A", "B")),
    )
    return settings


def described(engine: Engine) -> list[View]:
    """The views as their comments describe them."""
    with transaction(engine, read_only=True) as connection:
        return describe_views(connection)


def test_every_view_and_column_says_what_it_means(engine: Engine) -> None:
    """The comments are the documentation."""
    found = described(engine)
    assert [view.name for view in found] == NAMES
    for view in found:
        assert view.about.endswith(".")
        assert all(column.meaning for column in view.columns), view.name
        assert len({column.name for column in view.columns}) == len(view.columns)


def test_an_empty_database_gives_no_rows_and_no_error(engine: Engine) -> None:
    """In none of them."""
    for name in NAMES:
        assert rows(engine, f"SELECT * FROM sgdb_views.{name}") == []


def test_bots_by_set_are_as_bot_performance_tells(filled: Settings, engine: Engine) -> None:
    """The same columns, the same numbers."""
    expected = bot_performance(BotPerformanceOptions(), filled)
    found = rows(engine, "SELECT * FROM sgdb_views.bot_by_set ORDER BY benchmark_set_id, bot")
    assert len(expected) == 7
    for ours, theirs in zip(found, expected, strict=True):
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs)


def test_bots_by_config_are_all_sets_together(filled: Settings, engine: Engine) -> None:
    """As counted over the results themselves."""
    expected = rows(
        engine,
        """
        SELECT b.name AS bot, c.num_rows, c.num_cols, c.num_colors, count(DISTINCT s.id) AS benchmark_sets,
            count(*) AS games, count(*) FILTER (WHERE completed) AS completed,
            avg(completed::int)::float8 AS completion_rate, avg(tiles_cleared)::float8 AS tiles_cleared_mean,
            stddev_samp(tiles_cleared)::float8 AS tiles_cleared_stddev,
            avg(tiles_cleared / (num_rows * num_cols)::float8) AS tiles_share_mean,
            avg(singles_remaining)::float8 AS singles_remaining_mean,
            avg(moves_made)::float8 AS moves_made_mean
        FROM game_results r JOIN games g ON g.id = game_id JOIN benchmark_sets s ON s.id = benchmark_set_id
        JOIN game_configs c ON c.id = config_id JOIN bots b ON b.id = bot_id
        GROUP BY b.name, c.num_rows, c.num_cols, c.num_colors ORDER BY 2, 1
        """,
    )
    found = rows(engine, "SELECT * FROM sgdb_views.bot_by_config ORDER BY num_rows, bot")
    assert len(expected) == 5
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs)


def test_the_leaderboard_agrees_where_all_have_played_the_same(filled: Settings, engine: Engine) -> None:
    """Rates and shares, each shape with the same weight; who has played other shapes is ranked apart."""
    (wide, alone) = leaderboard(LeaderboardOptions(resampling=FEW), filled).leagues
    found = rows(engine, "SELECT * FROM sgdb_views.leaderboard ORDER BY configs DESC, rank")
    assert [(row["configs"], row["rank"], row["games"]) for row in found] == [
        ("5x5x3", 1, 40), ("4x6x4 5x5x3", 1, 106), ("4x6x4 5x5x3", 2, 106),
    ]  # fmt: skip
    assert {row["bot"] for row in alone.rows} == {"A", "B", "C"}
    for ours, theirs in zip(found[1:], wide.rows, strict=True):
        assert ours["bot"] == theirs["bot"]
        assert ours["completion_rate"] == pytest.approx(theirs["completion_rate"])
        assert ours["tiles_share_mean"] == pytest.approx(theirs["tiles_share_mean"])


def test_equal_bots_share_a_rank(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """And the next one has the place after both."""
    migrate(settings, write_legacy(tmp_path / "1", bots=("A", "B", "C")))
    tamper(engine, "UPDATE game_results SET tiles_cleared = 5, completed = bot_id = 3")
    found = rows(engine, "SELECT bot, rank FROM sgdb_views.leaderboard ORDER BY rank, bot")
    assert [row["rank"] for row in found] == [1, 2, 2]


def test_pairs_are_as_compare_tells_of_a_set(filled: Settings, engine: Engine) -> None:
    """Every metric, in both orders."""
    for set_id, a, b in ((1, "A", "B"), (1, "C", "A"), (2, "B", "A"), (3, "A", "B")):
        expected = compare(CompareOptions(a, b, set_id, resampling=FEW), filled).rows
        query = (
            f"SELECT * FROM sgdb_views.paired_differences WHERE benchmark_set_id = {set_id}"
            f" AND bot_a = '{a}' AND bot_b = '{b}'"
        )
        found = {row["metric"]: row for row in rows(engine, query)}
        assert len(found) == len(expected) == 4
        for theirs in expected:
            ours = found[theirs["metric"]]
            for name in ("boards", "better", "wins", "ties", "losses"):
                assert ours[name] == theirs[name]
            for name in ("mean_a", "mean_b", "mean_difference", "improvement"):
                assert ours[name] == pytest.approx(theirs[name])


def test_a_pair_is_looked_up_by_name(filled: Settings, engine: Engine) -> None:
    """A condition on the bots reaches their results before anything is counted."""
    tamper(engine, "ANALYZE game_results, bots, games, benchmark_sets")
    plan = "\n".join(
        row[0]
        for row in ask(
            engine, "EXPLAIN SELECT * FROM sgdb_views.paired_differences WHERE bot_a = 'A' AND bot_b = 'C'"
        )
    )
    assert plan.index("Aggregate") < plan.index("name)::text = 'A'::text")


def test_how_hard_a_set_is(filled: Settings, engine: Engine) -> None:
    """Over results, over bots, and the best; NULL where nobody has played."""
    tamper(
        engine, "DELETE FROM game_results WHERE game_id IN (SELECT id FROM games WHERE benchmark_set_id = 3)"
    )
    rates = {row["bot"]: row for row in bot_performance(BotPerformanceOptions(set_id=1), filled)}
    first, _, third = rows(engine, "SELECT * FROM sgdb_views.set_difficulty ORDER BY benchmark_set_id")
    assert (first["games"], first["bots"], first["results"]) == (40, 3, 120)
    each = [row["completion_rate"] for row in rates.values()]
    assert first["completion_rate"] == pytest.approx(sum(each) / 3)
    assert first["completion_rate_of_bots"] == pytest.approx(sum(each) / 3)
    assert first["best_completion_rate"] == pytest.approx(max(each))
    assert first["tiles_share_mean"] == pytest.approx(
        sum(row["tiles_cleared_mean"] for row in rates.values()) / 75
    )
    assert (third["games"], third["bots"], third["results"]) == (31, 0, 0)
    assert third["completion_rate"] is third["best_completion_rate"] is third["tiles_share_mean"] is None


TRAINING = """
    INSERT INTO training_sessions (bot_id, name, hyperparameters, start_time)
        SELECT id, 'first', '{}', now() FROM bots WHERE name = 'A';
    INSERT INTO model_checkpoints (training_session_id, epoch, metrics) VALUES
        (1, 1, '{"loss": 1.5, "name": "x", "inner": {"a": 1}, "list": [1], "none": null, "flag": true}'),
        (1, 2, '{"loss": {"$float": "nan"}, "reward": {"$float": "-inf"}, "steps": {"$float": "1e+16"}}'),
        (1, 3, '{"loss": {"$float": "1.2.3"}, "a": {"$float": 5}, "b": 0, "c": {"$float": "-0.0"}}'),
        (1, 4, NULL), (1, 5, '[1]'), (1, 6, 'null');
    UPDATE bots SET checkpoint_id = 2, version = '2.1' WHERE name = 'A';
"""


def test_trainings_from_result_to_session(filled: Settings, engine: Engine) -> None:
    """Learning curves with numbers only, how a checkpoint did, and where a result comes from."""
    tamper(engine, TRAINING.replace(":", r"\:"))
    tamper(
        engine,
        "INSERT INTO model_checkpoints (training_session_id, epoch, metrics)"
        " VALUES (1, 7, CAST(('{\"huge\": 1' || repeat('0', 400) || ', \"tiny\": 1e-390}') AS jsonb))",
    )
    curve = rows(engine, "SELECT epoch, metric, value FROM sgdb_views.learning_curve ORDER BY 1, 2")
    assert str([tuple(row.values()) for row in curve]) == str(
        [
            (1, "loss", 1.5), (2, "loss", float("nan")), (2, "reward", float("-inf")), (2, "steps", 1e16),
            (3, "a", 5.0), (3, "b", 0.0), (3, "c", 0.0),
        ]
    )  # fmt: skip
    found = rows(engine, "SELECT * FROM sgdb_views.checkpoint_benchmarks ORDER BY benchmark_set_id")
    assert [(row["session"], row["epoch"], row["bot"], row["bot_version"]) for row in found] == [
        ("first", 2, "A", "2.1")
    ] * 3
    expected = bot_performance(BotPerformanceOptions("A"), filled)
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("games", "completed", "completion_rate", "tiles_cleared_mean", "moves_made_mean"):
            assert ours[name] == pytest.approx(theirs[name])
    (agent,) = rows(engine, "SELECT * FROM sgdb_views.lineage WHERE bot = 'A' AND game_id = 1")
    assert (agent["checkpoint_id"], agent["epoch"], agent["session"], agent["bot_version"]) == (
        2, 2, "first", "2.1",
    )  # fmt: skip
    assert agent["source_file"].endswith("/1")
    assert (agent["run_id"], agent["game_index"], agent["benchmark_set_id"]) == (1, 0, 1)
    (other,) = rows(engine, "SELECT * FROM sgdb_views.lineage WHERE bot = 'B' AND game_id = 1")
    assert (other["checkpoint_id"], other["session_id"], other["bot_version"]) == (None, None, "1.0")
    assert rows(engine, "SELECT count(*) AS n FROM sgdb_views.lineage")[0]["n"] == 252


def test_growth_by_day(filled: Settings, engine: Engine) -> None:
    """In UTC, whatever the session's zone; totals run on over days without anything."""
    tamper(engine, "UPDATE games SET created_at = '2026-11-01 23:30+00' WHERE benchmark_set_id = 1")
    tamper(engine, "UPDATE games SET created_at = '2026-11-03 00:30+00' WHERE benchmark_set_id <> 1")
    tamper(engine, f"ALTER DATABASE \"{engine.url.database}\" SET timezone = 'Asia/Tokyo'")
    query = "SELECT day::text, added, total FROM sgdb_views.data_growth WHERE kind = 'games' ORDER BY day"
    with make_engine(engine.url).connect() as connection:
        connection.execute(text("SET timezone = 'Asia/Tokyo'"))
        found = [tuple(row) for row in connection.execute(text(query))]
        connection.engine.dispose()
    assert found == [("2026-11-01", 40, 40), ("2026-11-03", 66, 106)]
    totals = {
        row["kind"]: row["total"]
        for row in rows(engine, "SELECT kind, max(total) AS total FROM sgdb_views.data_growth GROUP BY kind")
    }
    (originals,) = ask(engine, "SELECT sum(size_bytes) FROM archives")[0]
    assert totals == {"sets": 3, "games": 106, "results": 252, "original bytes": originals}


# -- rights and schemas ---------------------------------------------------------------------------------


@pytest.fixture
def reader(engine: Engine) -> Iterator[URL]:
    """The database's address for a role that may connect and nothing else."""
    name = f"sgdb_test_{secrets.token_hex(6)}"
    tamper(engine, f"CREATE ROLE {name} LOGIN PASSWORD 'pass%word'")
    try:
        yield engine.url.set(username=name, password="pass%word")
    finally:
        tamper(engine, f"DROP OWNED BY {name}")
        tamper(engine, f"DROP ROLE {name}")


def may_read(url: URL) -> list[str]:
    """The views that this user gets rows of, or none without an error."""
    found = []
    other = make_engine(url)
    for name in NAMES:
        try:
            rows(other, f"SELECT * FROM sgdb_views.{name}")
        except DatabasePermissionError:
            continue
        found.append(name)
    other.dispose()
    return found


def test_who_may_read_the_tables_may_read_the_views(engine: Engine, reader: URL) -> None:
    """And nobody else: the right to read is asked of whoever asks."""
    assert may_read(reader) == []
    for table in ("result_totals", "bots", "benchmark_sets", "game_configs"):
        tamper(engine, f"GRANT SELECT ON {table} TO {reader.username}")
    _settle_where_that_is_needed(engine)
    assert may_read(reader) == ["bot_by_config", "bot_by_set", "leaderboard"]
    tamper(engine, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader.username}")
    _settle_where_that_is_needed(engine)
    assert may_read(reader) == NAMES


def test_servers_before_15_give_nothing_away(engine: Engine, reader: URL) -> None:
    """There views read with their owner's rights, so who may read a view is settled when it is made."""
    for name in NAMES:
        tamper(engine, f"ALTER VIEW sgdb_views.{name} RESET (security_invoker)")
    tamper(engine, "REVOKE ALL ON SCHEMA sgdb_views FROM PUBLIC")
    tamper(engine, "REVOKE ALL ON ALL TABLES IN SCHEMA sgdb_views FROM PUBLIC")
    for table in ("result_totals", "bots", "benchmark_sets", "game_configs"):
        tamper(engine, f"GRANT SELECT ON {table} TO {reader.username}")
    _settle(engine)
    assert may_read(reader) == ["bot_by_config", "bot_by_set", "leaderboard"]


def _settle_where_that_is_needed(engine: Engine) -> None:
    if int(ask(engine, "SHOW server_version_num")[0][0]) < 150_000:
        _settle(engine)


def _settle(engine: Engine) -> None:
    """Gives the views to whoever may read the tables now, as the migration does before 15."""
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        _migration().grant_to_readers_of_tables()


def _migration() -> ModuleType:
    (path,) = (revisions.scripts_folder() / "versions").glob(f"{VIEWS_REVISION}_*.py")
    found = importlib.util.spec_from_file_location("views_migration", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_a_schema_of_somebody_else_is_left_alone(engine: Engine) -> None:
    """The upgrade refuses, names what is there, and changes nothing."""
    schema.downgrade(engine, BEFORE)
    tamper(engine, "CREATE SCHEMA sgdb_views")
    tamper(engine, "CREATE TABLE sgdb_views.theirs (n int)")
    with pytest.raises(SchemaError, match="theirs") as caught:
        schema.upgrade(engine)
    assert "ALTER SCHEMA sgdb_views RENAME" in str(caught.value.hint)
    assert ask(engine, "SELECT count(*) FROM sgdb_views.theirs") == [(0,)]
    tamper(engine, "DROP TABLE sgdb_views.theirs")
    assert schema.upgrade(engine).after == revisions.head()


def test_what_others_have_put_there_stays_on_the_way_down(engine: Engine) -> None:
    """Only the views go then."""
    tamper(engine, "CREATE TABLE sgdb_views.theirs (n int)")
    schema.downgrade(engine, BEFORE)
    assert ask(engine, "SELECT relname FROM pg_class WHERE relnamespace = 'sgdb_views'::regnamespace") == [
        ("theirs",)
    ]


def test_views_of_others_on_ours_are_not_taken_down(engine: Engine) -> None:
    """They are named, so that their owner can see to them; nothing has changed then."""
    tamper(engine, 'CREATE VIEW "their % view" AS SELECT * FROM sgdb_views.leaderboard')
    for target in (BEFORE, "base"):
        with pytest.raises(SchemaError, match="their % view"):
            schema.downgrade(engine, target)
    assert [view.name for view in described(engine)] == NAMES
    tamper(engine, 'DROP VIEW "their % view"')
    schema.downgrade(engine, "base")
    assert ask(engine, "SELECT to_regnamespace('sgdb_views')") == [(None,)]


def test_a_user_who_may_not_create_schemas(empty_database: str) -> None:
    """Is told what an administrator has to run; the schema made so survives going down, and up again."""
    administrator = make_engine(empty_database)
    name = f"sgdb_test_{secrets.token_hex(6)}"
    tamper(administrator, f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    tamper(administrator, f"GRANT USAGE, CREATE ON SCHEMA public TO {name}")
    humble = make_engine(make_url(empty_database).set(username=name, password="x"))
    try:
        with pytest.raises(DatabasePermissionError) as caught:
            schema.upgrade(humble)
        tamper(administrator, str(caught.value.hint).partition("run: ")[2])
        assert schema.upgrade(humble).changed
        schema.downgrade(humble, BEFORE)
        assert schema.upgrade(humble).changed
        assert [view.name for view in described(humble)] == NAMES
        schema.downgrade(humble, "base")
    finally:
        humble.dispose()
        tamper(administrator, f"DROP OWNED BY {name}")
        tamper(administrator, f"DROP ROLE {name}")
        administrator.dispose()
