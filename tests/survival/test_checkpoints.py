"""`migrate-pickles` struck while it takes checkpoints, their weights in the database and in files: each is
there whole or not at all, and a rerun completes."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from sqlalchemy import URL

from sgdb.database.engine import make_engine
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.settings import Settings
from tests.legacy_checkpoints import torch_zip, write_checkpoint
from tests.preloaded import Command, start
from tests.steps import migrate
from tests.survival.child_server import ChildServer, environment_for, settings_for
from tests.survival.contents import Contents, contents
from tests.survival.killing import Round, Survivor, many, survivors

LIMIT = 100_000


def _settings(url: URL, files: Path) -> Settings:
    return settings_for(url).model_copy(update={"checkpoint_limit": LIMIT, "checkpoint_dir": files})


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of two experiments, every other one with weights that go into a file."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for epoch in range(6):
        size = 20_000 if epoch % 2 else 20 * LIMIT
        name = "one" if epoch < 4 else "two"
        write_checkpoint(folder, name, epoch, weights=torch_zip(epoch, size), loss_history=[0.5] * 10_000)
    return folder


@pytest.fixture(scope="module")
def stages(
    _child_server: ChildServer, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Contents]:
    """What the database holds after no checkpoint, the first, the first two, and so on."""
    files = tmp_path_factory.mktemp("files")
    with _child_server.database() as url:
        engine = make_engine(url)
        found = [contents(engine)]
        for path in sorted(checkpoints.glob("*.pkl")):
            migrate(_settings(url, files), path)
            found.append(contents(engine))
        engine.dispose()
    return found


def _survive(
    server: ChildServer, checkpoints: Path, stages: list[Contents], rounds: list[Round], files: Path
) -> None:
    def begin(url: URL) -> Command:
        shutil.rmtree(files, ignore_errors=True)
        where = {"SGDB_CHECKPOINT_DIR": str(files), "SGDB_CHECKPOINT_LIMIT": str(LIMIT)}
        return start(checkpoints, ["migrate-pickles", "."], environment_for(url) | where)

    for survivor in survivors(server, rounds, begin):
        _require_whole(survivor, stages, files)
        settings = _settings(survivor.url, files)
        migrate(settings, checkpoints)
        assert contents(survivor.engine) == stages[-1]
        assert verify(VerifyOptions((checkpoints,)), settings).equal
        _require_whole(survivor, stages, files)


def _require_whole(survivor: Survivor, stages: list[Contents], files: Path) -> None:
    """Rows of whole checkpoints only, none without its bytes, and no file that is not what its name says."""
    assert contents(survivor.engine) in stages
    left = verify(VerifyOptions(), _settings(survivor.url, files))
    assert left.equal, left
    for path in files.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


@pytest.mark.survival
@many(100, others=20)
def test_at_every_moment(
    child_server: ChildServer, checkpoints: Path, stages: list[Contents], rounds: list[Round], tmp_path: Path
) -> None:
    """Sums, rows and files are those of some of the checkpoints; a rerun brings the rest."""
    _survive(child_server, checkpoints, stages, rounds, tmp_path / "files")
