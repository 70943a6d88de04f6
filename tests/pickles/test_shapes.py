"""Rows in one step: they are really taken so, and only where the machine would have done the same."""

from __future__ import annotations

import gc
import io
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdb.errors import InputRefusedError
from sgdb.pickles.layouts import CLASSES
from sgdb.pickles.parser import PickleParser
from tests.legacy import MODULES, benchmark, dump, instance, mapping, named, sequence, stream, text
from tests.pickles.reading import parsed, parsed_somehow


def accelerated(raw: bytes) -> float:
    """The part of the rows that were taken in one step."""
    parser = PickleParser(io.BytesIO(raw), CLASSES)
    rows = sum(len(batch.rows) for batch in parser.batches())
    assert parser._shapes is not None
    return parser._shapes._rows / rows


@pytest.mark.parametrize("layout", "ABCD")
@pytest.mark.parametrize("optimize", [False, True])
def test_most_rows_of_usual_files_are_taken_in_one_step(layout: str, optimize: bool) -> None:
    """All but the first few of each kind, whatever memo entries there are."""
    raw = dump(benchmark(layout, num_games=400, bots=("a", "b")), optimize=optimize)
    assert accelerated(raw) > 0.95
    assert parsed(raw) == parsed(raw, accelerate=False)


def test_rows_with_a_config_and_a_name_of_their_own() -> None:
    """Texts and instances that stand in every row are part of the pattern."""
    data = benchmark(num_games=400, shared_config=False)
    for row in data["results"]["LargestGroupBot"]:
        row.bot_name = "".join(["Largest", "GroupBot"])
        row.time = 0.25
    raw = dump(data)
    assert accelerated(raw) > 0.95
    assert parsed(raw) == parsed(raw, accelerate=False)


def test_a_text_stored_by_a_skipped_row_can_be_read_back() -> None:
    """Its memo entry is found by counting."""
    data = benchmark(num_games=100)
    names = ["".join(["bot", " name"]) for _ in range(100)]
    for row, name in zip(data["results"]["LargestGroupBot"], names, strict=True):
        row.bot_name = name
    data["favourite"] = names[77]
    raw = dump(data)
    assert accelerated(raw) > 0.4
    assert parsed(raw) == parsed(raw, accelerate=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.update(moves_made=70_000),
        lambda row: row.update(moves_made=-1),
        lambda row: row.update(moves_made=2**40),
        lambda row: row.update(moves_made=True),
        lambda row: row.update(completed=1),
        lambda row: row.update(bot_name="other"),
        lambda row: row.update(extra=None),
        lambda row: row.update({name: row.pop(name) for name in list(row)[::-1]}),
        lambda row: row.pop("completed"),
    ],
)
def test_an_odd_row_among_many(change: Callable[[dict[str, Any]], Any]) -> None:
    """Read as what it is, and the others with it."""
    data = benchmark(num_games=200)
    change(vars(data["results"]["LargestGroupBot"][120]))
    raw = dump(data)
    assert parsed(raw) == parsed(raw, accelerate=False)


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(
        st.sampled_from([0, 77, 255, 256, 65_535, 65_536, 2**31 - 1, -1, -(2**31)]) | st.integers(0, 70_000),
        min_size=12,
        max_size=40,
    )
)
def test_integers_of_any_length_in_one_column(numbers: list[int]) -> None:
    """A pickle writes them in one, two or four bytes, whichever suffices."""
    data = benchmark(num_games=len(numbers))
    for row, number in zip(data["results"]["LargestGroupBot"], numbers, strict=True):
        row.moves_made = number
    raw = dump(data)
    assert accelerated(raw) > 0.5
    assert parsed(raw) == parsed(raw, accelerate=False)


def test_different_integers_leave_nothing_in_memory() -> None:
    """The numbers of a large file's games are as many as its games."""

    def left(first: int) -> int:
        data = benchmark(num_games=2000)
        for row in (*data["games"], *data["results"]["LargestGroupBot"]):
            row.game_id += first
        raw = dump(data)
        before = held()
        assert accelerated(raw) > 0.9
        return held() - before

    def held() -> int:
        gc.collect()  # when the collector comes by itself depends on all that ran before
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        left(300)
        assert left(10_000) < 50_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cell", [0, 9, 10, 200, 300, -1, None, True, 0x28, 0x5D, 0x65, 0x4B, 0x94])
def test_an_odd_cell_among_many(cell: Any) -> None:
    """Also one whose byte is an opcode that boards are made of."""
    for optimize in (False, True):
        data = benchmark(num_games=200)
        data["games"][120].board[2][3] = cell
        raw = dump(data, optimize=optimize)
        assert parsed(raw) == parsed(raw, accelerate=False)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        text("x") + b"Ns",
        b"\x94",
        b"}" + text("x") + b"Ns",
        b"\x85",
        b"h\x00",
        b"h\x01",
        b"(t",
        b"(NNt",
        b"a",
        b"0",
    ],
)
@pytest.mark.parametrize("kind", ["dict", "instance"])
def test_what_follows_a_row(tail: bytes, kind: str) -> None:
    """A row that is changed, stored or used after it was finished is not taken in one step."""
    cls = named(MODULES["C"], "GameSnapshot")
    head = sequence(text("board_state") + b"\x94", text("seed") + b"\x94", cls + b"\x94")
    rows = []
    for number in range(6):
        state = mapping(b"h\x00", b"K\x01", b"h\x01", b"K" + bytes([number]))
        rows.append(state if kind == "dict" else instance(b"h\x02", state))
    raw = stream(b"}(", text("x"), head, text("games"), b"](", *rows[:5], tail, rows[5], tail, b"e", b"u")
    outcomes = []
    for accelerate in (True, False):
        try:
            outcomes.append(repr(parsed_somehow(raw, accelerate=accelerate)))
        except InputRefusedError:
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1]
