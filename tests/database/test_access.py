"""How operations reach a database that is ready."""

from __future__ import annotations

import secrets

from sqlalchemy import Engine

from sgdb.database.access import ready_engine
from sgdb.settings import load_settings
from tests.steps import ask, tamper


def test_a_server_without_a_free_connection_is_asked_again(engine: Engine) -> None:
    """And the person is told why it takes a while."""
    role, database = f"sgdb_test_{secrets.token_hex(6)}", engine.url.database
    tamper(engine, f"CREATE ROLE {role} LOGIN PASSWORD 'guest' CONNECTION LIMIT 0")
    tamper(engine, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    url = engine.url.set(username=role, password="guest").render_as_string(hide_password=False)
    said: list[str] = []

    def on_notice(message: str) -> None:
        said.append(message)
        tamper(engine, f"ALTER ROLE {role} CONNECTION LIMIT -1")

    try:
        with ready_engine(load_settings({"database_url": url}), on_notice) as guest:
            assert ask(guest, "SELECT current_database()") == [(database,)]
    finally:
        tamper(engine, f"DROP OWNED BY {role}")
        tamper(engine, f"DROP ROLE {role}")
    assert [message.split(":")[0] for message in said] == ["trying again (1 of 7)"]
    assert "no free connection" in said[0]
