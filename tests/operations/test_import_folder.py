"""Folders of tables back into a database: equal to what they were written from, or refused as a whole."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count as counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine

from sgdb.database.engine import make_engine
from sgdb.errors import (
    BusyError,
    ConflictError,
    DependentRowsError,
    ExportedFolderError,
    LastCopyError,
    NotFoundError,
    SgdbError,
    UsageError,
    ValueRefusedError,
)
from sgdb.operations.export import ExportOptions, export
from sgdb.operations.import_folder import ImportOptions, ImportResult, import_folder
from sgdb.operations.query import runs
from sgdb.operations.rollback import RollbackOptions, rollback
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.records import BotPerformance, ExportFormat, GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage.postgres import PostgresStorage
from tests.folders import contents_of, described, edit, rewrite
from tests.legacy import dump, write_legacy
from tests.oddities import ODDITIES, benchmarks
from tests.steps import Listener, ask, count, database_state, migrate, tamper

FOLDERS = [format for format in ExportFormat if format.is_folder]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for pickles."""
    path = tmp_path / "pickles"
    path.mkdir()
    return path


@pytest.fixture
def other(_databases: Any, _template: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings of another database with sgdb's tables."""
    url = _databases.create(_template)
    address = url.render_as_string(hide_password=False)
    yield load_settings({"database_url": address, "home": tmp_path / "other-home"})
    _databases.drop(url)


@pytest.fixture
def other_engine(other: Settings) -> Iterator[Engine]:
    """An engine on the other database."""
    assert other.server_address is not None
    assert other.server_address.url is not None
    engine = make_engine(other.server_address.url)
    yield engine
    engine.dispose()


def _export(settings: Settings, to: Path, format: ExportFormat, *set_ids: int) -> Path:
    export(ExportOptions(to, set_ids or None, format=format, overwrite=True), settings)
    return to


def _import(
    settings: Settings, folder: Path, progress: Listener | None = None, **options: Any
) -> ImportResult:
    """Imports, and proves that the sums add up, whatever the outcome."""
    result = import_folder(ImportOptions(folder, **options), settings, progress)
    for kind in ("games", "results", "histories"):
        counts = [report.counts()[kind] for report in result.sets]
        for each in (*counts, result.totals[kind]):
            assert each["read"] == each["inserted"] + each["identical"] + each["rejected"], each
        assert all(sum(each[name] for each in counts) == result.totals[kind][name] for name in counts[0])
    return result


def _path(folder: Path, table: str) -> str:
    """The path of the only file of a table."""
    (path,) = (folder / table).rglob("*.*")
    return str(path.relative_to(folder))


# -- there and back --------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", ODDITIES, ids=lambda spoil: spoil.__name__)
def test_what_was_strange_about_a_pickle_survives(
    settings: Settings, other: Settings, folder: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], Any]
) -> None:
    """Through each format into another database: the pickle written there is the same to the byte, and so is
    the folder."""
    bots = ("LargestGroupBot", "RandomBot")
    migrate(settings, write_legacy(folder / "odd.pkl", bots=bots, spoil=spoil))
    (pickle,) = export(ExportOptions(tmp_path / "a"), settings).files
    for format, status in zip(FOLDERS, ("imported", "identical", "identical"), strict=True):
        written = _export(settings, tmp_path / format, format)
        (report,) = _import(other, written).sets
        assert (report.status, report.error) == (status, None)
        again = _export(other, tmp_path / f"{format} again", format)
        assert contents_of(again) == contents_of(written)
    (back,) = export(ExportOptions(tmp_path / "b"), other).files
    assert back.path.read_bytes() == pickle.path.read_bytes()
    assert verify(VerifyOptions(), other).equal
    assert verify(VerifyOptions((folder,)), other).equal


_base_seeds = counter(1)


@given(data=benchmarks())
@hypothesis_settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_benchmark_comes_back_equal(
    settings: Settings, other: Settings, tmp_path: Path, data: dict[str, Any]
) -> None:
    """The same for anything that can be stored."""
    data["base_seed"] = next(_base_seeds)
    path = tmp_path / "any.pkl"
    path.write_bytes(dump(data))
    (report,) = migrate(settings, path).files
    assert report.benchmark_set_id is not None
    (pickle,) = export(
        ExportOptions(tmp_path / "a", (report.benchmark_set_id,), overwrite=True), settings
    ).files
    for format in FOLDERS:
        written = _export(settings, tmp_path / format, format, report.benchmark_set_id)
        (taken,) = _import(other, written).sets
        assert taken.error is None
        assert taken.benchmark_set_id is not None
        again = _export(other, tmp_path / f"{format} again", format, taken.benchmark_set_id)
        assert contents_of(again) == contents_of(written)
    (back,) = export(ExportOptions(tmp_path / "b", (taken.benchmark_set_id,), overwrite=True), other).files
    assert back.path.read_bytes() == pickle.path.read_bytes()


@pytest.mark.parametrize("format", FOLDERS)
@pytest.mark.no_cover
def test_the_real_files_come_back(
    settings: Settings,
    other: Settings,
    shared_pickles: Path | None,
    folder: Path,
    tmp_path: Path,
    format: ExportFormat,
) -> None:
    """Where the real files are at hand, the largest in one format; else a small one."""
    if shared_pickles is None:
        write_legacy(folder / "benchmark_5_5_3_42.pkl", num_games=3, num_results=1000)
    else:
        for path in sorted(shared_pickles.glob("benchmark_*_*")):
            if format is ExportFormat.PARQUET or path.stat().st_size < 1_000_000:
                shutil.copy(path, folder)
    migrate(settings, folder)
    written = _export(settings, tmp_path / "a", format)
    result = _import(other, written)
    assert result.exit_code == 0
    assert result.totals["sets"]["imported"] == len(result.sets)
    assert contents_of(_export(other, tmp_path / "b", format)) == contents_of(written)
    assert verify(VerifyOptions((folder,)), other).equal


@pytest.mark.parametrize("format", FOLDERS)
def test_what_no_pickle_has_survives_too(
    settings: Settings, engine: Engine, other: Settings, tmp_path: Path, format: ExportFormat
) -> None:
    """Moves and what stands beside them, times, names, what is known of bots, rows that programs stored."""
    storage = PostgresStorage(settings, GameConfig(2, 2, 3), 7)
    rows = [BotPerformance("A", index, 4, 0, 2, True) for index in range(3)]
    storage.save_results("A", rows)
    storage.save_moves("A", {0: [(0, 0), (1, 1)], 2: [(1, 0), (0, 1)]})
    tamper(engine, "UPDATE benchmark_sets SET name = 'Mine', description = ''")
    tamper(
        engine, "UPDATE bots SET version = NULL, bot_type = '', metadata = '{\"a\": [1, 1.5, \"\\u00e9\"]}'"
    )
    tamper(engine, "UPDATE game_results SET execution_time_ms = 0.1 + id WHERE id < 3")
    tamper(engine, "UPDATE game_histories SET board_states = '[[[1, 2],\n[2, 1]]]', "
                   "decision_metadata = '{\"q\": [0.5]}' WHERE id = 1")  # fmt: skip
    written = _export(settings, tmp_path / "a", format)
    (report,) = _import(other, written).sets
    assert (report.histories, report.error) == (
        {"read": 2, "inserted": 2, "identical": 0, "rejected": 0},
        None,
    )
    again = contents_of(_export(other, tmp_path / "b", format))
    # Blanks between a list's items are no value.
    texts = [
        {path: raw for path, raw in found.items() if "histories" not in path and path != "manifest.json"}
        for found in (again, contents_of(written))
    ]
    assert texts[0] == texts[1]
    assert PostgresStorage(other, GameConfig(2, 2, 3), 7).load_moves("A") == storage.load_moves("A")
    (taken,) = _import(other, written).sets
    assert (taken.status, taken.histories["identical"]) == ("identical", 2)
    assert verify(VerifyOptions(), other).equal


def test_importing_again_changes_nothing(
    settings: Settings, other: Settings, other_engine: Engine, folder: Path, tmp_path: Path
) -> None:
    """No row, no sequence; nor does a dry run, which tells the same numbers as the real one."""
    migrate(settings, write_legacy(folder / "1.pkl", num_games=3, num_results=6))
    written = _export(settings, tmp_path / "a", ExportFormat.JSONL)
    state = database_state(other_engine)
    dry = _import(other, written, dry_run=True)
    assert database_state(other_engine) == state
    first = _import(other, written)
    assert (dry.totals, dry.run_id, first.run_id) == (first.totals, None, 1)
    assert first.totals["games"]["inserted"] == 6
    state = database_state(other_engine)
    second = _import(other, written)
    assert (second.run_id, second.exit_code, second.totals["sets"]["identical"]) == (None, 0, 1)
    assert database_state(other_engine) == state


def test_importing_where_it_came_from_changes_nothing(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path
) -> None:
    """Not a row of the set, and not what an export gives."""
    migrate(settings, write_legacy(folder / "1.pkl", bots=("A", "B")))
    written = _export(settings, tmp_path / "a", ExportFormat.CSV)
    before = {table: database_state(engine)[table] for table in ("games", "game_results", "bots")}
    assert _import(settings, written).totals["sets"] == {"imported": 0, "identical": 1, "rejected": 0}
    assert {table: database_state(engine)[table] for table in before} == before
    assert contents_of(_export(settings, tmp_path / "b", ExportFormat.CSV)) == contents_of(written)
    assert verify(VerifyOptions(), settings).equal


def test_a_larger_set_extends_and_a_smaller_one_adds_nothing(
    settings: Settings, other: Settings, folder: Path, tmp_path: Path
) -> None:
    """As with pickles."""
    small, large = (write_legacy(folder / f"{n}.pkl", num_games=n, bots=("A",)) for n in (4, 9))
    migrate(settings, large)
    written = _export(settings, tmp_path / "a", ExportFormat.PARQUET)
    migrate(other, small)
    (report,) = _import(other, written).sets
    assert report.games == {"read": 9, "inserted": 5, "identical": 4, "rejected": 0}
    (extended,) = [row for row in runs(other) if row["kind"] == "import"]
    rollback(RollbackOptions(extended["id"]), other)
    assert verify(VerifyOptions((small,)), other).equal


# -- conflicts, and taking back ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE games SET seed = 5 WHERE game_index = 3",
        "UPDATE games SET board_state = '[[1]]' WHERE game_index = 3",
        "UPDATE game_results SET moves_made = moves_made + 1 WHERE id = 2",
        'UPDATE game_results SET metadata = \'{"bot_name": "x"}\' WHERE id = 2',
        "UPDATE bots SET version = '2.0'",
    ],
)
def test_another_value_is_a_conflict(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path, statement: str
) -> None:
    """The set is rejected, named, and nothing of it is changed; the others go in."""
    write_legacy(folder / "1.pkl", num_games=5)
    write_legacy(folder / "2.pkl", base_seed=2, num_games=5, bots=("Other",))
    migrate(settings, folder)
    written = _export(settings, tmp_path / "a", ExportFormat.JSONL)
    tamper(engine, statement)
    before = {table: database_state(engine)[table] for table in ("games", "game_results", "bots")}
    result = _import(settings, written)
    assert {table: database_state(engine)[table] for table in before} == before
    assert "rejected" in [report.status for report in result.sets]
    assert isinstance(result.sets[0].refusal, ConflictError)
    assert result.exit_code == 1
    assert count(engine, "source_files") == 4
    _import(settings, written)
    assert count(engine, "source_files") == 4  # a refusal is written down once


def test_an_import_can_be_taken_back(
    settings: Settings, other: Settings, other_engine: Engine, folder: Path, tmp_path: Path
) -> None:
    """Moves, times and all; by number or as the newest that brought something."""
    storage = PostgresStorage(settings, GameConfig(2, 2, 3), 7)
    storage.save_results("A", [BotPerformance("A", index, 4, 0, 1, True) for index in range(3)])
    storage.save_moves("A", {0: [(0, 0)], 2: [(1, 0)]})
    migrate(settings, write_legacy(folder / "1.pkl"))
    written = _export(settings, tmp_path / "a", ExportFormat.JSONL)
    migrate(other, write_legacy(folder / "mine.pkl", base_seed=5))
    before = ask(other_engine, "SELECT count(*), sum(id) FROM games")
    result = _import(other, written)
    assert count(other_engine, "game_histories") == 2
    taken = rollback(RollbackOptions(), other)
    assert (taken.run_id, taken.removed["histories"], taken.removed["games"]) == (result.run_id, 2, 13)
    assert count(other_engine, "game_histories") == 0
    assert ask(other_engine, "SELECT count(*), sum(id) FROM games") == before
    assert verify(VerifyOptions(), other).equal
    with pytest.raises(UsageError, match="taken back already") as caught:
        rollback(RollbackOptions(result.run_id), other)
    assert "sgdb import FOLDER" in str(caught.value.hint)
    assert _import(other, written).totals["sets"]["imported"] == 2


def test_what_was_added_since_keeps_an_import(
    settings: Settings, other: Settings, folder: Path, tmp_path: Path
) -> None:
    """Moves that a program stored on its games depend on them."""
    migrate(settings, write_legacy(folder / "1.pkl", config=(2, 2, 3), num_games=3, bots=("A",)))
    written = _export(settings, tmp_path / "a", ExportFormat.JSONL)
    _import(other, written)
    storage = PostgresStorage(other, GameConfig(2, 2, 3), 42)
    moves = {row.game_id: [(0, 0)] * row.moves_made for row in storage.load_results("A")}
    storage.save_moves("A", moves)
    with pytest.raises(DependentRowsError, match="3 histories on its games"):
        rollback(RollbackOptions(), other)


def test_an_original_is_asked_for_in_vain(
    settings: Settings, other: Settings, folder: Path, tmp_path: Path
) -> None:
    """A manifest is no original, and nobody is told that one was migrated."""
    migrate(settings, write_legacy(folder / "1.pkl"))
    written = _export(settings, tmp_path / "a", ExportFormat.JSONL)
    _import(other, written)
    with pytest.raises(NotFoundError, match="no originals are stored"):
        export(ExportOptions(tmp_path / "b", format=ExportFormat.ORIGINAL), other)
    (check,) = [check for check in verify(VerifyOptions(), other).checks if check.name == "archive hashes"]
    assert "without" not in check.detail


# -- folders that are not as they were written --------------------------------------------------------


@pytest.fixture
def written(settings: Settings, folder: Path, tmp_path: Path) -> Path:
    """A sound export of one set, as JSON Lines."""
    migrate(settings, write_legacy(folder / "1.pkl", num_games=5, num_results=7, bots=("A", "B")))
    return _export(settings, tmp_path / "a", ExportFormat.JSONL)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json \(no longer there"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), r"manifest\.json \(there are other"),
        (lambda folder: _results(folder).unlink(), r"\(results/\S+ in its folder: no longer there"),
        (lambda folder: _results(folder).write_bytes(b""), r"\(results/\S+ in its folder: there are other"),
    ],
)
def test_an_import_whose_folder_is_not_what_it_was_is_the_last_copy(
    other: Settings, other_engine: Engine, written: Path, spoil: Callable[[Path], object], said: str
) -> None:
    """Not only its manifest is looked for: also every file that this names."""
    _import(other, written)
    state = database_state(other_engine)
    spoil(written)
    with pytest.raises(LastCopyError, match=said):
        rollback(RollbackOptions(), other)
    assert database_state(other_engine) == state
    taken = rollback(RollbackOptions(discard_originals=True), other)
    assert [file.original for file in taken.files] == ["discarded"]


def test_the_folder_of_an_import_is_named_once(
    settings: Settings, other: Settings, folder: Path, tmp_path: Path
) -> None:
    """Whatever number of sets came out of it; and what to do first leaves none of them out, nor anything that
    a pickle could not hold."""
    for number in range(12):
        migrate(settings, write_legacy(folder / f"{number}.pkl", base_seed=number, num_games=2))
    written = _export(settings, tmp_path / "a", ExportFormat.JSONL)
    _import(other, written)
    (written / "manifest.json").unlink()
    with pytest.raises(LastCopyError, match="the last copy of 1 of its files: ") as caught:
        rollback(RollbackOptions(), other)
    assert caught.value.message.count("manifest.json") == 1
    assert "sgdb export --all --format jsonl --to FOLDER" in str(caught.value.hint)


def _results(folder: Path) -> Path:
    return folder / _path(folder, "results")


def _refused(other: Settings, engine: Engine, folder: Path) -> SgdbError:
    """The error with which a folder is refused, which leaves nothing in the tables of boards and results."""
    try:
        result = _import(other, folder)
    except SgdbError as error:
        refusal: SgdbError | None = error
    else:
        (report,) = result.sets
        refusal = report.refusal
        assert refusal is not None
        assert result.exit_code == refusal.exit_code
    assert refusal is not None
    for table in ("games", "game_results", "benchmark_sets", "bots"):
        assert count(engine, table) == 0
    return refusal


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "gone", "folder", "link out"])
def test_a_damaged_file_is_refused(
    other: Settings, other_engine: Engine, written: Path, tmp_path: Path, damage: str
) -> None:
    """A bit, the end, more than there was, no file at all, something else in its place."""
    for path in [path for path in written.rglob("*.jsonl") if path.is_file()]:
        sound = path.read_bytes()
        raw = bytearray(sound)
        path.unlink()
        if damage == "flipped":
            raw[len(raw) // 2] ^= 1
            path.write_bytes(raw)
        elif damage in ("cut", "longer"):
            path.write_bytes(raw[:-3] if damage == "cut" else raw + b"\n")
        elif damage == "folder":
            path.mkdir()
        elif damage == "link out":
            (tmp_path / "mine").write_bytes(raw)
            path.symlink_to(tmp_path / "mine")
        error = _refused(other, other_engine, written)
        assert isinstance(error, ExportedFolderError), error
        assert path.name in error.message
        if damage == "folder":
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(sound)


def test_a_pipe_is_not_waited_for(other: Settings, other_engine: Engine, written: Path) -> None:
    """Nor opened."""
    path = written / "bots.jsonl"
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in _refused(other, other_engine, written).message


MANIFESTS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda m: m.update(what="x"), "not one of `sgdb export`"),
    (lambda m: m.update(version=2), "version 2, this program knows 1"),
    (lambda m: m.update(version="1"), "version: '1' is not a whole number"),
    (lambda m: m.update(format="xml"), "'xml' is no format"),
    (lambda m: m.update(sets={}), "sets: {} is not a list"),
    (lambda m: m["sets"].append(m["sets"][0]), "a file stands twice"),
    (lambda m: m["sets"].clear(), "names other sets"),
    (lambda m: m["files"].update(games=m["files"]["bots"]), "'games' is no table that belongs there"),
    (lambda m: m["files"]["bots"].update(path="../bots.jsonl"), "not a path below the folder"),
    (lambda m: m["files"]["bots"].update(path="/etc/passwd"), "not a path below the folder"),
    (lambda m: m["files"]["bots"].update(path="a/../../bots.jsonl"), "not a path below the folder"),
    (lambda m: m["files"]["bots"].update(path="C:\\bots"), "not a path below the folder"),
    (lambda m: m["files"]["bots"].update(path="a\0b"), "cannot store"),
    (lambda m: m["files"]["bots"].update(path="manifest.json"), "not a path below the folder"),
    (lambda m: m["files"]["bots"].update(sha256="x"), "not a SHA-256"),
    (lambda m: m["files"]["bots"].update(size_bytes=10**30), "size_bytes"),
    (lambda m: m["files"]["bots"].update(rows=-1), "rows: -1"),
    (lambda m: m["files"]["bots"].update(rows=1), "more rows, but manifest.json says 1"),
    (lambda m: m["files"]["bots"].update(rows=9), "2 rows, but manifest.json says 9"),
    (lambda m: m["files"]["bots"].update(rows=10**9), "more than 1000000 rows"),
    (lambda m: m["sets"][0].update(num_rows=0), "num_rows: 0"),
    (lambda m: m["sets"][0].update(base_seed=2**63), "base_seed"),
    (lambda m: m["sets"][0].update(base_seed=43), "names other sets"),
    (lambda m: m["sets"][0]["order"].update(layout="E"), "layout"),
    (lambda m: m["sets"][0]["order"].update(games=[[0, 8]]), "not one of the rows"),
    (lambda m: m["sets"][0]["order"].update(games=[[4, 0]]), "is not a run"),
    (lambda m: m["sets"][0]["order"].update(games=[[0, 2**31]] * 3), "lists more than"),
    (lambda m: m["sets"][0]["order"].update(results=[]), "not one of the rows"),
    (lambda m: m["sets"][0]["order"].update(results=[["A", []], ["A", []]]), "once a bot"),
    (lambda m: m["sets"][0]["order"]["results"].append(["x" * 256, []]), "no name of up to 255"),
    (lambda m: m["sets"][0]["order"].update(extra={"a": {"$float": "x"}}), "as `sgdb export` writes it"),
    (lambda m: m["sets"][0]["order"].update(extra={"a": {"$dict": 1}}), "as `sgdb export` writes it"),
    (lambda m: m["sets"][0]["order"].update(extra={"a": {"$tuple": [], "b": 1}}), "as `sgdb export`"),
    (lambda m: m["sets"][0]["order"].update(extra=None), "extra: None is not an object"),
]  # fmt: skip


def test_a_manifest_of_somebody_in_a_hurry(other: Settings, other_engine: Engine, written: Path) -> None:
    """What is wrong with it is said, before anything is written."""
    sound = (written / "manifest.json").read_bytes()
    for change, said in MANIFESTS:
        (written / "manifest.json").write_bytes(sound)
        edit(written, change)
        error = _refused(other, other_engine, written)
        assert said in error.message
        assert error.exit_code == 4
    for raw in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"what": 1e999}'):
        (written / "manifest.json").write_bytes(raw)
        error = _refused(other, other_engine, written)
        assert isinstance(error, ExportedFolderError)
        assert "--format" in str(error.hint)  # without it, what is exported is no folder of tables


def test_a_game_that_the_order_leaves_out_is_one_with_results(other: Settings, written: Path) -> None:
    """As a board is that no pickle lists: it stays out of pickles, and that is an order like others."""
    edit(written, lambda manifest: manifest["sets"][0]["order"].update(games=[[0, 4]]))
    assert _import(other, written).exit_code == 0


def test_a_folder_that_is_none(other: Settings, tmp_path: Path) -> None:
    """Not there, without a manifest, or a file."""
    with pytest.raises(NotFoundError, match="no such folder"):
        _import(other, tmp_path / "nowhere")
    with pytest.raises(ExportedFolderError, match="one that broke off"):
        _import(other, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SgdbError):
        _import(other, tmp_path / "file")


GAME = '{"base_seed": 42, "game_index": 7, "seed": 1, "board": [[1,1,1,1,1],[1,1,1,1,1],[1,1,1,1,1],[1,1,1,1,1],[1,1,1,1,1]], "metadata": null}\n'  # noqa: E501
RESULT = (
    '{"base_seed": 42, "bot": "A", "game_index": 0, "tiles_cleared": 1, "singles_remaining": 1, '
    '"moves_made": 1, "completed": false, "execution_time_ms": null, "metadata": null}\n'
)


VALUES: list[tuple[str, str, str, str]] = [
    ("games", '"game_index": 1,', '"game_index": 0,', "game 0 stands twice"),
    ("games", '"base_seed": 42', '"base_seed": 43', "a row of base seed 43"),
    ("games", "[[", "[[9,", "game 0, field board: row 0 has 6 cells"),
    ("games", "[[", "[[-", "game 0, field board: cell [0][0] is -"),
    ("games", "[[", "[[1", "game 0, field board: cell [0][0] is 1"),
    ("games", '"game_index": 1,', '"game_index": -1,', "game_index: -1"),
    ("games", '"game_index": 1,', '"game_index": 2147483648,', "game_index: 2147483648"),
    ("games", '"seed": 478163327', '"seed": 0.5', "column seed: 0.5"),
    ("games", ": null}", ': {"board_type": 3}}', "board_type: 3 is not known"),
    ("games", ": null}", ': {"attributes": {"a": {"$float": []}}}}', "as `sgdb export` writes it"),
    ("games", ": null}", ": [1]}", "metadata: [1] is not an object"),
    ("results", '"game_index": 1,', '"game_index": 0,', "results of bot 'A': game 0 stands twice"),
    ("results", '"game_index": 6,', '"game_index": 9,', "there is no board"),
    ("results", '"moves_made": ', '"moves_made": -', "field moves_made: -"),
    ("results", '_ms": null', '_ms": -1', "execution_time_ms: -1 is negative"),
    ("results", ": null}", ': {"bot_name": 1}}', "bot_name: 1 is not a text"),
    ("results", '"bot": "A"', f'"bot": "{"x" * 256}"', "no name of up to 255"),
    ("results", '"bot": "A"', '"bot": "C"', "not one of the rows"),
    ("bots", '"B"', '"A"', "bot 'A' stands twice"),
    ("bots", '"1.0"', f'"{"1" * 51}"', "longer than 50 characters"),
    ("sets", '"5x5x3', f'"{"x" * 300}', "longer than 255 characters"),
]


def test_a_value_that_cannot_be_is_named(
    other: Settings, other_engine: Engine, written: Path, tmp_path: Path
) -> None:
    """In a file whose hash somebody has put right after changing it."""
    for at, (table, old, new, said) in enumerate(VALUES):
        folder = tmp_path / f"case {at}"
        shutil.copytree(written, folder)
        path = f"{table}.jsonl" if table in ("bots", "sets") else _path(folder, table)
        before = (folder / path).read_bytes()
        rewrite(folder, path, lambda text, old=old, new=new: text.replace(old, new, 1))  # type: ignore[misc]
        assert (folder / path).read_bytes() != before
        error = _refused(other, other_engine, folder)
        assert said in error.message, error.message
        assert isinstance(error, ValueRefusedError | ExportedFolderError)


def test_a_board_that_is_said_to_be_drawn_is_drawn(
    other: Settings, other_engine: Engine, written: Path
) -> None:
    """Whoever says so of another board is not believed, since later it would be taken on trust."""
    path = _path(written, "games")
    for line in (0, 1):
        lines = (written / path).read_text().splitlines(keepends=True)
        lines[line] = lines[line].replace(": null}", ': {"origin": "regenerated"}}')
        text = "".join(lines) if line == 0 else "".join(lines).replace('"seed": 107420369', '"seed": 1')
        rewrite(written, path, lambda _, text=text: text)  # type: ignore[misc]
        if line:
            assert "game 1: its origin" in _refused(other, other_engine, written).message
        else:
            assert _import(other, written, dry_run=True).exit_code == 0


def test_rows_that_the_manifest_does_not_count(other: Settings, other_engine: Engine, written: Path) -> None:
    """One more than it says."""
    rewrite(written, _path(written, "results"), lambda text: text + RESULT)
    assert "more rows" in _refused(other, other_engine, written).message


def test_a_csv_out_of_a_spreadsheet_is_taken(
    settings: Settings, other: Settings, folder: Path, tmp_path: Path
) -> None:
    """With a byte order mark, other line ends, everything quoted and the columns in another order; rows may
    be in any order, too."""
    migrate(settings, write_legacy(folder / "1.pkl", num_games=5, bots=("A", "B")))
    written = _export(settings, tmp_path / "a", ExportFormat.CSV)
    original = contents_of(written)

    def resave(text: str) -> str:
        rows = list(csv.reader(text.splitlines()))
        header, rest = rows[0][::-1], [row[::-1] for row in rows[1:]]
        lines = [
            ",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [header, *rest[::-1]]
        ]
        return "\ufeff" + "\n".join(lines)

    for table in ("games", "results"):
        rewrite(written, _path(written, table), resave)
    assert _import(other, written).exit_code == 0
    assert contents_of(_export(other, tmp_path / "b", ExportFormat.CSV)) == original


def test_a_folder_written_by_hand_is_taken(other: Settings, other_engine: Engine, tmp_path: Path) -> None:
    """The least that a manifest has to say: what is not told about order, names and bots follows from the
    rows."""
    hand = tmp_path / "hand"
    hand.mkdir()
    files = {}
    for name, text in (("games", GAME), ("results", RESULT.replace('"game_index": 0', '"game_index": 7'))):
        (hand / f"my {name}").write_text(text)
        files[name] = {"path": f"my {name}", "rows": 1, **described(text.encode())}
    one = {"num_rows": 5, "num_cols": 5, "num_colors": 3, "base_seed": 42, "num_games": 1, "files": files}
    document = {"what": "sgdb export", "version": 1, "format": "jsonl", "files": {}, "sets": [one]}
    (hand / "manifest.json").write_text(json.dumps(document))
    assert _import(other, hand).exit_code == 0
    assert ask(other_engine, "SELECT name FROM benchmark_sets") == [("5x5x3 seed 42",)]
    assert verify(VerifyOptions(), other).equal


# -- interrupted, moved, at once ----------------------------------------------------------------------


def test_ctrl_c_keeps_whole_sets(
    settings: Settings, other: Settings, other_engine: Engine, folder: Path, tmp_path: Path
) -> None:
    """The set at work is rolled back, the one before is kept, and the next import does the rest."""
    for seed in (1, 2):
        write_legacy(folder / f"{seed}.pkl", base_seed=seed)
    migrate(settings, folder)
    written = _export(settings, tmp_path / "a", ExportFormat.JSONL)

    def strike(calls: int) -> None:
        if calls == 3:
            raise KeyboardInterrupt

    result = _import(other, written, Listener(strike))
    assert (result.interrupted, result.exit_code) == (True, 130)
    assert [report.status for report in result.sets] == ["imported"]
    assert count(other_engine, "benchmark_sets") == 1
    assert [row["status"] for row in runs(other)] == ["interrupted"]
    assert _import(other, written).totals["sets"] == {"imported": 1, "identical": 1, "rejected": 0}


def test_a_file_that_changes_meanwhile_is_refused(
    other: Settings, other_engine: Engine, written: Path
) -> None:
    """Between the first look and the second."""
    path = written / _path(written, "games")
    raw = path.read_bytes()

    def change(calls: int) -> None:
        if calls == 2:  # the results are being looked at: the games have been
            path.write_bytes(raw.replace(b"[1,", b"[2,", 1))

    (report,) = _import(other, written, Listener(change)).sets
    assert isinstance(report.refusal, ExportedFolderError)
    assert count(other_engine, "games") == 0


def test_a_copied_folder_is_as_good(other: Settings, written: Path, tmp_path: Path) -> None:
    """Nothing in a folder depends on where it lies."""
    shutil.copytree(written, tmp_path / "elsewhere")
    shutil.rmtree(written)
    assert _import(other, tmp_path / "elsewhere").exit_code == 0


def test_a_set_that_is_locked_is_waited_for(other: Settings, other_engine: Engine, written: Path) -> None:
    """And the wait has an end."""
    from sgdb.database.locks import lock_set

    with other_engine.begin() as connection:
        lock_set(connection, GameConfig(5, 5, 3), 42, timeout=1)
        listener = Listener()
        with pytest.raises(BusyError):
            _import(other.model_copy(update={"lock_timeout": 0.2}), written, listener)
        assert any("waiting" in notice for notice in listener.notices)
    assert _import(other, written).exit_code == 0
