"""Primary keys before their rows."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from sgdb.database.engine import transaction
from sgdb.database.ids import DryRunIds, GameKeys, SequenceIds
from tests.steps import database_state, tamper


def test_keys_of_the_sequence_never_meet_those_of_plain_inserts(engine: Engine) -> None:
    """Drawn keys are new, and an INSERT without a key goes on after them."""
    with transaction(engine) as connection:
        first = list(SequenceIds().take(connection, "bots", 5))
        assert list(SequenceIds().take(connection, "bots", 0)) == []
    tamper(engine, "INSERT INTO bots (name) VALUES ('plain')")
    with transaction(engine) as connection:
        (after,) = SequenceIds().take(connection, "bots", 1)
    assert (first, after) == ([1, 2, 3, 4, 5], 7)


def test_processes_that_draw_at_once_share_no_key(engine: Engine) -> None:
    """However their draws interleave, each gets as many as it asked for, and no key twice."""
    drawn: list[list[int]] = []

    def draw() -> None:
        for _ in range(10):
            with transaction(engine) as connection:
                drawn.append(list(SequenceIds().take(connection, "games", 700)))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(keys) for keys in drawn] == [700] * 40
    assert len({key for keys in drawn for key in keys}) == 28_000


def test_keys_of_a_dry_run_touch_no_sequence(engine: Engine) -> None:
    """They are negative and never repeat."""
    state = database_state(engine)
    ids = DryRunIds()
    with transaction(engine) as connection:
        assert list(ids.take(connection, "games", 3)) == [-1, -2, -3]
        assert list(ids.take(connection, "bots", 2)) == [-4, -5]
    assert database_state(engine) == state


@given(
    order=st.permutations(range(12)),
    sizes=st.lists(st.integers(1, 5), min_size=12, max_size=12),
    steps=st.lists(st.sampled_from([1, -1, 3, 0]), min_size=12, max_size=12),
)
def test_every_game_finds_its_key(order: list[int], sizes: list[int], steps: list[int]) -> None:
    """In whatever order the runs come, and whatever the distances between their keys are."""
    keys, expected = GameKeys(), {}
    for place in order:
        start = place * 10
        values = [1000 * place + (steps[place] or number) * number for number in range(sizes[place])]
        expected |= {start + number: value for number, value in enumerate(values)}
        keys.add_run(start, values)
    assert {index: keys[index] for index in expected} == expected
    for index in set(range(-1, 130)) - set(expected):
        with pytest.raises(KeyError):
            keys[index]
