"""Rows through each format and back, to the value; and what is refused in files that others have touched."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sgdb.errors import ValueRefusedError
from sgdb.interchange.formats import FORMATS
from sgdb.interchange.strict_json import loads
from sgdb.interchange.tables import BOTS, GAMES, HISTORIES, RESULTS, SETS, Kind, Row, Table

_NAMES = list(FORMATS)
_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
_texts = _text | st.sampled_from(
    ["", '"', '""', '"""', "a,b", "\r", "\r\n", "\n", "null", "\ufeff", " a ", "\\N"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
)
_VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    Kind.REAL: st.floats(allow_nan=False, allow_infinity=False),
    Kind.BOOLEAN: st.booleans(),
    Kind.TEXT: _texts,
    Kind.GRID: st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=3), max_size=3),
    Kind.JSON: _json.filter(lambda value: value is not None),
}


@st.composite
def _tables(draw: st.DrawFn) -> tuple[Table, list[Row]]:
    table = draw(st.sampled_from([SETS, BOTS, GAMES, RESULTS, HISTORIES]))
    columns = [
        st.none() | _VALUES[column.kind] if column.optional else _VALUES[column.kind]
        for column in table.columns
    ]
    return table, draw(st.lists(st.tuples(*columns), max_size=5))


def _as_stored(table: Table, row: Row) -> Row:
    """The row as the database hands it out: JSON as text."""
    return tuple(
        json.dumps(value, ensure_ascii=False)
        if column.kind in (Kind.GRID, Kind.JSON) and value is not None
        else value
        for column, value in zip(table.columns, row, strict=True)
    )


def _written(format: str, table: Table, rows: list[Row]) -> bytes:
    file = io.BytesIO()
    assert FORMATS[format].write(file, table, (_as_stored(table, row) for row in rows)) == len(rows)
    return file.getvalue()


def _read(format: str, table: Table, raw: bytes) -> list[Row]:
    return [row for batch in FORMATS[format].read(io.BytesIO(raw), table) for row in batch]


@pytest.mark.parametrize("format", _NAMES)
@given(given_rows=_tables())
@hypothesis_settings(max_examples=60, deadline=None)
def test_rows_come_back(format: str, given_rows: tuple[Table, list[Row]]) -> None:
    """Nulls and empty texts, quotation marks, line ends, floats and large numbers: equal, types included."""
    table, rows = given_rows
    assert repr(_read(format, table, _written(format, table, rows))) == repr(rows)


@pytest.mark.parametrize("format", _NAMES)
def test_many_rows_stream(format: str) -> None:
    """More rows than a batch has, in order; none are fine as well."""
    rows = [(42, index, None, [[index]], None) for index in range(2500)]
    assert _read(format, GAMES, _written(format, GAMES, rows)) == rows
    assert _read(format, GAMES, _written(format, GAMES, [])) == []


def test_json_on_several_lines_becomes_one() -> None:
    """A board that somebody stored with line breaks does not break a line."""
    file = io.BytesIO()
    FORMATS["jsonl"].write(file, GAMES, [(1, 0, 5, "[[1,\n2],\r\n[3, 4]]", None)])
    assert _read("jsonl", GAMES, file.getvalue()) == [(1, 0, 5, [[1, 2], [3, 4]], None)]


# -- files that a spreadsheet or a person has touched -------------------------------------------------

_BOTS_CSV = b"name,bot_type,version,metadata\r\na,,1.0,\r\n"


def test_what_a_spreadsheet_does_to_a_csv_is_read() -> None:
    """A byte order mark, other line ends, quoted cells, columns in another order, truth in capitals."""
    raw = b'\xef\xbb\xbf"version","name","metadata","bot_type"\n"1.0","a","","dqn"\n'
    assert _read("csv", BOTS, raw) == [("a", "dqn", "1.0", None)]
    names = ",".join(RESULTS.names)
    raw = f"{names}\n1,a,0,1,2,3,TRUE,0.50,\n".encode()
    assert _read("csv", RESULTS, raw) == [(1, "a", 0, 1, 2, 3, True, 0.5, None)]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "the header is missing"),
        (b"name,bot_type,version\r\n", "'metadata' are missing"),
        (b"name,bot_type,version,metadata,Column1\r\n", "'Column1' are not known"),
        (b"name,name,bot_type,version,metadata\r\n", "twice"),
        (_BOTS_CSV + b"b,,1.0\r\n", "row 2: 3 cells where the header has 4"),
        (_BOTS_CSV + b"b,,1.0,{oops\r\n", "row 2, column metadata: no JSON"),
        (_BOTS_CSV + b'b,,1.0,"{}', "row 2: unexpected end of data"),
        (_BOTS_CSV + b"b\0,,1.0,\r\n", "row 2, column name"),
        (_BOTS_CSV + b"\xff,,1.0,\r\n", "not UTF-8"),
        (b"name;bot_type;version;metadata\r\n", "are missing"),
    ],
)
def test_a_broken_csv_is_refused_with_its_place(raw: bytes, said: str) -> None:
    """What is wrong, in which row."""
    with pytest.raises(ValueRefusedError, match=said):
        _read("csv", BOTS, raw)


@pytest.mark.parametrize("cell", ["1.0", "1e3", "+1", "0x1", "1_000", " 1", "", "9" * 19, "9" * 30, "\u0661"])
def test_a_cell_that_is_no_whole_number(cell: str) -> None:
    """Also what Python's own `int` would take, and what 64 bits cannot hold."""
    with pytest.raises(ValueRefusedError, match=r"row 1, column num_games: .* is not a whole number"):
        _read("csv", SETS, f"{','.join(SETS.names)}\n1,1,2,42,{cell},x,\n".encode())


@pytest.mark.parametrize("cell", ["nan", "inf", "1e999", "-Infinity", "1_0", "0x1p3"])
def test_a_cell_that_is_no_finite_number(cell: str) -> None:
    """JSON and the database know neither NaN nor infinity."""
    with pytest.raises(ValueRefusedError, match="row 1, column execution_time_ms"):
        _read("csv", RESULTS, f"{','.join(RESULTS.names)}\n1,a,0,1,2,3,true,{cell},\n".encode())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"[]", "row 1: no JSON object"),
        (b"{", "row 1: no JSON"),
        (b"\xff", "row 1: no JSON"),
        (b'{"name": "a", "name": "b"}', "one name twice"),
        (b'{"name": "a", "bot_type": null, "version": null}', "'metadata' are missing"),
        (b'{"name": "a", "bot_type": null, "version": null, "metadata": null, "x": 1}', "'x' are not known"),
        (b'{"name": 1, "bot_type": null, "version": null, "metadata": null}', "column name: 1 is not a text"),
        (b'{"name": null, "bot_type": null, "version": null, "metadata": null}', "column name: None"),
        (b'{"name": "\\u0000", "bot_type": null, "version": null, "metadata": null}', "cannot store"),
        (b'{"name": "\\ud800", "bot_type": null, "version": null, "metadata": null}', "cannot store"),
        (b'{"name": "a", "bot_type": null, "version": null, "metadata": NaN}', "NaN"),
        (b'{"name": "a", "bot_type": null, "version": null, "metadata": 1e999}', "too large"),
        (b'{"name": "a", "bot_type": null, "version": null, "metadata": ' + b"9" * 5000 + b"}", "row 1"),
        (b'{"name": "a", "bot_type": null, "version": null, "metadata": ' + b"9" * 400 + b"}", "too large"),
        (b'{"name": "a", "metadata": ' + b"[" * 100_000, "row 1: nested too deeply"),
        (b'{"name": "a", "metadata": ' + b"[" * 200 + b"]" * 200 + b"}", "more than 100 levels"),
        (b"", "row 1: no JSON"),
    ],
)
def test_a_broken_line_of_json_is_refused_with_its_place(line: bytes, said: str) -> None:
    """What is wrong, in which row."""
    with pytest.raises(ValueRefusedError, match=said):
        _read("jsonl", BOTS, line + b"\n")


def test_numbers_of_the_wrong_type_are_told_apart() -> None:
    """True is no number, and 1.0 no whole one."""
    for value in ("true", "1.0", '"1"', str(2**63)):
        line = f'{{"base_seed": {value}, "game_index": 0, "seed": 1, "board": [], "metadata": null}}\n'
        with pytest.raises(ValueRefusedError, match="row 1, column base_seed"):
            _read("jsonl", GAMES, line.encode())


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_cut_parquet_is_refused(cut: int) -> None:
    """Whatever is left of it."""
    raw = _written("parquet", BOTS, [("a", None, "1.0", None)])
    with pytest.raises(ValueRefusedError, match="no sound Parquet"):
        _read("parquet", BOTS, raw[:cut])


def test_a_parquet_of_other_columns_is_refused() -> None:
    """By name, and by the type of its values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for columns, said in (
        ({"name": ["a"]}, "are missing"),
        ({"name": [1], "bot_type": ["a"], "version": ["a"], "metadata": ["{}"]}, "column name: 1"),
        ({"name": ["a"], "bot_type": ["a"], "version": ["a"], "metadata": ["{"]}, "column metadata: no JSON"),
    ):
        file = io.BytesIO()
        pq.write_table(pa.table(columns), file)
        with pytest.raises(ValueRefusedError, match=said):
            _read("parquet", BOTS, file.getvalue())


def test_a_board_that_parquet_cannot_hold_is_named() -> None:
    """JSON Lines can, and is the way out."""
    with pytest.raises(ValueRefusedError, match="table games, column board") as caught:
        FORMATS["parquet"].write(io.BytesIO(), GAMES, [(1, 0, 5, '[["x"]]', None)])
    assert "jsonl" in (caught.value.hint or "")


def test_json_numbers_stay_what_they_are() -> None:
    """Whole numbers of any size up to the limit, floats to the last bit."""
    assert loads("[1, 1.0, -0.0, 1e-320]") == [1, 1.0, -0.0, 1e-320]
    assert math.copysign(1, loads("-0.0")) == -1
