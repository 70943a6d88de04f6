"""Every value of the files against the rows: what is wrong is found and named, and nothing is written."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.errors import NotFoundError, UsageError
from sgdb.game.bots import LargestGroupBot
from sgdb.game.play import play
from sgdb.operations.export import ExportOptions, export
from sgdb.operations.verify import FileVerdict, VerifyOptions, VerifyResult, verify
from sgdb.records import BenchmarkData, GameConfig
from sgdb.settings import Settings
from sgdb.storage import PostgresStorage
from sgdb.testing.data import first_games
from tests.legacy import plain, write_legacy
from tests.steps import Listener, ask, database_state, migrate, tamper


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for pickles."""
    path = tmp_path / "pickles"
    path.mkdir()
    return path


def _verify(settings: Settings, *paths: Path, **options: Any) -> VerifyResult:
    return verify(VerifyOptions(paths, **options), settings)


def _failed(result: VerifyResult) -> dict[str, str]:
    return {check.name: check.detail for check in result.checks if not check.ok}


def _only(result: VerifyResult) -> FileVerdict:
    (verdict,) = result.files
    return verdict


def _odd(data: dict[str, Any]) -> dict[str, Any]:
    """Much of what is strange and accepted, in one file."""
    rows = data["results"]["LargestGroupBot"]
    rows[3].bot_name = "Alias"
    rows[4].seconds = 0.5
    rows.append(copy.deepcopy(rows[0]))
    data["games"][12].board = tuple(map(tuple, data["games"][12].board))
    data["games"].reverse()
    data["games"][0].tags = ["a", ("b", float("inf"))]
    data["results"]["Nobody"] = []
    data["comment"] = {"by": "me"}
    return {"results": data["results"], **data}


@pytest.mark.parametrize("archive", [True, False])
def test_what_was_migrated_is_equal(settings: Settings, engine: Engine, folder: Path, archive: bool) -> None:
    """For every layout and oddity, from the files and from the database alone, without writing anything."""
    write_legacy(folder / "a", layout="A", base_seed=5)
    write_legacy(folder / "b", layout="B", config=(2, 7, 4), num_games=4, num_results=30, bots=("X", "Y"))
    write_legacy(folder / "c", num_games=20, spoil=_odd)
    write_legacy(folder / "c smaller", num_games=8, bots=("Other",))
    write_legacy(folder / "d", layout="D", config=(3, 3, 3))
    migrate(settings, folder, archive=archive)
    state = database_state(engine)
    result = _verify(settings, folder)
    assert result.equal, result.to_json()
    assert (result.exit_code, len(result.files), result.checks) == (0, 5, [])
    alone = _verify(settings)
    assert alone.equal, alone.to_json()
    assert len(alone.files) == (5 if archive else 0)
    assert [check.name for check in alone.checks] == [
        "contiguous game_index",
        "results as their files list them",
        "board shapes and colours",
        "orphans",
        "totals",
        "checkpoints",
        "archive hashes",
    ]
    assert ("without keeping the original" in alone.checks[-1].detail) is not archive
    assert database_state(engine) == state


_RESULT = "WHERE game_id = (SELECT id FROM games WHERE game_index = 4) AND bot_id = 1"

TAMPERED = [
    ("UPDATE games SET board_state = '[[0,1],[2,1]]' WHERE game_index = 4", 4, None, "board[0][0]"),
    ("UPDATE games SET board_state = '[[true,2],[2,1]]' WHERE game_index = 4", 4, None, "board[0][0]"),
    ("UPDATE games SET board_state = '[[1,2]]' WHERE game_index = 4", 4, None, "board"),
    ("UPDATE games SET board_state = '[5]' WHERE game_index = 4", 4, None, "board"),
    ("UPDATE games SET seed = seed + 1 WHERE game_index = 4", 4, None, "seed"),
    ("UPDATE games SET seed = NULL WHERE game_index = 4", 4, None, "seed"),
    ("UPDATE games SET metadata = '{\"x\": 1}' WHERE game_index = 4", 4, None, "metadata"),
    ("DELETE FROM games WHERE game_index = 4", 4, None, "row"),
    ("UPDATE games SET game_index = 99 WHERE game_index = 4", 99, None, "row"),
    (f"UPDATE game_results SET tiles_cleared = 5000 {_RESULT}", 4, "First", "tiles_cleared"),
    (f"UPDATE game_results SET singles_remaining = 5000 {_RESULT}", 4, "First", "singles_remaining"),
    (f"UPDATE game_results SET moves_made = 5000 {_RESULT}", 4, "First", "moves_made"),
    (f"UPDATE game_results SET completed = NOT completed {_RESULT}", 4, "First", "completed"),
    (f"UPDATE game_results SET metadata = '{{\"bot_name\": \"Z\"}}' {_RESULT}", 4, "First", "bot_name"),
    (f"UPDATE game_results SET metadata = '{{\"note\": 1}}' {_RESULT}", 4, "First", "metadata"),
    (f"UPDATE game_results SET metadata = '[1]' {_RESULT}", 4, "First", "metadata"),
    (f"DELETE FROM game_results {_RESULT}", 4, "First", "row"),
    (f"UPDATE game_results SET bot_id = 2 {_RESULT}", 4, "First", "row"),
    ("UPDATE bots SET name = 'Renamed' WHERE name = 'First'", None, "First", "bot"),
    ("DELETE FROM bots WHERE name = 'Nobody'", None, "Nobody", "bot"),
    ("UPDATE game_configs SET num_rows = 7", None, None, "config.num_rows"),
    ("UPDATE game_configs SET num_cols = 7", None, None, "config.num_cols"),
    ("UPDATE game_configs SET num_colors = 7", None, None, "config.num_colors"),
    ("UPDATE benchmark_sets SET num_games = 11", None, None, "num_games"),
    ("UPDATE benchmark_sets SET base_seed = 43", None, None, "base_seed"),
    (
        "INSERT INTO games (benchmark_set_id, game_index, board_state) VALUES (1, 77, '[[1,1],[1,1]]')",
        77, None, "row",
    ),
    ("INSERT INTO game_results (game_id, bot_id, tiles_cleared, singles_remaining, moves_made, completed) "
     "VALUES (2, 2, 0, 0, 0, false)", 1, "Nobody", "row"),
    (
        "UPDATE source_files SET contents = jsonb_set(contents, '{results}', "
        "jsonb_build_array(contents->'results'->1, contents->'results'->0, contents->'results'->2))",
        None, None, "bot keys",
    ),
    ("UPDATE source_files SET contents = jsonb_set(contents, '{games}', '[[1, 10], [0, 1]]')",
     None, None, "recorded games"),
]  # fmt: skip


def _nobody(data: dict[str, Any]) -> None:
    data["games"][4].board = [[1, 2], [2, 1]]
    data["results"]["Nobody"] = []


@pytest.mark.parametrize(("statement", "game", "bot", "field"), TAMPERED)
def test_a_change_is_found_and_named(
    settings: Settings,
    engine: Engine,
    folder: Path,
    statement: str,
    game: int | None,
    bot: str | None,
    field: str,
) -> None:
    """By the file and by the archived original alike, with file, game, bot, field and both values."""
    path = write_legacy(folder / "a.pkl", config=(2, 2, 3), bots=("First", "Second"), spoil=_nobody)
    migrate(settings, path)
    assert _verify(settings).equal
    assert tamper(engine, statement) > 0
    state = database_state(engine)
    for result in (_verify(settings, path, all_examples=True), _verify(settings, all_examples=True)):
        assert not result.equal
        assert result.exit_code == 1
        verdict = _only(result)
        assert (verdict.path, verdict.status) == (str(path), "different")
        found = [
            each for each in verdict.examples if (each.game_id, each.bot, each.field) == (game, bot, field)
        ]
        assert len(found) == 1, verdict.examples
        assert found[0].pickle != found[0].database or type(found[0].pickle) is not type(found[0].database)
        assert verdict.differences == len(verdict.examples)
    assert database_state(engine) == state


@pytest.mark.parametrize(
    ("statement", "check", "says"),
    [
        ("INSERT INTO bots (name) VALUES ('Stranger')", "orphans", "bot 'Stranger' comes from no file"),
        (
            "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed) VALUES ('x', 1, 5, 6)",
            "orphans",
            "set 2 comes from no file",
        ),
        (
            "INSERT INTO game_configs (num_rows, num_cols, num_colors) VALUES (8, 8, 8)",
            "orphans",
            "config 2 has no set",
        ),
        (
            "DELETE FROM games WHERE game_index IN (1, 8)",
            "contiguous game_index",
            "set 1 lacks game 1; set 1 lacks",
        ),
        ("DELETE FROM games", "contiguous game_index", "and 5 more"),
        (
            "DELETE FROM game_results WHERE id = 3",
            "results as their files list them",
            "set 1 lacks the result of 'LargestGroupBot' on game 2",
        ),
        (
            "UPDATE games SET board_state = '[[7]]' WHERE game_index = 2",
            "board shapes and colours",
            "set 1, game 2",
        ),
        ("UPDATE games SET board_state = '[[1]]'", "board shapes and colours", "and 5 more"),
        (
            "UPDATE result_totals SET completed = 9, moves_made_sum = 0",
            "totals",
            "set 1, bot 'LargestGroupBot': completed is 9 instead of ",
        ),
        (
            "UPDATE game_totals SET games = 11",
            "totals",
            "set 1: games is 11 instead of 10 (count anew with `sgdb",
        ),
        (
            "ALTER TABLE games DISABLE TRIGGER USER",
            "totals",
            "trigger sgdb_games_inserted is missing or disabled",
        ),
    ],
)
def test_the_databases_own_checks_need_no_original(
    settings: Settings, engine: Engine, folder: Path, statement: str, check: str, says: str
) -> None:
    """What a database without originals can tell by itself, it does."""
    migrate(settings, write_legacy(folder / "a.pkl"), archive=False)
    tamper(engine, statement)
    result = _verify(settings)
    assert (result.equal, result.exit_code, result.files) == (False, 1, [])
    assert says in _failed(result)[check]


def test_gaps_that_the_file_has_itself_are_no_fault(settings: Settings, folder: Path) -> None:
    """A failed task leaves a gap in the ids; it is kept, and it is right."""

    def gap(data: dict[str, Any]) -> None:
        del data["games"][3:5]
        del data["results"]["LargestGroupBot"][3:5]

    migrate(settings, write_legacy(folder / "a.pkl", spoil=gap))
    assert _verify(settings).equal


def test_boards_that_a_program_had_stored_before_are_no_fault(settings: Settings, folder: Path) -> None:
    """The file has results on games that it does not list: where a program has brought their boards, sgdb had
    none to draw."""
    shape = GameConfig(5, 5, 3)
    with PostgresStorage(settings, shape, 42) as storage:
        storage.save_data(BenchmarkData(first_games(shape, 42, 6), {}, shape, 6, 42))
    migrate(settings, write_legacy(folder / "a", num_games=3, num_results=8))
    assert verify(VerifyOptions(), settings).equal
    assert verify(VerifyOptions((folder / "a",)), settings).equal


def test_examples_are_limited_unless_all_are_asked_for(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """20 examples a file, every one counted; --all keeps them all."""
    migrate(settings, write_legacy(folder / "a.pkl", num_games=50))
    tamper(engine, "UPDATE game_results SET moves_made = moves_made + 1")
    some, every = _only(_verify(settings, folder)), _only(_verify(settings, folder, all_examples=True))
    assert (some.differences, len(some.examples)) == (50, 20)
    assert (every.differences, len(every.examples)) == (50, 50)
    example = every.to_json()["examples"][7]
    assert (example["game_id"], example["bot"], example["field"]) == (7, "LargestGroupBot", "moves_made")
    assert example["database"] == example["pickle"] + 1


def test_a_swap_of_rows_between_files_is_found(settings: Settings, engine: Engine, folder: Path) -> None:
    """One result less for the later file and one too many elsewhere: counts agree, ids don't."""
    migrate(settings, write_legacy(folder / "a.pkl", num_games=10))
    migrate(settings, write_legacy(folder / "b.pkl", num_games=20, num_results=15))
    tamper(engine, "UPDATE game_results SET game_id = 19 WHERE game_id = 13")
    result = _verify(settings, folder)
    rows = [(each.game_id, each.database) for verdict in result.files for each in verdict.examples]
    assert sorted(rows, key=str) == [(12, None), (18, "present")]


def test_a_file_that_was_never_migrated_is_missing(settings: Settings, folder: Path) -> None:
    """That is a difference too; a file of a known set with games the set lacks is different."""
    migrate(settings, write_legacy(folder / "a.pkl"))
    new = write_legacy(folder / "b.pkl", base_seed=77)
    result = _verify(settings, new)
    assert (result.exit_code, _only(result).status) == (1, "missing")
    larger = write_legacy(folder / "c.pkl", num_games=12)
    verdict = _only(_verify(settings, larger))
    assert verdict.status == "different"
    assert {(each.game_id, each.field) for each in verdict.examples} == {
        (None, "num_games"), (10, "row"), (11, "row"),
    }  # fmt: skip
    smaller = write_legacy(folder / "d.pkl", num_games=3)
    assert _verify(settings, smaller).equal


def test_what_a_file_has_lost_under_its_path_is_found(settings: Settings, folder: Path) -> None:
    """Fewer games, results, declared games or entries than when it was migrated; elsewhere the same file
    would be a smaller one of the set. What it has gained shows in the rows alone."""

    def keep(data: dict[str, Any]) -> None:
        data.update(comment="c", by="me")

    path = write_legacy(folder / "a.pkl", bots=("x", "y"), spoil=keep)
    migrate(settings, path)

    def lose(data: dict[str, Any]) -> None:
        data["comment"] = "d"
        data["num_games"] = 9
        del data["games"][9], data["results"]["x"][9], data["results"]["y"]

    write_legacy(path, bots=("x", "y"), spoil=lose)
    fields = [(each.game_id, each.bot, each.field) for each in _only(_verify(settings, path)).examples]
    assert fields == [
        (None, None, "top-level entry 'comment'"), (None, None, "num_games"),
        (None, None, "top-level entry 'by'"), (9, None, "row"), (9, "x", "row"),
        *((index, "y", "row") for index in range(10)),
    ]  # fmt: skip
    other = path.rename(folder / "b.pkl")
    (found,) = _only(_verify(settings, other)).examples
    assert (found.field, found.pickle, found.database) == ("top-level entry 'comment'", "d", "c")
    write_legacy(path, bots=("x", "y"), spoil=keep, protocol=2)
    assert _verify(settings, path).equal


def test_what_was_migrated_and_is_no_pickle_now_is_unreadable(settings: Settings, folder: Path) -> None:
    """In a folder too, where other texts are passed over."""
    path = write_legacy(folder / "a.pkl")
    migrate(settings, path)
    (folder / "notes").write_text("text")
    path.write_text("text")
    result = _verify(settings, folder)
    assert _only(result).error == "migrated once, and now: text, not a pickle"
    assert (_only(result).status, result.exit_code, result.equal) == ("unreadable", 1, False)
    path.unlink()
    with pytest.raises(NotFoundError, match="nothing was compared"):
        _verify(settings, folder)


def test_an_unreadable_file_is_told_apart(settings: Settings, folder: Path) -> None:
    """It says nothing about the rows: 4 when it is the one thing asked for, 1 among others."""
    migrate(settings, write_legacy(folder / "a.pkl"))
    broken = write_legacy(folder / "b.pkl", spoil_bytes=lambda raw: raw[:-9])
    alone = _verify(settings, broken)
    assert (alone.exit_code, _only(alone).status, alone.equal) == (4, "unreadable", False)
    both = _verify(settings, folder)
    assert [verdict.status for verdict in both.files] == ["equal", "unreadable"]
    assert both.exit_code == 1
    (folder / "notes").write_text("text")
    assert _verify(settings, folder / "notes").exit_code == 4
    with pytest.raises(NotFoundError):
        _verify(settings, folder / "nowhere")


def test_a_file_that_vanishes_meanwhile_is_unreadable(settings: Settings, folder: Path) -> None:
    """The others are verified all the same."""
    gone, _ = (write_legacy(folder / name, base_seed=n) for n, name in enumerate("ab"))
    migrate(settings, folder)
    result = verify(VerifyOptions((folder,)), settings, Listener(on_start=gone.unlink))
    assert [verdict.status for verdict in result.files] == ["unreadable", "equal"]


def test_the_base_seed_that_was_given_is_remembered(settings: Settings, folder: Path) -> None:
    """A file that does not record its base seed verifies without the option."""

    def strange_seeds(data: dict[str, Any]) -> None:
        for number, game in enumerate(data["games"]):
            game.seed = 5 * number

    path = write_legacy(folder / "old", layout="A", spoil=strange_seeds)
    migrate(settings, path, set_base_seed=123)
    assert _verify(settings, path).equal
    assert _verify(settings).equal
    renamed = path.rename(folder / "new name")
    assert _verify(settings, renamed).equal


def test_content_that_went_to_two_sets_is_compared_with_both(settings: Settings, folder: Path) -> None:
    """A file without games proves no base seed, so it can be given two; each set is verified as it is."""

    def empty(data: dict[str, Any]) -> None:
        data["games"][0].seed = None
        del data["games"][1:]

    path = write_legacy(folder / "old", layout="A", spoil=empty, num_results=1)
    migrate(settings, path, set_base_seed=1)
    migrate(settings, path, set_base_seed=2)
    result = _verify(settings)
    assert result.equal, result.to_json()
    assert len(result.files) == 2
    assert _verify(settings, path).equal


_LAST = "chunk_index = (SELECT max(chunk_index) FROM archive_chunks)"
DAMAGE = {
    "bit": [
        "UPDATE archive_chunks SET data = set_byte(data, 50, get_byte(data, 50) # 16) WHERE chunk_index = 0"
    ],
    "missing": ["DELETE FROM archive_chunks WHERE chunk_index = 1"],
    "missing last": [f"DELETE FROM archive_chunks WHERE {_LAST}"],
    "swapped": [
        "UPDATE archive_chunks SET chunk_index = chunk_index + 10 WHERE chunk_index < 2",
        "UPDATE archive_chunks SET chunk_index = 11 - chunk_index WHERE chunk_index > 9",
    ],
    "truncated": [f"UPDATE archive_chunks SET data = substr(data, 1, length(data) - 3) WHERE {_LAST}"],
    "longer": [
        "INSERT INTO archive_chunks SELECT archive_id, 3, data FROM archive_chunks WHERE chunk_index = 2"
    ],
    "other hash": ["UPDATE archives SET sha256 = repeat('0', 64)"],
    "other size": ["UPDATE archives SET size_bytes = size_bytes - 1"],
    "other compression": ["UPDATE archives SET compression = 'lzma'"],
    "empty": ["DELETE FROM archive_chunks"],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_original_is_found(
    settings: Settings, engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """A flipped bit, chunks missing, swapped, cut or too many: the check fails and names the file."""
    monkeypatch.setattr("sgdb.database.archives._CHUNK", 10_000)
    path = write_legacy(folder / "a.pkl", num_games=1000)
    migrate(settings, path)
    assert ask(engine, "SELECT count(*) FROM archive_chunks") == [(3,)]
    for statement in DAMAGE[damage]:
        assert tamper(engine, statement) > 0
    result = _verify(settings)
    assert (result.exit_code, _only(result).status) == (1, "unreadable")
    assert str(path) in _failed(result)["archive hashes"]
    assert _verify(settings, path).equal


@pytest.mark.no_cover
def test_the_real_files_are_equal(settings: Settings, shared_pickles: Path | None, folder: Path) -> None:
    """Where the real files are at hand they verify, from disk and from the database; else small ones do."""
    source = shared_pickles or folder
    if shared_pickles is None:
        write_legacy(folder / "reopened.pkl", num_games=3, num_results=1000)
    migrate(settings, source)
    for result in (_verify(settings, source), _verify(settings)):
        assert result.equal, result.to_json()
        assert all(verdict.status == "equal" for verdict in result.files)


def test_nothing_compared_is_not_equal(settings: Settings, folder: Path) -> None:
    """A folder without pickles, or a glob that matches none, proves nothing."""
    write_legacy(folder / "a")
    for options in ({}, {"only": "b*"}):
        with pytest.raises(NotFoundError, match="nothing was compared"):
            _verify(settings, folder if options else folder.parent / "home", **options)
    with pytest.raises(UsageError, match="no path was given"):
        _verify(settings, only="a*")


def test_what_no_file_has_is_found_on_its_rows(settings: Settings, engine: Engine, folder: Path) -> None:
    """An execution time, and a drawn board that has lost its mark; export does not trust the mark."""
    path = write_legacy(folder / "a", num_games=3, num_results=5)
    migrate(settings, folder)
    assert tamper(
        engine, "UPDATE game_results SET execution_time_ms = 5 WHERE id = (SELECT min(id) FROM game_results)"
    )
    assert tamper(engine, "UPDATE games SET metadata = NULL WHERE game_index = 4")
    found = {(example.game_id, example.field) for example in _only(_verify(settings, path)).examples}
    assert found == {(0, "execution_time_ms"), (4, "metadata.origin")}
    export(ExportOptions(folder / "out"), settings)
    (exported,) = (folder / "out").iterdir()
    assert len(plain(exported)["games"]) == 3


def _other_bytes(path: Path) -> str:
    """The same values, pickled anew with another protocol."""
    write_legacy(path, protocol=2)
    return "equal"


def _damaged(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:-1])
    return "unreadable"


def _emptied(path: Path) -> str:
    path.write_bytes(b"")
    return "unreadable"


def _other_set(path: Path) -> str:
    write_legacy(path, base_seed=5)
    return "missing"


@pytest.mark.parametrize("change", [_other_bytes, _damaged, _emptied, _other_set])
@pytest.mark.parametrize("named", [True, False])
def test_a_file_that_is_not_what_was_migrated_is_noted(
    settings: Settings, folder: Path, named: bool, change: Callable[[Path], str]
) -> None:
    """Also when its values are the same, when it is no pickle any more, or when it is reached another way."""
    path = write_legacy(folder / "a.pkl")
    write_legacy(folder / "b.pkl", base_seed=1)
    (folder / "notes.txt").write_text("never a pickle")
    migrate(settings, folder)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(verdict.notes == [] for verdict in _verify(settings, folder).files)
    status = change(path)
    (folder / "link").symlink_to(folder)
    result = _verify(settings, folder / "link" / "a.pkl" if named else folder)
    verdict = result.files[0]
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (verdict.status, result.equal) == (status, status == "equal")
    (note,) = verdict.notes
    assert "not the bytes that were migrated" in note
    assert before[:16] in note
    assert after[:16] in note
    assert verdict.to_json()["notes"] == [note]
    if not named:
        assert [path.name for path, _ in result.selection.skipped] == ["notes.txt"]
        assert result.files[1].notes == []


def test_a_file_that_was_migrated_again_after_a_change_is_what_was_migrated(
    settings: Settings, folder: Path
) -> None:
    """Either of the two is."""
    path = write_legacy(folder / "a.pkl")
    migrate(settings, path)
    old = path.read_bytes()
    migrate(settings, write_legacy(path, num_games=20))
    assert _only(_verify(settings, path)).notes == []
    path.write_bytes(old)
    assert _only(_verify(settings, path)).notes == []


def _largest(data: dict[str, Any]) -> None:
    """Results that the bot really has on these boards."""
    for row, game in zip(data["results"]["LargestGroupBot"], data["games"], strict=True):
        vars(row).update(play(game.board, LargestGroupBot())._asdict())


def test_a_replay_goes_on_beside(settings: Settings, engine: Engine, folder: Path) -> None:
    """Of the sets that the files belong to, or of all; a file may be equal and its results wrong."""
    path = write_legacy(folder / "a.pkl", bots=("LargestGroupBot", "Other"), spoil=_largest)
    write_legacy(folder / "b.pkl", base_seed=7)
    migrate(settings, folder)
    state = database_state(engine)
    right = _verify(settings, path, replay=True)
    assert (right.equal, right.exit_code, [verdict.status for verdict in right.files]) == (True, 0, ["equal"])
    replayed = right.to_json()["replay"]
    assert (replayed["equal"], replayed["different"], replayed["not_replayable"]) == (10, 0, 10)
    wrong = _verify(settings, replay=True)
    assert (wrong.equal, wrong.exit_code) == (False, 1)
    assert all(verdict.status == "equal" for verdict in wrong.files)
    assert wrong.replay is not None
    assert 0 < wrong.replay.different <= 10
    assert wrong.replay.different + wrong.replay.equal == 20
    assert "replay" not in _verify(settings).to_json()
    missing = _verify(settings, write_legacy(folder / "c.pkl", base_seed=9), replay=True)
    assert missing.to_json()["replay"]["bots"] == []
    assert database_state(engine) == state
    for options in ({"sample": 3}, {"jobs": 2}, {"replay": True, "sample": 0}, {"replay": True, "jobs": 0}):
        with pytest.raises(UsageError, match="--sample and --jobs"):
            _verify(settings, **options)
