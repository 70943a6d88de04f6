"""`export` to a folder of tables, and `import`, struck in the middle: no half export passes for one, and a
set is in whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from sgdb.errors import ExportedFolderError
from sgdb.operations.export import ExportOptions, export
from sgdb.operations.import_folder import ImportOptions, import_folder
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.records import ExportFormat
from tests.folders import contents_of
from tests.preloaded import Command, start
from tests.steps import ask
from tests.survival.child_server import ChildServer, environment_for, settings_for
from tests.survival.killing import Round, many, survivors


def _export(url: URL, out: Path) -> dict[str, Any]:
    export(ExportOptions(out, format=ExportFormat.CSV, overwrite=True), settings_for(url))
    return contents_of(out)


def _survive_export(server: ChildServer, migrated: str, rounds: list[Round], folder: Path) -> None:
    out = folder / "out"

    def begin(url: URL) -> Command:
        shutil.rmtree(out, ignore_errors=True)
        arguments = ["export", "--all", "--format", "csv", "--to", str(out)]
        return start(folder, arguments, environment_for(url))

    with server.database(migrated) as url:
        whole = _export(url, folder / "whole")
    for survivor in survivors(server, rounds, begin, template=migrated):
        if (out / "manifest.json").exists():
            assert _without_leftovers(out) == whole
        elif out.exists():
            with pytest.raises(ExportedFolderError, match=r"no manifest\.json"):
                import_folder(ImportOptions(out), settings_for(survivor.url))
        _export(survivor.url, out)
        assert _without_leftovers(out) == whole


def _without_leftovers(out: Path) -> dict[str, Any]:
    return {path: raw for path, raw in contents_of(out).items() if not path.endswith(".part")}


def _survive_import(server: ChildServer, migrated: str, rounds: list[Round], folder: Path) -> None:
    written = folder / "written"
    with server.database(migrated) as url:
        whole = _export(url, written)
    sets = {
        (one["num_rows"], one["num_cols"], one["num_colors"], one["base_seed"]): (
            one["files"]["games"]["rows"],
            one["files"]["results"]["rows"] if "results" in one["files"] else 0,
        )
        for one in json.loads((written / "manifest.json").read_bytes())["sets"]
    }

    def begin(url: URL) -> Command:
        return start(folder, ["import", str(written)], environment_for(url))

    for survivor in survivors(server, rounds, begin):
        rows = ask(
            survivor.engine,
            "SELECT num_rows, num_cols, num_colors, base_seed, count(DISTINCT g.id), count(r.id) "
            "FROM benchmark_sets s JOIN game_configs c ON c.id = config_id "
            "JOIN games g ON g.benchmark_set_id = s.id LEFT JOIN game_results r ON r.game_id = g.id "
            "GROUP BY 1, 2, 3, 4",
        )
        assert {row[:4]: row[4:] for row in rows}.items() <= sets.items()
        result = import_folder(ImportOptions(written), settings_for(survivor.url))
        assert (result.exit_code, result.totals["sets"]["identical"]) == (0, len(rows))
        assert _export(survivor.url, folder / "again") == whole
        assert verify(VerifyOptions(), settings_for(survivor.url)).equal


@pytest.mark.survival
@many(50, others=10)
def test_an_export_at_every_moment(
    child_server: ChildServer, migrated: str, tmp_path: Path, rounds: list[Round]
) -> None:
    """A folder with a manifest is whole, and exporting again gives all of it."""
    _survive_export(child_server, migrated, rounds, tmp_path)


@pytest.mark.survival
@many(50, others=10)
def test_an_import_at_every_moment(
    child_server: ChildServer, migrated: str, tmp_path: Path, rounds: list[Round]
) -> None:
    """Each set is in whole or not at all, and importing again does the rest."""
    _survive_import(child_server, migrated, rounds, tmp_path)
