"""The records: what they promise beyond being tuples."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sgdb.records import BotPerformance, Contents, GameConfig, GameSnapshot, IdRuns

ids = st.lists(st.integers(0, 40), max_size=60)


def runs_of(numbers: list[int]) -> IdRuns:
    runs = IdRuns()
    for number in numbers:
        runs.append(number)
    return runs


@given(ids)
def test_id_runs_are_the_list_they_were_made_of(numbers: list[int]) -> None:
    """Order and repeats are kept, one by one or read back from pairs."""
    runs = runs_of(numbers)
    assert list(runs) == numbers
    assert len(runs) == len(numbers)
    assert list(IdRuns(runs.pairs())) == numbers
    assert IdRuns(json.loads(json.dumps(runs.pairs()))) == runs


@given(ids, ids)
def test_id_runs_agree_with_sets(ours: list[int], others: list[int]) -> None:
    """distinct, minus and repeats are those of plain sets, in order and without a needless run."""
    runs = runs_of(ours)
    assert list(runs.distinct()) == sorted(set(ours))
    assert list(runs.minus(runs_of(others))) == sorted(set(ours) - set(others))
    assert list(runs.repeats()) == sorted(number for number in set(ours) if ours.count(number) > 1)
    for result in (runs.distinct(), runs.minus(runs_of(others)), runs.repeats()):
        assert result == runs_of(list(result))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=20))
def test_extend_adds_what_append_would(stretches: list[tuple[int, int]]) -> None:
    """Stretches of ids are the same as their ids one after the other; empty ones add nothing."""
    stretched = IdRuns()
    for start, length in stretches:
        stretched.extend(start, start + length)
    assert stretched == runs_of([n for start, length in stretches for n in range(start, start + length)])


def test_id_runs_stay_small_and_show_what_they_hold() -> None:
    """A million ids in order are one pair."""
    runs = IdRuns()
    runs.extend(0, 10**6)
    runs.append(10**6)
    assert runs.pairs() == [(0, 10**6 + 1)]
    assert repr(runs) == "IdRuns([(0, 1000001)])"
    assert runs != [(0, 10**6 + 1)]


def test_contents_travel_through_json() -> None:
    """What a file holds comes back from the database's JSON as an equal value."""
    contents = Contents(
        layout="C",
        config=GameConfig(5, 7, 3),
        num_games=20,
        base_seed=-(2**63),
        games=runs_of([0, 1, 2, 9, 2]),
        results=(("b", runs_of([3, 1])), ("a", IdRuns())),
        extra={"note": {"$float": "nan"}},
        config_extra={"x": 1},
    )
    again = Contents.from_json(json.loads(json.dumps(contents.to_json())))
    assert again == contents
    assert again.result_count == 2


def test_rows_and_configs_read_well() -> None:
    """A board's cells are its JSON, a config prints as rows x columns x colours."""
    assert GameSnapshot(0, "[[1,2],[2,1]]", 1).cells == [[1, 2], [2, 1]]
    assert BotPerformance("b", 0, 1, 2, 3, False).metadata is None
    assert str(GameConfig(5, 7, 3)) == "5x7x3"
