"""COPY: what goes in comes out, and what goes wrong keeps its own name."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, make_url, text

from sgdb.database.bulk import copy_lines, json_cell
from sgdb.database.engine import transaction
from sgdb.errors import DatabaseUnreachableError, InternalError
from tests.backups import opened
from tests.steps import ask, count, tamper, until

_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def _copy_bots(engine: Engine, lines: Iterator[str] | list[str]) -> None:
    with transaction(engine) as connection:
        copy_lines(connection, "bots", ("id", "name", "metadata"), lines)


@given(value=st.dictionaries(_text, _text | st.integers() | st.booleans() | st.none(), max_size=4))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_survives_the_copy_format(engine: Engine, value: dict[str, object]) -> None:
    """Tabs, newlines, backslashes, quotes and every other character of texts arrive as they were."""
    tamper(engine, "DELETE FROM bots")
    _copy_bots(engine, [f"1\tx\t{json_cell(value)}\n"])
    ((found,),) = ask(engine, "SELECT metadata::text FROM bots")
    assert json.loads(found) == value


@pytest.mark.parametrize("encoding", ["latin1", "sjis", "utf8"])
def test_a_session_with_another_encoding(database_url: str, encoding: str) -> None:
    """As the address may ask for: texts arrive as they were all the same."""
    name = "Bö, ボット €"
    with opened(make_url(database_url).update_query_dict({"client_encoding": encoding})) as engine:
        _copy_bots(engine, [f"1\t{name}\t\\N\n"])
    with opened(database_url) as engine:
        assert ask(engine, "SELECT name FROM bots") == [(name,)]


def test_no_json_is_null() -> None:
    """None is SQL's NULL, not JSON's."""
    assert json_cell(None) == r"\N"
    with pytest.raises(ValueError, match="JSON"):
        json_cell({"a": float("nan")})


def test_lines_of_any_length(engine: Engine) -> None:
    """Longer than what is read at a time, many in one piece, and none at all."""
    long = json_cell({"a": "x" * 300_000})
    many = "".join(f"{number}\tb{number}\t\\N\n" for number in range(10, 20_000))
    _copy_bots(engine, [f"1\ta\t{long}\n", many, "2\tz\t\\N\n"])
    _copy_bots(engine, [])
    assert count(engine, "bots") == 19_992
    assert ask(engine, "SELECT length(metadata ->> 'a') FROM bots WHERE id = 1") == [(300_000,)]


@pytest.mark.parametrize("error", [ZeroDivisionError("why"), KeyboardInterrupt(), InternalError("own")])
def test_what_the_making_of_a_line_raises_comes_out_as_it_is(engine: Engine, error: BaseException) -> None:
    """Not as the driver's error about it; nothing stays of the lines before."""

    def lines() -> Iterator[str]:
        yield "1\ta\t\\N\n" * 1
        yield "".join(f"{number}\tb{number}\t\\N\n" for number in range(10, 20_000))
        raise error

    with pytest.raises(type(error)) as caught:
        _copy_bots(engine, lines())
    assert caught.value is error
    assert count(engine, "bots") == 0


def test_ctrl_c_between_two_reads_is_ctrl_c(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that strikes before the reader can keep it comes out as KeyboardInterrupt all the same."""

    def struck(self: object, size: int = -1, /) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("sgdb.database.bulk._Reader.read", struck)
    with pytest.raises(KeyboardInterrupt):
        _copy_bots(engine, ["1\ta\t\\N\n"])


def test_the_servers_own_refusal_is_translated(engine: Engine) -> None:
    """A row that breaks the format or a constraint is an sgdb error, and nothing stays."""
    for line in ("1\ta\n", "1\ta\t{not json\n", "1\ta\t\\N\n1\tb\t\\N\n"):
        with pytest.raises(InternalError):
            _copy_bots(engine, [line])
    assert count(engine, "bots") == 0


def test_a_session_that_the_server_ends_is_told_in_its_words(
    engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """The reason comes out in the error, and the driver prints nothing beside it; others' mishaps are still
    shown."""
    shown = sys.excepthook

    def lines(pid: int) -> Iterator[str]:
        yield "".join(f"{number}\tb{number}\n" for number in range(10_000))
        ask(engine, "SELECT pg_terminate_backend(:pid)", pid=pid)
        until(lambda: not ask(engine, "SELECT 1 FROM pg_stat_activity WHERE pid = :pid", pid=pid))
        sys.excepthook(ZeroDivisionError, ZeroDivisionError("of somebody else"), None)
        yield "".join(f"{number}\tb{number}\n" for number in range(10_000, 90_000))

    with (
        pytest.raises(DatabaseUnreachableError, match="administrator command"),
        transaction(engine) as connection,
    ):
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        copy_lines(connection, "bots", ("id", "name"), lines(pid))
    assert capfd.readouterr() == ("", "ZeroDivisionError: of somebody else\n")
    assert sys.excepthook is shown
    assert count(engine, "bots") == 0


def test_a_savepoint_survives_a_failed_copy(engine: Engine) -> None:
    """What came before the savepoint can still be committed."""
    with transaction(engine) as connection:
        copy_lines(connection, "bots", ("id", "name"), ["1\tbefore\n"])
        with pytest.raises(ZeroDivisionError), connection.begin_nested():
            copy_lines(connection, "bots", ("id", "name"), (f"{1 // number}\tx\n" for number in (1, 0)))
        connection.execute(text("INSERT INTO bots (id, name) VALUES (3, 'after')"))
    assert ask(engine, "SELECT name FROM bots ORDER BY id") == [("before",), ("after",)]
