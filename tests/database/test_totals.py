"""Totals are true after every statement, whoever has executed it; what went past the triggers is found."""

from __future__ import annotations

import io
import statistics
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from random import Random
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from sgdb.database import queries, totals
from sgdb.database.backups import make_backup
from sgdb.database.client_programs import newest_program
from sgdb.database.engine import transaction
from sgdb.database.kept_totals import absent_triggers
from sgdb.database.performance import bot_performance
from sgdb.database.revisions import known_revisions
from sgdb.database.schema import downgrade, upgrade
from sgdb.errors import BusyError, DatabasePermissionError, SchemaError
from sgdb.operations.rollback import RollbackOptions, rollback
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.records import BotPerformance, GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage.postgres import PostgresStorage
from tests.backups import execute, opened, role
from tests.legacy import write_legacy
from tests.steps import ask, migrate, tamper, until
from tests.totals import assert_true, untrue

BEFORE = known_revisions()[known_revisions().index("0003") - 1]
SETS, BOTS, GAMES = 3, 4, 12  # games of each set

_PARENTS = f"""
    INSERT INTO game_configs (id, num_rows, num_cols, num_colors) VALUES (1, 1, 1, 2);
    INSERT INTO benchmark_sets (id, name, config_id, num_games, base_seed)
        SELECT n, 's' || n, 1, {GAMES}, n FROM generate_series(1, {SETS}) n;
    INSERT INTO bots (id, name) SELECT n, 'B' || n FROM generate_series(1, {BOTS}) n;
"""
_GAMES = f"""
    INSERT INTO games (benchmark_set_id, game_index, board_state)
        SELECT s, n, '[]' FROM generate_series(1, {SETS}) s, generate_series(0, {GAMES - 1}) n;
"""
_RESULTS = f"""
    INSERT INTO game_results (game_id, bot_id, tiles_cleared, singles_remaining, moves_made, completed)
        SELECT id, b, (id * 7 + b) % 50, id % 5, b + id % 9, id % 4 = 0
        FROM games, generate_series(1, {BOTS}) b WHERE (id + b) % 3 > 0;
"""


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """A database with three sets, and some results of four bots in each."""
    execute(engine, _PARENTS + _GAMES + _RESULTS)
    return engine


# -- whatever is done -----------------------------------------------------------------------------

PICK = st.tuples(st.integers(1, 7), st.integers(0, 6)).map(
    lambda pick: f"id % {pick[0]} = {pick[1] % pick[0]}"
)
SET, BOT, NUMBER = st.integers(1, SETS), st.integers(1, BOTS), st.integers(0, 2**31 - 1)
_NEW = "INSERT INTO game_results (game_id, bot_id, tiles_cleared, singles_remaining, moves_made, completed)"


def _copied(connection: Connection, pick: str, bot: int, number: int) -> None:
    absent = (
        f"SELECT id FROM games WHERE {pick} AND NOT EXISTS"
        f" (SELECT FROM game_results WHERE game_id = games.id AND bot_id = {bot})"
    )
    lines = "".join(f"{key}\t{bot}\t{number}\t{key}\t1\tt\n" for key in connection.scalars(text(absent)))
    columns = "game_id, bot_id, tiles_cleared, singles_remaining, moves_made, completed"
    with connection.connection.cursor() as cursor:
        cursor.copy_expert(f"COPY game_results ({columns}) FROM STDIN", io.StringIO(lines))  # type: ignore[attr-defined]


def _sql(
    template: str, **values: st.SearchStrategy[Any]
) -> st.SearchStrategy[Callable[[Connection], object]]:
    def step(values: dict[str, Any]) -> Callable[[Connection], object]:
        return lambda connection: connection.execute(text(template.format(**values)))

    return st.fixed_dictionaries(values).map(step)


STEPS = st.one_of(
    _sql(
        "INSERT INTO games (benchmark_set_id, game_index, board_state)"
        " SELECT {s}, n, '[1]' FROM generate_series({n} % 50, {n} % 50 + 5) n"
        " ON CONFLICT (benchmark_set_id, game_index) DO UPDATE SET seed = excluded.game_index",
        s=SET, n=NUMBER,
    ),
    _sql(
        _NEW + " SELECT id, {b}, {n}, 1, 2, true FROM games WHERE {p} ON CONFLICT DO NOTHING",
        b=BOT, n=NUMBER, p=PICK,
    ),
    _sql(
        _NEW + " SELECT id, b, {n}, 1, b, false FROM games, generate_series(1, {b}) b WHERE {p}"
        " ON CONFLICT (game_id, bot_id) DO UPDATE SET moves_made = 9, tiles_cleared = excluded.tiles_cleared",
        b=BOT, n=NUMBER, p=PICK,
    ),
    _sql(
        "WITH new AS (INSERT INTO games (benchmark_set_id, game_index, board_state)"
        " SELECT {s}, n, '[2]' FROM generate_series({n} % 500 + 60, {n} % 500 + 62) n RETURNING id) "
        + _NEW + " SELECT id, {b}, 1, 1, 1, true FROM new",
        s=SET, n=NUMBER, b=BOT,
    ),
    st.builds(lambda p, b, n: lambda connection: _copied(connection, p, b, n), PICK, BOT, NUMBER),
    _sql("DELETE FROM game_results WHERE {p}", p=PICK),
    _sql("DELETE FROM games WHERE {p}", p=PICK),
    _sql("DELETE FROM games WHERE benchmark_set_id = {s}", s=SET),
    _sql("WITH gone AS (DELETE FROM game_results WHERE {p}) DELETE FROM games WHERE {q}", p=PICK, q=PICK),
    _sql(
        "WITH gone AS (DELETE FROM game_results WHERE {p} RETURNING game_id)"
        " DELETE FROM games USING gone WHERE games.id = gone.game_id", p=PICK,
    ),
    _sql(
        "WITH gone AS (DELETE FROM games WHERE {p} RETURNING id)"
        " DELETE FROM game_results USING gone WHERE game_id = gone.id", p=PICK,
    ),
    _sql("UPDATE game_results SET bot_id = {b} WHERE {p}", b=BOT, p=PICK),
    _sql("UPDATE game_results SET game_id = game_id + {b} WHERE {p}", b=BOT, p=PICK),
    _sql("UPDATE game_results SET tiles_cleared = {n}, completed = {n} > 9 WHERE {p}", n=NUMBER, p=PICK),
    _sql("UPDATE game_results SET metadata = '{{\"n\": {n}}}' WHERE {p}", n=NUMBER, p=PICK),
    _sql("UPDATE games SET benchmark_set_id = {s}, game_index = game_index + 1000 WHERE {p}", s=SET, p=PICK),
    _sql("UPDATE games SET board_state = '[{n}]' WHERE {p}", n=NUMBER, p=PICK),
    _sql("TRUNCATE game_results"),
    _sql("TRUNCATE games CASCADE"),
    _sql("SAVEPOINT here"),
    _sql("ROLLBACK TO SAVEPOINT here"),
)  # fmt: skip

_OF_LINES = """
    SELECT t.revision, (SELECT string_agg(r::text, ' ' ORDER BY r.id) FROM game_results r JOIN games g
        ON g.id = r.game_id WHERE g.benchmark_set_id = t.benchmark_set_id AND r.bot_id = t.bot_id)
    FROM result_totals t UNION ALL
    SELECT t.revision, (SELECT string_agg(g::text, ' ' ORDER BY g.id) FROM games g
        WHERE g.benchmark_set_id = t.benchmark_set_id)
    FROM game_totals t
"""


@pytest.fixture(scope="module")
def lasting(_databases: Any, _template: str) -> Iterator[Engine]:
    """A filled database for many examples, each of which takes back what it did."""
    url = _databases.create(_template)
    with opened(url) as engine:
        execute(engine, _PARENTS + _GAMES + _RESULTS)
        yield engine
    _databases.drop(url)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=1, max_size=12))
def test_totals_follow_every_statement(lasting: Engine, steps: list[Callable[[Connection], object]]) -> None:
    """After each of any sequence of statements they equal a recount, and a revision stands for the same rows
    whenever it is seen."""
    seen: dict[Any, str] = {}
    with lasting.connect() as connection:
        connection.execute(text("SAVEPOINT here"))
        for step in steps:
            connection.execute(text("SAVEPOINT before_step"))
            try:
                step(connection)
            except IntegrityError:
                connection.execute(text("ROLLBACK TO SAVEPOINT before_step"))
            assert untrue(connection) == []
            for revision, rows in connection.execute(text(_OF_LINES)):
                assert seen.setdefault(revision, rows) == rows
        connection.rollback()
        assert untrue(connection) == []


def test_a_line_without_rows_goes(filled: Engine) -> None:
    """There are lines for what there is, and no others."""
    assert len(ask(filled, "SELECT FROM result_totals")) == SETS * BOTS
    tamper(filled, "DELETE FROM game_results WHERE bot_id = 1")
    assert len(ask(filled, "SELECT FROM result_totals")) == SETS * (BOTS - 1)
    tamper(filled, "DELETE FROM games WHERE benchmark_set_id = 2")
    assert ask(filled, "SELECT benchmark_set_id FROM game_totals ORDER BY 1") == [(1,), (3,)]
    assert_true(filled)


def test_a_statement_that_meets_no_row_changes_no_revision(filled: Engine) -> None:
    """What is in a cache stays good."""
    before = ask(filled, "SELECT revision FROM result_totals UNION ALL SELECT revision FROM game_totals")
    for statement in (
        "UPDATE game_results SET moves_made = 0 WHERE false",
        "DELETE FROM game_results WHERE false",
        "DELETE FROM games WHERE false",
        "UPDATE games SET seed = 1 WHERE false",
        f"{_NEW} SELECT 1, 1, 1, 1, 1, true WHERE false",
    ):
        tamper(filled, statement)
    after = ask(filled, "SELECT revision FROM result_totals UNION ALL SELECT revision FROM game_totals")
    assert sorted(after, key=str) == sorted(before, key=str)


def test_many_games_go_in_one_statement(engine: Engine) -> None:
    """Their results are counted out once and not game by game: each change of a line slows the next."""
    execute(engine, _PARENTS + _GAMES + _RESULTS)
    with transaction(engine) as connection:
        version = text(
            "SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables WHERE relname = 'result_totals'"
        )
        before = connection.scalar(version)
        connection.execute(text("DELETE FROM games"))
        assert connection.scalar(version) - before == 2 * SETS * BOTS  # counted out, and away


# -- several at once ------------------------------------------------------------------------------


def test_statements_with_bots_in_any_order_do_not_wait_in_a_circle(filled: Engine) -> None:
    """Lines are changed in the order of their keys, whatever the order of the rows."""
    orders = list(permutations(range(1, BOTS + 1)))
    crowd = 6
    start = Barrier(crowd)

    def write(number: int) -> None:
        start.wait()
        for order in orders[number::crowd]:
            tamper(filled, f"DELETE FROM game_results WHERE game_id % {crowd} = {number}")
            tamper(
                filled,
                f"{_NEW} SELECT id, bot, 1, 1, 1, true FROM games,"
                f" unnest(ARRAY{list(order)}) WITH ORDINALITY AS bots (bot, place)"
                f" WHERE id % {crowd} = {number} ORDER BY place",
            )

    with ThreadPoolExecutor(crowd) as pool:
        for done in [pool.submit(write, number) for number in range(crowd)]:
            done.result()
    assert_true(filled)


def test_results_that_come_while_their_game_goes(filled: Engine) -> None:
    """Their set could not be told: the deletion is refused, all is as it was, and the next one succeeds."""
    tamper(filled, "DELETE FROM game_results WHERE game_id = 1")
    with filled.connect() as writer, ThreadPoolExecutor(1) as pool:
        writer.execute(text(f"{_NEW} VALUES (1, 1, 5, 0, 3, false)"))
        deletion: Future[int] = pool.submit(tamper, filled, "DELETE FROM games WHERE id = 1")
        until(lambda: ask(filled, "SELECT FROM pg_locks WHERE NOT granted"))
        writer.commit()
        with pytest.raises(DBAPIError, match="set of game 1") as caught:
            deletion.result()
    assert getattr(caught.value.orig, "pgcode", None) == "40001"
    assert ask(filled, "SELECT count(*) FROM game_results WHERE game_id = 1") == [(1,)]
    assert_true(filled)
    assert tamper(filled, "DELETE FROM games WHERE id = 1") == 1
    assert_true(filled)


_MOVE = f"UPDATE games SET benchmark_set_id = 2, game_index = {GAMES} WHERE id = 1"
_SNAPSHOT = "SELECT FROM games"


@pytest.mark.parametrize("is_moved_first", [True, False], ids=["move first", "move last"])
@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM game_results WHERE game_id = 1",
        "UPDATE game_results SET tiles_cleared = 77 WHERE game_id = 1",
        "UPDATE game_results SET bot_id = 4 WHERE game_id = 1 AND bot_id = 1",
        "UPDATE game_results SET game_id = 3 WHERE game_id = 1 AND bot_id = 1",
        f"{_NEW} VALUES (1, 4, 1, 1, 1, true)",
    ],
)
def test_results_that_change_while_their_game_goes_to_another_set(
    filled: Engine, change: str, is_moved_first: bool
) -> None:
    """One waits for the other, and each result is counted in the set in which its game is."""
    execute(filled, "DELETE FROM game_results WHERE (game_id, bot_id) IN ((1, 4), (3, 1))")
    first, second = (_MOVE, change) if is_moved_first else (change, _MOVE)
    with filled.connect() as connection, ThreadPoolExecutor(1) as pool:
        connection.execute(text(first))
        other = pool.submit(tamper, filled, second)
        until(lambda: ask(filled, "SELECT FROM pg_locks WHERE NOT granted"))
        connection.commit()
        other.result()
    assert_true(filled)


@pytest.mark.parametrize(
    ("meanwhile", "change", "code"),
    [
        (f"{_NEW} VALUES (1, 4, 1, 1, 1, true)", _MOVE, "0A000"),
        (f"{_NEW} VALUES (1, 4, 1, 1, 1, true)", "TRUNCATE game_results", "0A000"),
        (f"{_NEW} VALUES (1, 4, 1, 1, 1, true)", "DELETE FROM games WHERE id = 1", "40001"),
        (_MOVE, "DELETE FROM game_results WHERE game_id = 1", "40001"),
        (_MOVE, "UPDATE game_results SET tiles_cleared = 77 WHERE game_id = 1", "40001"),
        (_MOVE, f"{_NEW} VALUES (1, 4, 1, 1, 1, true)", "40001"),
    ],
)
@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_sees_an_older_moment(
    filled: Engine, isolation: str, meanwhile: str, change: str, code: str
) -> None:
    """It is refused rather than counted wrong, where what others have committed since would be missed."""
    execute(filled, "DELETE FROM game_results WHERE game_id > 1 OR bot_id <> 1")
    with filled.connect().execution_options(isolation_level=isolation) as connection:
        connection.execute(text(_SNAPSHOT))
        tamper(filled, meanwhile)
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text(change))
    assert getattr(caught.value.orig, "pgcode", None) == code
    assert_true(filled)


def test_commands_at_once(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """Migrations of several sets, programs with several bots in one set, and a rollback: none gives up."""
    shape = GameConfig(5, 5, 3)
    taken_back = migrate(settings, write_legacy(tmp_path / "first", base_seed=1, bots=("A", "B")))
    rows = {
        bot: [BotPerformance(bot, game, 5 + game % 3, 1, 4, False) for game in range(40)]
        for bot in ("One", "Two", "Three")
    }

    def save(bot: str) -> None:
        with PostgresStorage(settings, shape, 7) as storage:
            for at in range(0, 40, 10):
                storage.save_results(bot, rows[bot][at : at + 10])

    files = [
        write_legacy(tmp_path / f"{seed}.pkl", base_seed=seed, bots=("B", "A", "C")) for seed in (2, 3, 4)
    ]
    with ThreadPoolExecutor(7) as pool:
        work = [pool.submit(save, bot) for bot in rows]
        work += [pool.submit(migrate, settings, path) for path in files]
        work.append(pool.submit(rollback, RollbackOptions(taken_back.run_id), settings))
        for done in work:
            done.result()
    assert_true(engine)
    assert ask(engine, "SELECT sum(results) FROM result_totals") == [(3 * 40 + 3 * 3 * 10,)]


# -- other users and other paths ------------------------------------------------------------------


def test_a_writer_needs_rights_on_the_rows_alone(filled: Engine) -> None:
    """And may look for tables elsewhere, also where a table of his own bears one of the names."""
    with role(filled) as url:
        execute(filled, f"GRANT SELECT, INSERT, UPDATE, DELETE ON games, game_results TO {url.username}")
        with opened(url) as engine, engine.begin() as connection:
            for table in ("games", "game_results", "result_totals", "game_totals", "departing_games"):
                connection.execute(text(f"CREATE TEMP TABLE {table} (id int)"))
            connection.execute(text("SET search_path = pg_temp"))
            new = _NEW.replace("game_results", "public.game_results")
            connection.execute(
                text(f"{new} SELECT id, 1, 9, 9, 9, false FROM public.games ON CONFLICT DO NOTHING")
            )
            connection.execute(text("UPDATE public.game_results SET moves_made = 1 WHERE id % 2 = 0"))
            connection.execute(
                text("UPDATE public.games SET benchmark_set_id = 1, game_index = id + 99 WHERE id < 20")
            )
            connection.execute(text("DELETE FROM public.games WHERE id % 3 = 0"))
        assert_true(filled)
        with opened(url) as engine, engine.connect() as connection:
            for statement in ("SELECT FROM result_totals", "DELETE FROM game_totals"):
                with pytest.raises(DBAPIError, match="permission denied"):
                    connection.execute(text(statement))
                connection.rollback()


def test_nobody_can_use_the_functions_on_a_table_of_his_own(filled: Engine) -> None:
    """They write with the rights of the totals' owner."""
    with role(filled) as url:
        execute(filled, f"GRANT CREATE ON SCHEMA public TO {url.username}")
        with opened(url) as engine, engine.connect() as connection:
            connection.execute(text("CREATE TABLE mine (id int)"))
            with pytest.raises(DBAPIError, match="permission denied for function"):
                connection.execute(
                    text("CREATE TRIGGER t AFTER TRUNCATE ON mine EXECUTE FUNCTION sgdb_empty_totals()")
                )


def test_readers_of_results_may_read_the_totals(filled: Engine) -> None:
    """Who could ask for averages before the migration can do so after it; others cannot."""
    downgrade(filled, BEFORE)
    with role(filled) as reader, role(filled) as stranger:
        execute(
            filled,
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader.username};"
            f" GRANT SELECT ON bots TO {stranger.username}",
        )
        upgrade(filled)
        with opened(reader) as engine, transaction(engine, read_only=True) as connection:
            assert len(bot_performance(connection)) == SETS * BOTS
            assert len(queries.benchmark_sets(connection)) == SETS
        with (
            opened(stranger) as engine,
            pytest.raises(DatabasePermissionError),
            transaction(engine, read_only=True) as connection,
        ):
            bot_performance(connection)


def test_commands_work_with_the_rights_of_before(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    """A user who had rights on all tables when there were no totals can do what he could."""
    downgrade(engine, BEFORE)
    with role(engine) as url:
        execute(
            engine,
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {url.username};"
            f" GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {url.username}",
        )
        upgrade(engine)
        address = url.render_as_string(hide_password=False)
        theirs = load_settings({"database_url": address, "home": settings.home})
        path = write_legacy(tmp_path / "a.pkl")
        run = migrate(theirs, path)
        with PostgresStorage(theirs, GameConfig(5, 5, 3), 7) as storage:
            storage.save_results("Mine", [BotPerformance("Mine", 3, 5, 1, 4, False)])
        assert verify(VerifyOptions((path,)), theirs).equal
        assert {check.name: check.ok for check in verify(VerifyOptions(), theirs).checks}["totals"]
        rollback(RollbackOptions(run.run_id), theirs)
    assert ask(engine, "SELECT results FROM result_totals") == [(1,)]
    assert_true(engine)


# -- migration ------------------------------------------------------------------------------------


def test_the_migration_counts_what_is_there(filled: Engine) -> None:
    """Down and up again, as often as you like; rows written in between are counted."""
    before = ask(filled, "SELECT benchmark_set_id, bot_id, results FROM result_totals")
    downgrade(filled, BEFORE)
    tamper(filled, "DELETE FROM games WHERE id % 5 = 0")
    upgrade(filled)
    assert_true(filled)
    assert ask(filled, "SELECT benchmark_set_id, bot_id, results FROM result_totals") != before
    tamper(filled, "DELETE FROM games WHERE id % 3 = 0")
    assert_true(filled)
    downgrade(filled, BEFORE)
    upgrade(filled)
    assert_true(filled)


def test_the_migration_finds_the_tables_where_they_are(empty_database: str) -> None:
    """Also where the search path begins with a schema that has come into being since."""
    with opened(empty_database) as engine:
        upgrade(engine)
        downgrade(engine, BEFORE)
        execute(engine, _PARENTS + _GAMES + _RESULTS)
        name = engine.url.database
        execute(engine, f'CREATE SCHEMA "a b"; ALTER DATABASE "{name}" SET search_path = "a b", public')
    with opened(empty_database) as engine:
        upgrade(engine)
        tamper(engine, "DELETE FROM games WHERE id % 4 = 0")
        assert_true(engine)
        with transaction(engine) as connection:
            tamper(engine, "ALTER TABLE games DISABLE TRIGGER sgdb_games_deleted")
            assert totals.refresh(connection, timeout=60) == 0
            assert connection.scalar(text("SHOW search_path")) == '"a b", public'
        assert ask(engine, "SELECT count(*) FROM pg_class WHERE relnamespace = '\"a b\"'::regnamespace") == [
            (0,)
        ]


def test_writers_wait_for_the_migration(filled: Engine, database_url: str) -> None:
    """None slips in between the counting and the first trigger."""
    downgrade(filled, BEFORE)
    with filled.connect() as writer, ThreadPoolExecutor(1) as pool:
        writer.execute(text("UPDATE game_results SET tiles_cleared = 1"))
        upgrading = pool.submit(upgrade, filled)
        until(lambda: ask(filled, "SELECT FROM pg_locks WHERE NOT granted"))
        writer.commit()
        upgrading.result()
    assert_true(filled)


# -- finding and repairing ------------------------------------------------------------------------


def _wrong(engine: Engine) -> list[str]:
    with transaction(engine, read_only=True) as connection:
        return [str(each) for each in totals.wrong_totals(connection)]


def _refresh(engine: Engine, timeout: float = 60) -> int:
    with transaction(engine, isolation="READ COMMITTED") as connection:
        return totals.refresh(connection, timeout=timeout)


def test_what_went_past_the_triggers_is_found_and_put_right(filled: Engine) -> None:
    """Each column of each line is named, and counting anew makes all of it true."""
    assert _wrong(filled) == []
    tamper(
        filled,
        "UPDATE result_totals SET moves_made_sum = moves_made_sum + 1"
        " WHERE (benchmark_set_id, bot_id) = (2, 3)",
    )
    tamper(filled, "DELETE FROM result_totals WHERE (benchmark_set_id, bot_id) = (1, 1)")
    tamper(filled, "UPDATE game_totals SET games = 99 WHERE benchmark_set_id = 3")
    tamper(
        filled,
        "DELETE FROM game_results WHERE (game_id, bot_id) IN"
        " (SELECT id, 4 FROM games WHERE benchmark_set_id = 3)",
    )
    tamper(filled, "INSERT INTO result_totals VALUES (3, 4, 1, 0, 0, 0, 0, 0, gen_random_uuid())")
    found = _wrong(filled)
    assert found[0] == f"set 3: games is 99 instead of {GAMES}"
    assert "set 1, bot 'B1': results is 0 instead of 8" in found
    assert found[-1] == "set 3, bot 'B4': results is 1 instead of 0"
    moves = ask(filled, "SELECT moves_made_sum FROM result_totals WHERE (benchmark_set_id, bot_id) = (2, 3)")[
        0
    ][0]
    assert f"set 2, bot 'B3': moves_made_sum is {moves} instead of {moves - 1}" in found
    assert _refresh(filled) == 4
    assert _wrong(filled) == []
    assert_true(filled)
    assert _refresh(filled) == 0


def test_counting_anew_gives_every_line_a_new_revision(filled: Engine) -> None:
    """What somebody changed past the triggers need not show in any sum."""
    revisions = "SELECT revision FROM result_totals UNION ALL SELECT revision FROM game_totals"
    before = set(ask(filled, revisions))
    execute(
        filled,
        "ALTER TABLE game_results DISABLE TRIGGER USER; UPDATE game_results SET metadata = '{\"a\": 1}'",
    )
    assert _refresh(filled) == 0
    assert not before & set(ask(filled, revisions))


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE game_results DISABLE TRIGGER sgdb_results_inserted",
        "ALTER TABLE games DISABLE TRIGGER USER",
        "ALTER TABLE game_results ENABLE REPLICA TRIGGER sgdb_results_deleted",
        "DROP TRIGGER sgdb_games_moved ON games",
        "DROP FUNCTION sgdb_keep_result_totals, sgdb_note_departure CASCADE",
    ],
)
def test_questions_are_refused_while_nobody_keeps_the_totals(filled: Engine, statement: str) -> None:
    """Rather no answer than one from yesterday; counting anew puts the triggers back."""
    execute(filled, statement)
    for question in (bot_performance, queries.benchmark_sets):
        with pytest.raises(SchemaError, match="sgdb_") as caught, transaction(filled) as connection:
            question(connection)
        assert "--refresh-totals" in str(caught.value.hint)
    _refresh(filled)
    with transaction(filled, read_only=True) as connection:
        assert absent_triggers(connection) == []
        assert len(bot_performance(connection)) == SETS * BOTS
    tamper(filled, "DELETE FROM games WHERE id % 2 = 0")
    tamper(filled, _RESULTS.strip().rstrip(";") + " ON CONFLICT DO NOTHING")
    assert_true(filled)


def test_counting_anew_keeps_writers_out_and_does_not_wait_for_ever(filled: Engine) -> None:
    """A writer that does not end makes it give up, and nothing has changed."""
    with filled.connect() as writer:
        writer.execute(text("UPDATE game_results SET tiles_cleared = 1 WHERE id = 1"))
        with pytest.raises(BusyError):
            _refresh(filled, timeout=0.05)
        writer.commit()
    assert _refresh(filled) == 0


def test_a_dump_that_pg_restore_has_put_back(filled: Engine, empty_database: str, tmp_path: Path) -> None:
    """It brings all rows, but no functions and so no triggers: that is said, and one command mends it."""
    backup = make_backup(filled, tmp_path, proven=False)
    with opened(empty_database) as engine:
        url = engine.url
        place = url.query if "host" in url.query else {"host": url.host, "port": url.port}
        address = f"host={place['host']} port={place['port']} dbname={url.database} user={url.username}"
        done = subprocess.run(
            [newest_program("pg_restore").path, "--no-owner", f"--dbname={address}", str(backup.path)],
            env={"PGPASSWORD": url.password or ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "sgdb_keep_result_totals" in done.stderr
        tamper(engine, "DELETE FROM games WHERE id = 1")
        with pytest.raises(SchemaError), transaction(engine) as connection:
            bot_performance(connection)
        assert _refresh(engine) > 0
        assert_true(engine)
        tamper(engine, "DELETE FROM games WHERE id = 2")
        assert_true(engine)


# -- answers --------------------------------------------------------------------------------------


def test_averages_are_the_nearest_floats(engine: Engine) -> None:
    """Also of numbers that are large and nearly the same, where floating-point sums would lose all digits."""
    random = Random(5)
    samples = {
        1: [2**31 - 1 - random.randrange(3) for _ in range(200)],
        2: [random.randrange(2**31) for _ in range(157)],
        3: [7],
        4: [3, 3, 3],
    }
    execute(engine, _PARENTS)
    with transaction(engine) as connection:
        for at in range(200):
            connection.execute(
                text(
                    "INSERT INTO games (id, benchmark_set_id, game_index, board_state)"
                    " VALUES (:n, 1, :n, '[]')"
                ),
                {"n": at},
            )
        rows = [
            {"game": game, "bot": bot, "tiles": tiles}
            for bot, all_ in samples.items()
            for game, tiles in enumerate(all_)
        ]
        connection.execute(text(f"{_NEW} VALUES (:game, :bot, :tiles, :tiles, :tiles, :tiles % 2 = 0)"), rows)
    with transaction(engine, read_only=True) as connection:
        answers = bot_performance(connection)
    for answer, sample in zip(answers, samples.values(), strict=True):
        assert answer["games"] == len(sample)
        assert answer["completed"] == sum(tiles % 2 == 0 for tiles in sample)
        mean = sum(sample) / len(sample)
        assert [answer[f"{what}_mean"] for what in ("tiles_cleared", "singles_remaining", "moves_made")] == [
            mean
        ] * 3
        deviation = statistics.stdev(sample) if len(sample) > 1 else None
        assert answer["tiles_cleared_stddev"] == deviation


def test_no_answer_fails_on_totals_that_somebody_has_spoilt(filled: Engine) -> None:
    """`verify` tells that they are wrong; a question must not end as a bug."""
    tamper(filled, "UPDATE result_totals SET results = 0 WHERE bot_id = 1")
    tamper(filled, "UPDATE result_totals SET results = -1 WHERE bot_id = 2")
    tamper(filled, "UPDATE result_totals SET tiles_cleared_square_sum = 0 WHERE bot_id = 3")
    with transaction(filled, read_only=True) as connection:
        bots = {row["bot"]: row["tiles_cleared_stddev"] for row in bot_performance(connection)}
    assert bots.keys() == {"B3", "B4"}
    assert bots["B3"] == 0
