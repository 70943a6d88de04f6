"""Whole legacy files: every layout and every way of pickling it gives the same records."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdb.errors import (
    DamagedPickleError,
    InputRefusedError,
    LayoutError,
    UnsafePickleError,
    ValueRefusedError,
)
from sgdb.game.boards import draw_board
from sgdb.pickles import legacy
from sgdb.pickles.files import FileSource
from sgdb.pickles.legacy import Games, LegacyFile
from sgdb.records import GameConfig
from tests.legacy import benchmark, dump, plain, write_legacy
from tests.pickles.reading import BytesSource, parsed, parsed_somehow, read

Spoil = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize("layout", "ABCD")
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_layout_and_protocol_gives_the_same_records(tmp_path: Path, layout: str, protocol: int) -> None:
    """However it was pickled: by either pickler, optimized, with one config or one config a game."""
    bots = () if layout == "D" else ("a", "b")
    expected = read(write_legacy(tmp_path / "first", num_games=30, bots=bots)).records
    for options in ({}, {"optimize": True}, {"python": True}, {"shared_config": False}):
        path = write_legacy(
            tmp_path / "x", layout=layout, protocol=protocol, num_games=30, bots=bots or ("a",), **options
        )
        found = read(path)
        assert found.file.contents.layout == layout
        assert found.file.protocol == protocol
        assert found.records == expected
        boards = [g["board_state"] if layout == "D" else g.board for g in plain(path)["games"]]
        assert [game.cells for game in found.games] == boards


@pytest.mark.parametrize("layout", "ABCD")
@pytest.mark.parametrize(
    "config", [(1, 1, 2), (1, 7, 3), (7, 1, 3), (5, 5, 2), (4, 4, 13), (20, 20, 6), (2, 300, 3), (3, 3, 300)]
)
def test_every_shape_of_board(tmp_path: Path, layout: str, config: tuple[int, int, int]) -> None:
    """1x1, one row, one column, a single colour, 12 colours, large, very wide, more colours than a byte."""
    path = write_legacy(tmp_path / "x", layout=layout, config=config, num_games=7)
    found = read(path)
    assert found.file.contents.config == GameConfig(*config)
    assert [g.cells for g in found.games] == [
        draw_board(GameConfig(*config), g.seed or 0) for g in found.games
    ]
    raw = path.read_bytes()
    assert parsed(raw) == parsed(raw, accelerate=False)


def test_the_order_of_keys_and_rows_is_told(tmp_path: Path) -> None:
    """Contents give the ids in file order, and the bots' keys in file order."""

    def spoil(data: dict[str, Any]) -> None:
        data["games"].reverse()
        data["results"]["b"] = data["results"]["b"][3:] + data["results"]["b"][:1]

    found = read(write_legacy(tmp_path / "x", num_games=5, bots=("z", "b", "a"), spoil=spoil))
    contents = found.file.contents
    assert list(contents.games) == [4, 3, 2, 1, 0]
    assert [(key, list(runs)) for key, runs in contents.results] == [
        ("z", [0, 1, 2, 3, 4]),
        ("b", [3, 4, 0]),
        ("a", [0, 1, 2, 3, 4]),
    ]
    assert found.file.result_keys == ["z", "b", "a"]
    assert [game.game_id for game in found.games] == [4, 3, 2, 1, 0]
    assert found.file.notes == [
        "games not in order or listed twice; the order is kept",
        "3 results of 'b' for 5 games",
        "results of 'b' not in order or listed twice; the order is kept",
    ]


def test_results_before_games(tmp_path: Path) -> None:
    """The order of top-level keys does not matter: games always come first out of `rows`."""
    path = write_legacy(tmp_path / "x", spoil=lambda data: dict(reversed(data.items())))
    kinds = [isinstance(part, Games) for part in LegacyFile.read(BytesSource(path.read_bytes())).rows()]
    assert kinds == sorted(kinds, reverse=True)
    assert read(path).records == read(write_legacy(tmp_path / "y")).records


def test_rows_may_be_read_again_and_again(tmp_path: Path) -> None:
    """Notes do not pile up, also when boards are regenerated in between."""

    def spoil(data: dict[str, Any]) -> None:
        data["games"] = data["games"][:3]
        for game in data["games"]:
            game.extra = 1

    file = LegacyFile.read(BytesSource(write_legacy(tmp_path / "x", spoil=spoil).read_bytes()))
    for _ in range(2):
        rows = file.rows()
        next(rows)
        assert len(list(file.regenerated())) == 7
        for _ in rows:
            pass
        assert file.notes == [
            "declares 10 games and lists 3",
            "results for 7 games that are not listed",
            "kept further attributes of games ('extra'): 3, first game 0",
        ]


# -- shared references --------------------------------------------------------------------------------


def share_row(data: dict[str, Any]) -> None:
    for game in data["games"]:
        game.board = [game.board[0]] * 5


def share_results(data: dict[str, Any]) -> None:
    data["results"]["b"] = data["results"]["a"]


def share_board(data: dict[str, Any]) -> None:
    data["games"][1].board = data["games"][0].board


def share_game(data: dict[str, Any]) -> None:
    data["games"].append(data["games"][0])


def share_result(data: dict[str, Any]) -> None:
    data["results"]["a"].append(data["results"]["a"][3])


@pytest.mark.parametrize("spoil", [share_row, share_results, share_board, share_game, share_result])
@pytest.mark.parametrize("protocol", [2, 4])
def test_objects_shared_by_reference(tmp_path: Path, spoil: Spoil, protocol: int) -> None:
    """One row in five places, one list under two bots, one game listed twice: as if they were written out."""
    shared = read(write_legacy(tmp_path / "x", bots=("a", "b"), protocol=protocol, spoil=spoil))

    def write_out(data: dict[str, Any]) -> dict[str, Any]:
        spoil(data)
        return {
            **data,
            "games": [copy.deepcopy(game, {id(data["config"]): data["config"]}) for game in data["games"]],
            "results": {bot: [copy.deepcopy(row) for row in rows] for bot, rows in data["results"].items()},
        }

    def unshare(data: dict[str, Any]) -> dict[str, Any]:
        data = write_out(data)
        for game in data["games"]:
            game.board = [list(row) for row in game.board]
        return data

    apart = read(write_legacy(tmp_path / "y", bots=("a", "b"), protocol=protocol, spoil=unshare))
    assert shared.records == apart.records
    assert shared.file.contents == apart.file.contents
    assert shared.file.notes == apart.file.notes


def test_a_copy_starts_again_for_a_second_reading(tmp_path: Path) -> None:
    """The bytes handed to `copy` are the file's, once, and the hash is theirs."""

    class Copy:
        def __init__(self) -> None:
            self.data = b"from an earlier file"

        def restart(self) -> None:
            self.data = b""

        def write(self, data: bytes, /) -> None:
            self.data += data

    for spoil in (None, share_board):
        raw = write_legacy(tmp_path / "x", spoil=spoil).read_bytes()
        copied = Copy()
        counted: list[int] = []
        file = LegacyFile.read(BytesSource(raw), copy=copied, on_bytes=counted.append)
        assert copied.data == raw
        assert file.size == len(raw)
        assert sum(counted) in (len(raw), 2 * len(raw))


# -- hostile files ------------------------------------------------------------------------------------


def recursive(data: dict[str, Any]) -> None:
    data["games"][0].extra = data["games"]


def laughs(data: dict[str, Any]) -> None:
    value: Any = ("ha",)
    for _ in range(60):
        value = (value, value)
    data["results"]["LargestGroupBot"][0].tiles_cleared = value


@pytest.mark.parametrize("spoil", [recursive, laughs])
def test_cycles_and_bombs_are_refused(tmp_path: Path, spoil: Spoil) -> None:
    """With an error of ours, at once."""
    with pytest.raises((UnsafePickleError, LayoutError)):
        read(write_legacy(tmp_path / "x", spoil=spoil))


def test_deep_values_are_refused(tmp_path: Path) -> None:
    """Depth alone does no harm: 150,000 lists in each other."""
    nested = b"]" * 150_000 + b"a" * 149_999
    raw = dump(benchmark() | {"extra": 12345.0}, optimize=True)
    marker = b"G" + struct.pack(">d", 12345.0)
    assert marker in raw
    raw = b"\x80\x04" + raw[11:].replace(marker, nested)
    with pytest.raises(ValueRefusedError, match="field 'extra': nested too deeply"):
        read(raw)


def test_a_file_that_changes_between_readings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it has become: other values, other ids, other rows, shared references, no pickle."""
    monkeypatch.setattr(legacy, "_MOST_KEPT", 0)
    raw = write_legacy(tmp_path / "x").read_bytes()
    for spoil in (
        lambda data: data["games"].pop(),
        lambda data: data["results"]["LargestGroupBot"].pop(),
        lambda data: setattr(data["games"][0], "game_id", "zero"),
        lambda data: delattr(data["games"][0], "game_id"),
        lambda data: delattr(data["results"]["LargestGroupBot"][0], "bot_name"),
        lambda data: data.update(games=data["results"]["LargestGroupBot"], results={"x": data["games"]}),
        share_board,
        lambda data: [],
    ):
        source = BytesSource(raw)
        file = LegacyFile.read(source)
        source.raw = write_legacy(tmp_path / "y", spoil=lambda data, s=spoil: s(data) and None).read_bytes()
        with pytest.raises(InputRefusedError):
            list(file.rows())
    source = BytesSource(raw)
    file = LegacyFile.read(source)
    source.raw = raw.replace(b"\x88", b"\x89", 1)
    with pytest.raises(DamagedPickleError, match="the file changed while it was read"):
        list(file.rows())


# -- the same rows fast and slow ----------------------------------------------------------------------


@st.composite
def benchmarks(draw: st.DrawFn) -> bytes:
    """A valid benchmark, pickled in some way."""
    layout = draw(st.sampled_from("ABCD"))
    config = draw(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(2, 14)))
    bots = draw(st.lists(st.text(max_size=5), unique=True, max_size=3))
    data = benchmark(
        layout,
        config,
        draw(st.integers(1, 12)),
        draw(st.integers(-(2**40), 2**40)),
        bots,
        shared_config=draw(st.booleans()),
    )
    numbers = st.integers(-(2**33), 2**33) | st.booleans() | st.none() | st.floats() | st.text(max_size=3)
    for row in [*data["games"], *(row for rows in data.get("results", {}).values() for row in rows)]:
        for name in draw(st.sets(st.sampled_from(["seed", "moves_made", "completed", "x", "y"]), max_size=2)):
            if layout == "D":
                row[name] = draw(numbers)
            else:
                setattr(row, name, draw(numbers))
    return dump(data, draw(st.integers(2, 5)), optimize=draw(st.booleans()), python=draw(st.booleans()))


@given(benchmarks())
@settings(max_examples=120, deadline=None)
def test_all_ways_of_parsing_give_the_same_rows(raw: bytes) -> None:
    """Accelerated, opcode by opcode, and remembering everything; strange values included."""
    slow = parsed_somehow(raw, accelerate=False)
    assert repr(parsed_somehow(raw, accelerate=True)) == repr(slow)
    assert repr(parsed(raw, remember=True)) == repr(slow)


# -- real files ---------------------------------------------------------------------------------------

REAL = {
    "benchmark_5_2_3_42.pkl": ("C", 1000, [1000, 1000], 42, 0),
    "benchmark_5_7_3_42.pkl": ("C", 10_000, [10_000, 10_000], 42, 0),
    "benchmark_5_5_3_42.pkl": ("C", 3, [10_000, 10_000, 3, 3, 3], 42, 9997),
    "benchmark_5_5_3_55555.pkl": ("C", 50, [50, 50], 55555, 0),
    "benchmark_5_5_3_66666.pkl": ("C", 50, [], 66666, 0),
    "benchmark_15_15_6_42": ("A", 1000, [], 42, 0),
}


def test_real_files(shared_pickles: Path | None) -> None:
    """What is known of the six real files, where they are at hand."""
    for name, (layout, games, results, seed, missing) in REAL.items() if shared_pickles else ():
        assert shared_pickles is not None
        found = read(shared_pickles / name)
        contents = found.file.contents
        assert (contents.layout, contents.num_games, contents.base_seed) == (layout, games, seed)
        assert len(found.games) == games
        assert [len(rows) for rows in found.results.values()] == results
        assert len(list(found.file.regenerated())) == missing
        assert [game.cells for game in found.games[-3:]] == [
            draw_board(contents.config, game.seed or 0) for game in found.games[-3:]
        ]


def test_the_real_file_with_another_bots_name(shared_pickles: Path | None) -> None:
    """Key and name are both told."""
    if shared_pickles is not None:
        found = read(shared_pickles / "benchmark_5_5_3_42.pkl")
        assert {row.bot_name for row in found.results["TestBot"]} == {"MockBot"}
        assert any("'TestBot' bear another name" in note for note in found.file.notes)


def test_ids_may_be_many(tmp_path: Path) -> None:
    """A result beyond the last game whose board is generated is refused."""

    def spoil(data: dict[str, Any]) -> None:
        data["results"]["LargestGroupBot"][-1].game_id = 2_000_001

    with pytest.raises(
        ValueRefusedError, match="results for game 2000001, which is not listed and beyond 2000000"
    ):
        read(write_legacy(tmp_path / "x", spoil=spoil))


def test_nothing_is_drawn_from_an_assumed_seed(tmp_path: Path) -> None:
    """Without a base seed and without a listed game nothing tells on which boards results were played."""

    def spoil(data: dict[str, Any]) -> dict[str, Any]:
        del data["base_seed"]
        return {**data, "games": []}

    path = write_legacy(tmp_path / "x", spoil=spoil)
    with pytest.raises(LayoutError, match="neither a base seed nor a listed game"):
        list(LegacyFile.read(FileSource(path)).regenerated())
    given = LegacyFile.read(FileSource(path), base_seed=42)
    assert [len(batch) for batch in given.regenerated_batches()] == [10]
