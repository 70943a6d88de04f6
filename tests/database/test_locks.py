"""Locks between commands that write sets."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from sgdb.database.engine import transaction
from sgdb.database.locks import lock_all_sets, lock_bots_in_set, lock_set, lock_tables
from sgdb.errors import BusyError, SchemaError
from sgdb.records import GameConfig
from tests.steps import ask

CONFIG = GameConfig(5, 5, 3)


def _is_free(connection: Connection, base_seed: int | None) -> bool:
    """Whether the set's lock, or without a seed the lock on all, can be had at once."""
    waits: list[int] = []
    refused: BusyError | None = None
    savepoint = connection.begin_nested()
    try:
        if base_seed is None:
            lock_all_sets(connection, timeout=0.01, on_wait=lambda: waits.append(1))
        else:
            lock_set(connection, CONFIG, base_seed, timeout=0.01, on_wait=lambda: waits.append(1))
    except BusyError as error:
        refused = error
    savepoint.rollback()  # gives the lock back
    assert len(waits) == (refused is not None)
    assert refused is None or "SGDB_LOCK_TIMEOUT" in (refused.hint or "")
    return refused is None


def test_a_set_is_locked_for_others_only_and_only_that_set(engine: Engine) -> None:
    """Until the transaction ends; whoever needs all sets waits for it too."""
    with transaction(engine) as one, transaction(engine) as other:
        lock_set(one, CONFIG, 1, timeout=1)
        assert _is_free(one, 1)
        assert not _is_free(other, 1)
        assert _is_free(other, 2)
        assert not _is_free(other, None)
        one.rollback()
        assert _is_free(other, 1)
        assert _is_free(other, None)


def test_all_sets_at_once(engine: Engine) -> None:
    """Nobody else gets any of them."""
    with transaction(engine) as one, transaction(engine) as other:
        lock_all_sets(one, timeout=1)
        assert _is_free(one, 1)
        assert not _is_free(other, 1)
        assert not _is_free(other, None)


def test_locks_are_taken_in_one_order(engine: Engine) -> None:
    """None before the one in front of it is there, or two writers would each hold what the other wants."""
    with transaction(engine) as first, transaction(engine) as second, transaction(engine) as third:
        lock_bots_in_set(first, CONFIG, 1, ["b"], timeout=1)
        with pytest.raises(BusyError):
            lock_bots_in_set(second, CONFIG, 1, ["c", "b", "a"], timeout=0.01)
        lock_bots_in_set(third, CONFIG, 1, ["c", "d"], timeout=0.01)
        with pytest.raises(BusyError):
            lock_bots_in_set(third, CONFIG, 1, ["a"], timeout=0.01)
        assert not _is_free(first, 1)
        first.rollback()
        third.rollback()
        waits: list[int] = []
        lock_bots_in_set(second, CONFIG, 1, ["a", "b", "c"], timeout=1, on_wait=lambda: waits.append(1))
        assert waits == []


def test_waiting_goes_on_where_it_stopped(engine: Engine) -> None:
    """What has been taken while waiting is not asked for again, and is not lost."""
    with transaction(engine) as holder, transaction(engine) as ours, transaction(engine) as other:
        lock_bots_in_set(holder, CONFIG, 1, ["b"], timeout=1)
        lock_bots_in_set(ours, CONFIG, 1, ["a", "b", "c"], timeout=9, on_wait=holder.rollback)
        for bot in "abc":
            with pytest.raises(BusyError):
                lock_bots_in_set(other, CONFIG, 1, [bot], timeout=0.01)
        lock_bots_in_set(other, CONFIG, 1, [f"bot {number}" for number in range(500)], timeout=1)


def test_who_waits_for_a_set_is_not_overtaken(engine: Engine) -> None:
    """Else many programs that store results, each for a moment, would keep it out for good."""
    with transaction(engine) as holder, transaction(engine) as ours, transaction(engine) as other:
        lock_bots_in_set(holder, CONFIG, 1, ["a"], timeout=1)

        def while_waiting() -> None:
            with pytest.raises(BusyError):
                lock_bots_in_set(other, CONFIG, 1, ["b"], timeout=0.01)
            lock_bots_in_set(other, CONFIG, 2, ["b"], timeout=1)
            holder.rollback()

        lock_set(ours, CONFIG, 1, timeout=9, while_waiting=while_waiting)
        ours.rollback()
        lock_bots_in_set(other, CONFIG, 1, ["b"], timeout=1)


def test_no_lock_outlives_its_transaction(engine: Engine) -> None:
    """Also on a connection that is kept."""
    with transaction(engine) as connection:
        lock_bots_in_set(connection, CONFIG, 1, ["a"], timeout=1)
        connection.rollback()
        held = (
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert ask(engine, held) == [(0,)]


@pytest.mark.parametrize("base_seed", [0, -1, 2**63 - 1, -(2**63)])
def test_any_base_seed_has_its_lock(engine: Engine, base_seed: int) -> None:
    """Whatever 64 bits hold."""
    with transaction(engine) as connection:
        lock_set(connection, CONFIG, base_seed, timeout=1)


def test_tables_are_locked_for_writers_only(engine: Engine) -> None:
    """A writer that knows no locks of sgdb is waited for and then kept out; readers are in nobody's way."""
    insert = text("INSERT INTO bots (name) VALUES ('x')")
    with engine.connect() as writer, transaction(engine) as ours, transaction(engine) as reader:
        writer.execute(insert)
        waits: list[int] = []
        with pytest.raises(BusyError, match="sgdb's tables"):
            lock_tables(ours, ["games", "bots"], timeout=0.3, on_wait=lambda: waits.append(1))
        assert waits == [1]
        writer.rollback()
        lock_tables(ours, ["games", "bots"], timeout=1)
        assert reader.execute(text("SELECT count(*) FROM bots")).scalar_one() == 0
        writer.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(DBAPIError):
            writer.execute(insert)


def test_waiting_for_tables_leaves_the_other_waits_as_they_were(engine: Engine) -> None:
    """What the transaction does afterwards waits as long as it was told to."""
    for outcome in ("got", "not got"):
        with transaction(engine, lock_timeout=7) as ours, transaction(engine) as other:
            if outcome == "not got":
                other.execute(text("LOCK TABLE bots"))
                with pytest.raises(BusyError):
                    lock_tables(ours, ["bots"], timeout=0.01)
            else:
                lock_tables(ours, ["bots"], timeout=1)
            assert ours.execute(text("SHOW lock_timeout")).scalar_one() == "7s"


def test_a_table_that_is_not_there_is_no_wait(engine: Engine) -> None:
    """Any other answer of the server comes out as it is."""
    with pytest.raises(SchemaError), transaction(engine) as connection:
        lock_tables(connection, ["nowhere"], timeout=1)
