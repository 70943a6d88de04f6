"""Locks between commands that write sets."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine

from sgdb.database.engine import transaction
from sgdb.database.locks import lock_all_sets, lock_set
from sgdb.errors import BusyError
from sgdb.records import GameConfig

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


@pytest.mark.parametrize("base_seed", [0, -1, 2**63 - 1, -(2**63)])
def test_any_base_seed_has_its_lock(engine: Engine, base_seed: int) -> None:
    """Whatever 64 bits hold."""
    with transaction(engine) as connection:
        lock_set(connection, CONFIG, base_seed, timeout=1)
