"""Rows: what is stored and noted, and what is refused naming game, bot, field and value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sgdb.errors import ValueRefusedError
from sgdb.pickles.rows import Notes
from tests.legacy import Record, write_legacy
from tests.pickles.reading import read

BOT = "LargestGroupBot"


def game(number: int = 3, **attributes: Any) -> Callable[[dict[str, Any]], None]:
    """Changes a game's attributes."""

    def change(data: dict[str, Any]) -> None:
        data["games"][number].__dict__.update(attributes)

    return change


def result(number: int = 3, **attributes: Any) -> Callable[[dict[str, Any]], None]:
    """Changes a result's attributes."""

    def change(data: dict[str, Any]) -> None:
        data["results"][BOT][number].__dict__.update(attributes)

    return change


def refused(path: Path, message: str, spoil: Callable[[dict[str, Any]], Any], **options: Any) -> None:
    """In the C pickler's output (which is accelerated) as in protocol 2 (which is not)."""
    for protocol in (2, 4):
        with pytest.raises(ValueRefusedError) as caught:
            read(write_legacy(path / "x", spoil=spoil, protocol=protocol, **options))
        assert message in caught.value.message


# -- results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiles_cleared", "singles_remaining", "moves_made"])
@pytest.mark.parametrize("value", [-1, 2**31, None, True, 1.0, float("nan"), "1", [], (1, 2), 10**400])
def test_counts_are_whole_numbers(tmp_path: Path, name: str, value: Any) -> None:
    """Anything else is refused, bool and float too: it would come back as another value."""
    shown = "an integer of 1329 bits" if value == 10**400 else str(value) if value != "1" else "'1'"
    refused(
        tmp_path,
        f"bot '{BOT}', game 3, field {name}: {shown} is not a whole number from 0 to 2147483647",
        result(**{name: value}),
    )


@pytest.mark.parametrize("value", [1, 0, None, "True"])
def test_completed_is_a_bool(tmp_path: Path, value: Any) -> None:
    """0 and 1 are no bools."""
    refused(
        tmp_path,
        f"bot '{BOT}', game 3, field completed: {value!r} is neither True nor False",
        result(completed=value),
    )


def test_impossible_numbers_are_noted(tmp_path: Path) -> None:
    """More tiles than the board has cells; moves have no bound."""
    found = read(
        write_legacy(
            tmp_path / "x", spoil=result(tiles_cleared=26, singles_remaining=2**31 - 1, moves_made=500)
        )
    )
    assert found.results[BOT][3][2:5] == (26, 2**31 - 1, 500)
    assert found.file.notes == [
        f"tiles_cleared beyond the 25 cells of the board: 1, first bot '{BOT}', game 3: 26",
        f"singles_remaining beyond the 25 cells of the board: 1, first bot '{BOT}', game 3: 2147483647",
    ]


@pytest.mark.parametrize(
    "name", ["bot_name", "tiles_cleared", "singles_remaining", "moves_made", "completed"]
)
def test_fields_of_results_are_required(tmp_path: Path, name: str) -> None:
    """A missing one is named with its bot and game."""
    refused(
        tmp_path,
        f"bot '{BOT}', game 3: field {name} is missing",
        lambda data: delattr(data["results"][BOT][3], name),
    )


def test_a_name_that_is_not_the_key(tmp_path: Path) -> None:
    """Both are kept, whatever the name holds; counted under one note."""

    def spoil(data: dict[str, Any]) -> None:
        for row in data["results"][BOT]:
            row.bot_name = f"\x1b[31m{row.game_id}\n" + "x" * 300

    found = read(write_legacy(tmp_path / "x", spoil=spoil))
    assert found.results[BOT][9].bot_name == "\x1b[31m9\n" + "x" * 300
    (note,) = found.file.notes
    assert note.startswith(
        f"results filed under '{BOT}' bear another name; both are kept: 10, first game 0: '\\x1b[31m0\\nx"
    )
    assert note.isprintable()


@pytest.mark.parametrize("where", ["game", "result", "bot_name", "config"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_text_in_every_row_counts_in_every_row(tmp_path: Path, where: str, protocol: int) -> None:
    """One text of half a megabyte, named by each of two hundred rows in a few bytes, would become a hundred
    megabytes in the database."""
    text = "t" * 500_000

    def spoil(data: dict[str, Any]) -> None:
        for row in data["games"] if where in ("game", "config") else data["results"][BOT]:
            if where == "config":
                row.config.__dict__.update(x=text, y=())
            else:
                setattr(row, where if where == "bot_name" else "note", text)
        if where == "config":
            data["config"].__dict__.update(x=text, y=())

    path = write_legacy(tmp_path / "x", spoil=spoil, num_games=200, protocol=protocol, shared_config=False)
    with pytest.raises(ValueRefusedError, match="the rows up to here hold more text than a file of this"):
        read(path)


@pytest.mark.parametrize("value", ["a\0", "\ud800", None, 5])
def test_names_that_cannot_be_stored(tmp_path: Path, value: Any) -> None:
    """Refused and shown escaped."""
    refused(
        tmp_path,
        f"bot '{BOT}', game 3, field bot_name: {value!a} is not a text that can be stored",
        result(bot_name=value),
    )


def test_further_attributes_are_kept(tmp_path: Path) -> None:
    """On games and results, with types, NaN and infinity; rows without them have none."""

    def spoil(data: dict[str, Any]) -> None:
        game(0, difficulty=float("nan"))(data)
        result(0, time=0.5, path=[(0, 1)], **{"$x\n": None})(data)

    found = read(write_legacy(tmp_path / "x", spoil=spoil))
    assert found.games[0].metadata == {"attributes": {"difficulty": {"$float": "nan"}}}
    assert found.results[BOT][0].metadata == {
        "attributes": {"time": 0.5, "path": [{"$tuple": [0, 1]}], "$x\n": None}
    }
    assert found.games[1].metadata is None
    assert found.results[BOT][1].metadata is None
    assert found.file.notes == [
        "kept further attributes of games ('difficulty'): 1, first game 0",
        f"kept further attributes of results ('time', 'path', '$x\\n'): 1, first bot '{BOT}', game 0",
    ]


def test_attributes_that_cannot_be_kept(tmp_path: Path) -> None:
    """Refused with game, bot and field."""
    refused(tmp_path, f"bot '{BOT}', game 3, field 'x': '\\x00' holds a character", result(x="\0"))
    refused(
        tmp_path,
        "game 3, field 'x': a GameConfig where plain data is expected",
        lambda data: game(x=data["config"])(data),
    )
    refused(tmp_path, r"game 3, field 'a\x00': the name holds a character", game(**{"a\0": 1}))


# -- games --------------------------------------------------------------------------------------------

ROWS = [[1, 2, 1, 2, 1]] * 5


@pytest.mark.parametrize(
    ("board", "message"),
    [
        (None, "None is not a list of rows"),
        ("[[1,2],[2,1]]", "'[[1,2],[2,1]]' is not a list of rows"),
        ("[[x", "'[[x' is not a list of rows"),
        ({}, "{} is not a list of rows"),
        ([], "0 rows, but the config says 5"),
        (ROWS[:4], "4 rows, but the config says 5"),
        ([*ROWS[:4], [1, 2]], "row 4 has 2 cells, but the config says 5"),
        ([*ROWS[:4], None], "its rows are not all lists (or all tuples)"),
        ([*ROWS[:4], (1, 2, 1, 2, 1)], "its rows are not all lists (or all tuples)"),
        ([*ROWS[:4], [1, 2, 1, 2, 3]], "cell [4][4] is 3, but the colours of 5x5x3 are 0 to 2"),
        ([*ROWS[:4], [1, 2, 1, 2, -1]], "cell [4][4] is -1, but"),
        ([*ROWS[:4], [1, 2, 1, 2, 300]], "cell [4][4] is 300, but"),
        ([*ROWS[:4], [1, 2, 1, 2, True]], "cell [4][4] is True, but"),
        ([*ROWS[:4], [1, 2, 1, 2, 1.0]], "cell [4][4] is 1.0, but"),
        ([*ROWS[:4], [1, 2, 1, 2, None]], "cell [4][4] is None, but"),
        ([row[:4] for row in ROWS], "row 0 has 4 cells, but the config says 5"),
    ],
)
def test_boards_fit_their_config(tmp_path: Path, board: Any, message: str) -> None:
    """Refused with the cell, row or size that is wrong."""

    def spoil(data: dict[str, Any]) -> None:
        game(
            board=[list(row) if type(row) is list else row for row in board] if type(board) is list else board
        )(data)

    refused(tmp_path, f"game 3, field board: {message}", spoil)


def test_a_board_of_another_size_throughout(tmp_path: Path) -> None:
    """All boards alike, and none as the config says."""

    def spoil(data: dict[str, Any]) -> None:
        data["config"].num_cols = 4

    refused(tmp_path, "game 0, field board: row 0 has 5 cells, but the config says 4", spoil)


def test_empty_cells_are_cells(tmp_path: Path) -> None:
    """Colour 0 may stand on a board."""
    board = [[0, 0, 0, 0, 0], *([1, 2, 0, 1, 2] for _ in range(4))]
    assert read(write_legacy(tmp_path / "x", spoil=game(board=board))).games[3].cells == board


@pytest.mark.parametrize("layout", "CD")
def test_boards_in_tuples(tmp_path: Path, layout: str) -> None:
    """Stored as every board, with the way in which they were held for export."""

    def spoil(data: dict[str, Any]) -> None:
        for number, entry in enumerate(data["games"]):
            attributes = entry if layout == "D" else vars(entry)
            name = "board_state" if layout == "D" else "board"
            rows = attributes[name]
            attributes[name] = (tuple(map(tuple, rows)), tuple(rows), list(map(tuple, rows)), rows)[number]

    plain = read(write_legacy(tmp_path / "y", layout=layout, num_games=4))
    found = read(write_legacy(tmp_path / "x", layout=layout, num_games=4, spoil=spoil))
    assert [g.board for g in found.games] == [g.board for g in plain.games]
    assert [g.metadata for g in found.games] == [
        {"board_type": "tuple of tuples"},
        {"board_type": "tuple of lists"},
        {"board_type": "list of tuples"},
        None,
    ]
    assert found.file.notes == ["board held in tuples, kept so for export: 3, first game 0"]


def test_seeds(tmp_path: Path) -> None:
    """64 bits are stored; None and a seed that breaks the rule are noted; anything else is refused."""
    for seed in (2**63 - 1, -(2**63), 0):
        found = read(write_legacy(tmp_path / "x", spoil=game(seed=seed)))
        assert found.games[3].seed == seed
        assert found.file.notes == [f"seed that does not follow from the base seed: 1, first game 3: {seed}"]
    found = read(write_legacy(tmp_path / "x", spoil=game(seed=None)))
    assert found.games[3].seed is None
    assert found.file.notes == ["game without a seed: 1, first game 3"]
    for seed, shown in ((2**63, str(2**63)), (True, "True"), ("1", "'1'"), (1.5, "1.5")):
        refused(tmp_path, f"game 3, field seed: {shown} is not a 64-bit whole number", game(seed=seed))


@pytest.mark.parametrize("name", ["board", "config", "seed"])
def test_fields_of_games_are_required(tmp_path: Path, name: str) -> None:
    """A missing one is named with its game."""
    refused(tmp_path, f"game 3: field {name} is missing", lambda data: delattr(data["games"][3], name))


def test_all_games_have_the_files_config(tmp_path: Path) -> None:
    """Another size, other attributes, or no config at all."""

    def other(**attributes: Any) -> Callable[[dict[str, Any]], None]:
        def change(data: dict[str, Any]) -> None:
            config: Record = data["games"][3].config
            config.__dict__.update(attributes)

        return change

    refused(
        tmp_path,
        "game 3, field config: 5x5x4, but the file's is 5x5x3",
        other(num_colors=4),
        shared_config=False,
    )
    refused(
        tmp_path, "game 3, field config: other attributes than the file's", other(x=1), shared_config=False
    )


def again(row: Record, **changes: Any) -> Record:
    """An equal record with a board of its own, but for the changes."""
    attributes = vars(row) | changes
    if "board" in attributes:
        attributes["board"] = [list(line) for line in attributes["board"]]
    return type(row)(**attributes)


# -- repeats ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
def test_a_row_that_stands_twice_is_read_once(tmp_path: Path, shared: bool) -> None:
    """The same values again are dropped, and the order of the file is kept in its contents."""

    def spoil(data: dict[str, Any]) -> None:
        data["games"].append(data["games"][2] if shared else again(data["games"][2]))
        data["results"][BOT].insert(0, data["results"][BOT][2] if shared else again(data["results"][BOT][2]))

    found = read(write_legacy(tmp_path / "x", spoil=spoil))
    assert list(found.file.contents.games) == [*range(10), 2]
    assert [row.game_id for row in found.games] == list(range(10))
    assert list(found.file.contents.results[0][1]) == [2, *range(10)]
    assert [row.game_id for row in found.results[BOT]] == [2, 0, 1, *range(3, 10)]
    assert found.file.notes == [
        "games not in order or listed twice; the order is kept",
        f"results of '{BOT}' not in order or listed twice; the order is kept",
    ]


def test_a_row_that_stands_twice_with_other_values_is_refused(tmp_path: Path) -> None:
    """The field and both values are named; 1 and True are two values."""
    what = "game 2 occurs twice with different values, field"

    def other_moves(data: dict[str, Any]) -> None:
        data["results"][BOT].append(again(data["results"][BOT][2], moves_made=99))

    def other_seed(data: dict[str, Any]) -> None:
        data["games"].append(again(data["games"][2], seed=1))

    refused(tmp_path, f"bot '{BOT}', {what} moves_made: ", other_moves)
    refused(tmp_path, f"{what} seed: ", other_seed)

    def one_and_true(data: dict[str, Any]) -> None:
        row = data["results"][BOT][2]
        data["results"][BOT].append(type(row)(**vars(row), x=True))
        row.x = 1

    refused(tmp_path, "field metadata: ", one_and_true)


def test_gaps_and_fewer_results(tmp_path: Path) -> None:
    """A failed task leaves a gap, an enlarged set fewer results: noted."""

    def spoil(data: dict[str, Any]) -> None:
        del data["games"][4]
        del data["results"][BOT][4:]

    assert read(write_legacy(tmp_path / "x", spoil=spoil)).file.notes == [
        "declares 10 games and lists 9",
        "gaps in the games' ids",
        f"4 results of '{BOT}' for 9 games",
    ]


def test_notes_stay_readable() -> None:
    """However many kinds of findings there are."""
    notes = Notes()
    for number in range(5000):
        notes.add(f"kind {number}", "here")
        notes.add("kind 0", "there")
    assert len(notes.lines()) == 1001
    assert notes.lines()[0] == "kind 0: 5001, first here"
    assert notes.lines()[-1] == "findings of other kinds: 4000, first here"
