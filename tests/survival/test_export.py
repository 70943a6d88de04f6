"""`export` struck in the middle: what bears a file's name is the whole file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import URL

from sgdb.operations.export import ExportOptions, export
from tests.preloaded import Command, start
from tests.survival.child_server import ChildServer, environment_for, settings_for
from tests.survival.killing import Round, many, survivors


def _survive(server: ChildServer, migrated: str, rounds: list[Round], folder: Path) -> None:
    out = folder / "out"

    def begin(url: URL) -> Command:
        shutil.rmtree(out, ignore_errors=True)
        return start(folder, ["export", "--all", "--to", str(out)], environment_for(url))

    def finish(url: URL) -> dict[str, bytes]:
        result = export(ExportOptions(out, overwrite=True), settings_for(url))
        assert {file.path.name for file in result.files} == set(_files(out))
        return _files(out)

    with server.database(migrated) as url:
        whole = finish(url)
    for survivor in survivors(server, rounds, begin, template=migrated):
        assert _files(out).items() <= whole.items()
        assert finish(survivor.url) == whole


def _files(folder: Path) -> dict[str, bytes]:
    """The files that have got their names."""
    paths = folder.iterdir() if folder.exists() else ()
    return {path.name: path.read_bytes() for path in paths if path.suffix != ".part"}


@pytest.mark.survival
@many(100, others=20)
def test_at_every_moment(
    child_server: ChildServer, migrated: str, tmp_path: Path, rounds: list[Round]
) -> None:
    """Every file that is there is whole, and exporting again gives all of them."""
    _survive(child_server, migrated, rounds, tmp_path)
