"""Questions of one statement: how they get to the server, and what is left of them there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, make_url

from sgdb.database.direct import DirectConnections, Question
from sgdb.database.engine import make_engine, transaction
from sgdb.errors import DatabaseUnreachableError, SchemaError
from sgdb.settings import load_settings
from sgdb.storage import PostgresStorage
from sgdb.testing.contract import CONFIG, whole
from tests.database.pooler import Pooler
from tests.steps import tamper

_SUM = Question("SELECT %(a)s + %(b)s", {"a": "integer", "b": "integer"})
_PREPARED = Question("SELECT array_agg(name ORDER BY name) FROM pg_prepared_statements", {})
_TEXT = Question("SELECT %(text)s", {"text": "text"})
_PLANS = Question(
    "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = %(name)s", {"name": "text"}
)
_SESSION = Question("SELECT pg_backend_pid()", {})
_ABSENT = Question("SELECT a FROM no_such_table", {})


@pytest.fixture
def direct(engine: Engine) -> Iterator[DirectConnections]:
    """Connections to the test's database."""
    direct = DirectConnections(engine)
    yield direct
    direct.close()


def either(direct: DirectConnections, question: Question, **values: object) -> object:
    """The first value of the answer, by a connection at hand if there is one."""
    rows = direct.ask_at_hand(question, values)
    return (direct.ask(question, values) if rows is None else rows)[0][0]


def test_a_question_is_planned_once(direct: DirectConnections) -> None:
    """And executed with whatever values, by the session that is at hand."""
    assert direct.ask_at_hand(_SUM, {"a": 1, "b": 1}) is None
    assert [either(direct, _SUM, a=1, b=n) for n in range(10)] == list(range(1, 11))
    assert either(direct, _PREPARED) == sorted([_SUM.name, _PREPARED.name])
    assert direct.ask_at_hand(_PLANS, {"name": _SUM.name}) == [(10, 0)]
    for text in ("", "it's", "100 %s %(a)s", "\\", "é\n", "'; SELECT 1; --"):
        assert either(direct, _TEXT, text=text) == text


def test_statements_have_names_of_their_own() -> None:
    """Another text is another statement, whichever version of the program prepared it."""
    assert _SUM.name != Question("SELECT %(a)s - %(b)s", _SUM.types).name
    assert len(_SUM.name) < 64  # longer ones are cut by the server


def test_an_error_leaves_the_connection_at_hand(direct: DirectConnections) -> None:
    """There is no transaction that it could have spoilt."""
    session = either(direct, _SESSION)
    for _ in range(2):
        with pytest.raises(SchemaError):
            direct.ask_at_hand(_ABSENT, {})
        assert direct.ask_at_hand(_SESSION, {}) == [(session,)]
    direct.give_back()
    with pytest.raises(SchemaError):
        direct.ask(_ABSENT, {})
    assert direct.ask_at_hand(_SESSION, {}) == [(session,)]


def test_a_lost_connection_is_not_at_hand(direct: DirectConnections, engine: Engine) -> None:
    """Nor are the others that were. Whoever asks through the pool gets a new one."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: either(direct, _SESSION), range(20)))
    tamper(
        engine,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    assert direct.ask_at_hand(_SUM, {"a": 1, "b": 2}) is None
    assert direct.ask_at_hand(_SUM, {"a": 1, "b": 2}) is None
    assert direct.ask(_SUM, {"a": 1, "b": 2}) == [(3,)]
    assert direct.ask_at_hand(_SUM, {"a": 1, "b": 2}) == [(3,)]


def test_no_server(direct: DirectConnections, database_url: str) -> None:
    """Says so in sgdb's own error."""
    nowhere = make_engine(make_url(database_url).set(host="127.0.0.1", port=1, query={}))
    with pytest.raises(DatabaseUnreachableError):
        DirectConnections(nowhere).ask(_SUM, {"a": 1, "b": 2})


def test_transactions_get_the_connections_that_were_at_hand(
    direct: DirectConnections, engine: Engine
) -> None:
    """Given back, they are as the pool has made them: a transaction is one, and nothing of it stays."""
    session = either(direct, _SESSION)
    direct.give_back()
    for read_only in (True, False):
        with transaction(engine, read_only=read_only) as connection:
            assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() == session
            connection.exec_driver_sql("SET LOCAL work_mem = '1MB'")
            assert connection.exec_driver_sql("SHOW work_mem").scalar() == "1MB"
            assert connection.exec_driver_sql("SHOW plan_cache_mode").scalar() == "auto"
        assert either(direct, _SESSION) == session
        read_only_now = Question("SELECT current_setting('transaction_read_only')", {})
        assert either(direct, read_only_now) == "off"
        assert (
            either(direct, Question("SELECT current_setting('default_transaction_isolation')", {}))
            == "read committed"
        )
        direct.give_back()


def test_what_is_at_hand_is_little(direct: DirectConnections, engine: Engine) -> None:
    """However many have asked at once, the pool has connections left for others."""
    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(lambda n: either(direct, _SUM, a=n, b=1) == n + 1, range(200)))
    with transaction(engine) as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    assert len(direct._idle) <= 2


def test_a_pooler_is_told_by_its_process_id(database_url: str) -> None:
    """Behind it nothing is prepared or set for a session, since others get it next."""
    pooler = Pooler(make_url(database_url))
    settings = load_settings({"database_url": pooler.url})
    with PostgresStorage(settings, CONFIG, 42) as storage:
        storage.save_data(whole(42))
        for _ in range(3):
            assert storage.load_data() == storage.load_part() == storage.load_part(None, 0, 9) == whole(42)
            assert list(storage.iter_games(1, 3)) == whole(42).games[1:3]
            assert storage.load_results("B", 0, 9) == whole(42).results["B"]
    for session in pooler.sessions:
        with session.cursor() as cursor:
            cursor.execute("SELECT count(*), current_setting('plan_cache_mode') FROM pg_prepared_statements")
            assert cursor.fetchone() == (0, "auto")
            cursor.execute("SHOW default_transaction_read_only")
            assert cursor.fetchone() == ("off",)
    pooler.close()


def test_a_pooler_that_cannot_be_told(database_url: str) -> None:
    """A statement that the session does not have, or has from another, is sent as it is from then on."""
    pooler = Pooler(make_url(database_url))
    pooler.switches = False
    pooler._process_id = pooler.sessions[0].info.backend_pid
    url = pooler.url
    first, second = (DirectConnections(make_engine(url)) for _ in range(2))
    assert either(first, _SUM, a=1, b=2) == 3
    assert either(second, _SUM, a=1, b=3) == 4  # prepared by the first
    pooler.switch()
    assert either(first, _SUM, a=1, b=4) == 5  # not prepared here
    assert either(first, _TEXT, text="a") == "a"
    assert either(first, _PREPARED) is None
    for each in (first, second):
        each.close()
    pooler.close()
