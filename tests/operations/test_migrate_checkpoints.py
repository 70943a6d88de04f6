"""Checkpoint pickles and their weights into the database: each whole or not at all, and compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.settings import Settings
from tests.legacy_checkpoints import write_checkpoint
from tests.steps import ask, count, migrate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for checkpoints."""
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


def test_a_checkpoint_goes_in_and_every_row_names_it(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """Session, bot, config, checkpoint and weights are there for another connection."""
    path = write_checkpoint(folder)
    result = migrate(settings, folder)
    (report,) = result.files
    assert report.error is None
    assert (result.exit_code, report.status, report.notes) == (0, "migrated", [])
    print(report.to_json(), result.to_json())
    print(ask(engine, "SELECT * FROM training_sessions"), ask(engine, "SELECT * FROM model_checkpoints"))
    print(ask(engine, "SELECT * FROM source_files"))
    result = migrate(settings, folder)
    print(result.to_json())
    assert count(engine, "blobs") == 1
    assert path
    assert 0
