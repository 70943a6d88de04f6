"""Sets as a folder of tables: what lies where, whole or without a manifest, and readable as one table."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.errors import (
    AlreadyExistsError,
    FileAccessError,
    IncompleteSetError,
    MissingPackageError,
    ValueRefusedError,
)
from sgdb.operations.export import ExportOptions, ExportResult, export
from sgdb.records import ExportFormat
from sgdb.settings import Settings
from tests.legacy import write_legacy
from tests.steps import database_state, migrate, tamper

FOLDERS = [format for format in ExportFormat if format.is_folder]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for pickles."""
    path = tmp_path / "pickles"
    path.mkdir()
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "out" / "deeper"


def _export(settings: Settings, to: Path, format: ExportFormat, **options: Any) -> ExportResult:
    return export(ExportOptions(to, format=format, **options), settings)


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("format", FOLDERS)
def test_the_manifest_names_every_file(
    settings: Settings, engine: Engine, folder: Path, out: Path, format: ExportFormat
) -> None:
    """With its rows, size and SHA-256; files lie by table and board shape; the database is only read."""
    write_legacy(folder / "1.pkl", num_games=3, num_results=5)
    write_legacy(folder / "2.pkl", config=(2, 9, 4), base_seed=-7, num_games=4, bots=("A", "B"))
    migrate(settings, folder)
    state = database_state(engine)
    result = _export(settings, out, format)
    small = f"num_rows=5/num_cols=5/num_colors=3/seed_42.{format}"
    large = f"num_rows=2/num_cols=9/num_colors=4/seed_-7.{format}"
    below = [f"{table}/{name}" for table in ("games", "results") for name in (small, large)]
    assert _files(out) == sorted(["manifest.json", f"bots.{format}", f"sets.{format}", *below])
    assert [file.path for file in result.files][-1] == out / "manifest.json"
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert manifest["rows"] == {
        "sets": 2,
        "bots": 3,
        "games": 9,
        "results": 13,
        "histories": 0,
        "sessions": 0,
        "checkpoints": 0,
    }
    entries = [*manifest["files"].values(), *(e for one in manifest["sets"] for e in one["files"].values())]
    assert sorted(entry["path"] for entry in entries) == sorted({*_files(out)} - {"manifest.json"})
    for entry in entries:
        raw = (out / entry["path"]).read_bytes()
        assert (entry["size_bytes"], entry["sha256"]) == (len(raw), hashlib.sha256(raw).hexdigest())
    assert {(file.path, file.sha256) for file in result.files if file.path.name != "manifest.json"} == {
        (out / entry["path"], entry["sha256"]) for entry in entries
    }
    assert database_state(engine) == state


@pytest.mark.parametrize("format", FOLDERS)
def test_two_exports_of_the_same_rows_are_the_same_bytes(
    settings: Settings, folder: Path, out: Path, format: ExportFormat
) -> None:
    """But for the manifest's time."""
    migrate(settings, write_legacy(folder / "1.pkl", bots=("A", "B")))
    first, second = (_export(settings, out / name, format).files for name in "ab")
    assert [file.sha256 for file in first[:-1]] == [file.sha256 for file in second[:-1]]


def test_researchers_read_a_folder_as_one_table(settings: Settings, folder: Path, out: Path) -> None:
    """DuckDB and Polars find the board shape in the folders' names, and boards as lists."""
    import duckdb
    import polars

    write_legacy(folder / "1.pkl", num_games=4)
    write_legacy(folder / "2.pkl", config=(2, 9, 4), num_games=6)
    migrate(settings, folder)
    for format in FOLDERS:
        _export(settings, out / format, format)
    counts = [(2, 9, 4, "LargestGroupBot", 6), (5, 5, 3, "LargestGroupBot", 4)]
    columns = "num_rows, num_cols, num_colors, bot"
    for table in (
        f"read_parquet('{out}/parquet/results/**/*.parquet')",
        f"read_csv('{out}/csv/results/**/*.csv', hive_partitioning = true)",
        f"read_json('{out}/jsonl/results/**/*.jsonl', hive_partitioning = true)",
    ):
        query = f"SELECT {columns}, count(*) FROM {table} GROUP BY ALL ORDER BY ALL"
        assert duckdb.sql(query).fetchall() == counts
    games = polars.read_parquet(out / "parquet" / "games")
    assert games.shape == (10, 8)
    board = games.filter(num_rows=2, game_index=0)["board"].to_list()
    line = next((out / "jsonl" / "games" / "num_rows=2").rglob("*.jsonl")).read_text().splitlines()[0]
    assert board == [json.loads(line)["board"]]


# -- never half, never over another file ----------------------------------------------------------


@pytest.mark.parametrize("taken", ["manifest.json", "bots.csv"])
def test_what_is_there_is_not_replaced_unasked(
    settings: Settings, folder: Path, out: Path, taken: str
) -> None:
    """Nothing at all is written when one name is taken."""
    migrate(settings, write_legacy(folder / "1.pkl"))
    out.mkdir(parents=True)
    (out / taken).write_text("mine")
    with pytest.raises(AlreadyExistsError, match="nothing was written"):
        _export(settings, out, ExportFormat.CSV)
    assert _files(out) == [taken]
    _export(settings, out, ExportFormat.CSV, overwrite=True)
    assert (out / taken).read_text() != "mine"


def test_a_former_export_is_replaced_as_a_whole(settings: Settings, folder: Path, out: Path) -> None:
    """Files of the former that the new one does not have go, and folders that are empty then; others' files
    stay."""
    write_legacy(folder / "1.pkl", base_seed=1)
    write_legacy(folder / "3.pkl", config=(9, 9, 3))
    write_legacy(folder / "2.pkl", base_seed=2)
    migrate(settings, folder)
    _export(settings, out, ExportFormat.CSV)
    (out / "notes.txt").write_text("mine")
    _export(settings, out, ExportFormat.JSONL, overwrite=True, set_ids=(1,))
    assert [name for name in _files(out) if "csv" in name or "seed_2" in name] == []
    assert list(out.rglob("num_rows=9")) == []
    assert (out / "notes.txt").read_text() == "mine"


def test_a_pipe_in_the_place_of_the_manifest_is_not_waited_for(
    settings: Settings, folder: Path, out: Path
) -> None:
    """Nobody may ever write to it; and nothing else is written."""
    migrate(settings, write_legacy(folder / "1.pkl"))
    out.mkdir(parents=True)
    os.mkfifo(out / "manifest.json")
    with pytest.raises(FileAccessError, match="no regular file"):
        _export(settings, out, ExportFormat.CSV, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["manifest.json"]


def test_a_former_manifest_cannot_have_foreign_files_removed(
    settings: Settings, folder: Path, out: Path, tmp_path: Path
) -> None:
    """Neither by a path that leaves the folder nor through a link."""
    migrate(settings, write_legacy(folder / "1.pkl"))
    _export(settings, out, ExportFormat.CSV)
    mine = tmp_path / "mine" / "bots.csv"
    mine.parent.mkdir()
    mine.write_text("mine")
    (out / "link").symlink_to(mine.parent)
    former = (out / "manifest.json").read_text()
    for path in ("../../mine/bots.csv", str(mine), "link/bots.csv"):
        (out / "manifest.json").write_text(former.replace("bots.csv", path))
        _export(settings, out, ExportFormat.CSV, overwrite=True)
        assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    "statement", ["DELETE FROM games WHERE game_index = 8", "DELETE FROM game_results WHERE id = 8"]
)
def test_a_set_that_lacks_a_row_is_not_exported(
    settings: Settings, engine: Engine, folder: Path, out: Path, statement: str
) -> None:
    """And leaves nothing."""
    migrate(settings, write_legacy(folder / "a.pkl"))
    tamper(engine, statement)
    with pytest.raises(IncompleteSetError, match="set 1 lacks"):
        _export(settings, out, ExportFormat.JSONL)
    assert not out.exists()


def test_an_export_that_breaks_off_has_no_manifest(
    settings: Settings, engine: Engine, folder: Path, out: Path
) -> None:
    """Also when one with a manifest stood there: half of each would be worse than none."""
    migrate(settings, write_legacy(folder / "a.pkl"))
    _export(settings, out, ExportFormat.PARQUET)
    tamper(engine, "UPDATE games SET board_state = '[[\"x\"]]' WHERE game_index = 8")
    with pytest.raises(ValueRefusedError, match="column board"):
        _export(settings, out, ExportFormat.PARQUET, overwrite=True)
    assert "manifest.json" not in _files(out)
    assert [name for name in _files(out) if name.endswith(".part")] == []


def test_an_empty_database_exports_nothing(settings: Settings, out: Path) -> None:
    """No file, no folder, no error."""
    assert (_export(settings, out, ExportFormat.JSONL).files, out.exists()) == ([], False)


def test_parquet_without_pyarrow_names_the_extra(
    settings: Settings, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written; the other formats need nothing."""
    migrate(settings, write_legacy(folder / "a.pkl"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError) as caught:
        _export(settings, out, ExportFormat.PARQUET)
    assert "sgdb[parquet]" in (caught.value.hint or "")
    assert caught.value.exit_code == 3
    assert not out.exists()
    _export(settings, out, ExportFormat.CSV)
