"""Training sessions and checkpoints through a folder into another database, with their weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.database.engine import make_engine
from sgdb.errors import ConflictError, ExportedFolderError, SgdbError, ValueRefusedError
from sgdb.operations.export import ExportOptions, export
from sgdb.operations.import_folder import ImportOptions, ImportResult, import_folder
from sgdb.operations.rollback import RollbackOptions, rollback
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.records import BotPerformance, ExportFormat, GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage import TrainingRun
from sgdb.storage.postgres import PostgresStorage
from tests.folders import contents_of, edit, rewrite
from tests.steps import ask, count, database_state, tamper

FOLDERS = [format for format in ExportFormat if format.is_folder]
LIMIT = 100  # bytes kept in the database


@pytest.fixture
def other(_databases: Any, _template: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings of another database with sgdb's tables."""
    url = _databases.create(_template)
    address = url.render_as_string(hide_password=False)
    yield load_settings({"database_url": address, "home": tmp_path / "other-home", "checkpoint_limit": LIMIT})
    _databases.drop(url)


@pytest.fixture
def other_engine(other: Settings) -> Iterator[Engine]:
    """An engine on the other database."""
    assert other.server_address is not None
    assert other.server_address.url is not None
    engine = make_engine(other.server_address.url)
    yield engine
    engine.dispose()


@pytest.fixture
def trained(settings: Settings, engine: Engine) -> Settings:
    """A database with two trainings: weights small and large, none, the same twice, and NaN among the
    metrics; one of the checkpoints is a bot with results."""
    settings = settings.model_copy(update={"checkpoint_limit": LIMIT})
    values = {"lr": 0.1, "layers": [64, 64], "\u00e9": None}
    config = GameConfig(2, 2, 3)
    with TrainingRun("first", bot="Agent", hyperparameters=values, config=config, settings=settings) as run:
        run.log_checkpoint(0, b"", metrics={"loss": math.nan})
        run.log_checkpoint(1, b"small", b"state", {"loss": 0.1})
        run.log_checkpoint(2, b"large" * LIMIT, b"small", {"loss": -math.inf})
        run.log_checkpoint(3)
        bot = run.bot_for(2)
        run.finish({"loss": 1e-300})
    with pytest.raises(RuntimeError), TrainingRun(bot="Other", settings=settings) as run:
        run.log_checkpoint(7, b"large" * LIMIT)
        raise RuntimeError("no more")
    PostgresStorage(settings, config, 7).save_results(bot, [BotPerformance(bot, 0, 4, 0, 2, True)])
    tamper(engine, "UPDATE bots SET version = '2.1' WHERE name = 'Other'")
    return settings


def _export(settings: Settings, to: Path, format: ExportFormat = ExportFormat.JSONL, **options: Any) -> Path:
    export(ExportOptions(to, format=format, overwrite=True, **{"sessions": None, **options}), settings)
    return to


def _import(settings: Settings, folder: Path, **options: Any) -> ImportResult:
    result = import_folder(ImportOptions(folder, **options), settings)
    for each in (*(report.checkpoints for report in result.trainings), result.totals["checkpoints"]):
        assert each["read"] == each["inserted"] + each["identical"] + each["rejected"], each
    return result


@pytest.mark.parametrize("format", FOLDERS)
def test_trainings_come_back(
    trained: Settings, other: Settings, other_engine: Engine, tmp_path: Path, format: ExportFormat
) -> None:
    """Exported again they are the same; weights are where their size says, and lineage leads to them."""
    written = _export(trained, tmp_path / "a", format)
    manifest = json.loads((written / "manifest.json").read_bytes())
    assert (manifest["rows"]["sessions"], manifest["rows"]["checkpoints"]) == (2, 5)
    assert sorted(entry["size_bytes"] for entry in manifest["weights"]) == [0, 5, 5, 5 * LIMIT]
    result = _import(other, written)
    assert [report.error for report in result.trainings] == [None, None]
    assert result.totals["checkpoints"]["inserted"] == 5
    assert result.totals["trainings"] == {"imported": 2, "identical": 0, "rejected": 0}
    assert contents_of(_export(other, tmp_path / "b", format)) == contents_of(written)
    assert ask(other_engine, "SELECT count(*), count(data) FROM blobs") == [(4, 3)]
    assert ask(other_engine, "SELECT epoch FROM bots JOIN model_checkpoints c ON c.id = checkpoint_id") == [
        (2,)
    ]
    assert verify(VerifyOptions(), other).equal
    state = database_state(other_engine)
    again = _import(other, written)
    assert (again.run_id, again.totals["trainings"]["identical"]) == (None, 2)
    assert database_state(other_engine) == state


def test_a_dry_run_only_looks(
    trained: Settings, other: Settings, other_engine: Engine, tmp_path: Path
) -> None:
    """The same numbers, and neither a row nor a file, nor a sequence."""
    written = _export(trained, tmp_path / "a")
    state = database_state(other_engine)
    dry = _import(other, written, dry_run=True)
    assert database_state(other_engine) == state
    assert not other.checkpoints_folder.exists()
    assert _import(other, written).totals == dry.totals


def test_an_import_of_trainings_is_taken_back(
    trained: Settings, other: Settings, other_engine: Engine, tmp_path: Path
) -> None:
    """Sessions, checkpoints, bots, and the bytes in the database."""
    written = _export(trained, tmp_path / "a")
    _import(other, written)
    taken = rollback(RollbackOptions(), other)
    assert (taken.removed["sessions"], taken.removed["checkpoints"]) == (2, 5)
    for table in ("training_sessions", "model_checkpoints", "blobs", "bots", "game_configs"):
        assert count(other_engine, table) == 0
    assert _import(other, written).exit_code == 0
    assert verify(VerifyOptions(), other).equal


def test_other_values_are_a_conflict(
    trained: Settings, other: Settings, other_engine: Engine, tmp_path: Path
) -> None:
    """Of a session, of a checkpoint, of the bot that it is; nothing of that training is changed."""
    written = _export(trained, tmp_path / "a")
    _import(other, written)
    for statement, undo in (
        ("UPDATE training_sessions SET status = 'failed' WHERE name = 'first'",
         "UPDATE training_sessions SET status = 'completed' WHERE name = 'first'"),
        ("UPDATE model_checkpoints SET metrics = '{}' WHERE epoch = 1",
         "UPDATE model_checkpoints SET metrics = '{\"loss\": 0.1}' WHERE epoch = 1"),
        ("UPDATE bots SET checkpoint_id = (SELECT id FROM model_checkpoints WHERE epoch = 1) "
         "WHERE checkpoint_id IS NOT NULL",
         "UPDATE bots SET checkpoint_id = (SELECT id FROM model_checkpoints WHERE epoch = 2) "
         "WHERE checkpoint_id IS NOT NULL"),
    ):  # fmt: skip
        tamper(other_engine, statement)
        result = _import(other, written)
        refused = [report for report in result.trainings if report.refusal is not None]
        assert [type(report.refusal) for report in refused] == [ConflictError]
        assert (refused[0].name, result.exit_code) == ("first", 1)
        tamper(other_engine, undo)
    assert _import(other, written).totals["trainings"]["identical"] == 2


def test_without_their_weights_trainings_are_left_out(
    trained: Settings, other: Settings, other_engine: Engine, tmp_path: Path
) -> None:
    """They are there to be read; sets are imported, and it is said what is not."""
    written = _export(trained, tmp_path / "a", weights=False)
    assert not (written / "weights").exists()
    assert len((written / "checkpoints.jsonl").read_text().splitlines()) == 5
    result = _import(other, written)
    assert (result.without_weights, result.trainings, result.exit_code) == (True, [], 0)
    assert count(other_engine, "game_results") == 1
    named = _export(trained, tmp_path / "b", set_ids=(1,), sessions=())
    assert not (named / "sessions.jsonl").exists()
    assert _import(other, named).without_weights is False


def test_bytes_that_others_stored_travel_too(
    trained: Settings, engine: Engine, other: Settings, tmp_path: Path
) -> None:
    """In a checkpoint's own column, or as nothing but the path of a file elsewhere."""
    tamper(engine, "UPDATE model_checkpoints SET model_weights = 'mine' WHERE epoch = 3")
    tamper(
        engine,
        "INSERT INTO model_checkpoints (training_session_id, epoch, file_path, file_size_bytes) "
        "SELECT id, 9, '/nowhere/x.pth', 12 FROM training_sessions WHERE name = 'first'",
    )
    written = _export(trained, tmp_path / "a")
    assert _import(other, written).exit_code == 0
    assert contents_of(_export(other, tmp_path / "b")) == contents_of(written)


def test_damaged_weights_reject_their_training(
    trained: Settings, other: Settings, other_engine: Engine, tmp_path: Path
) -> None:
    """Whose checkpoints are all left out; the others go in."""
    written = _export(trained, tmp_path / "a")
    entry = next(
        e for e in json.loads((written / "manifest.json").read_bytes())["weights"] if e["size_bytes"] == 5
    )
    (written / entry["path"]).write_bytes(b"SMALL")
    result = _import(other, written)
    refused = [report for report in result.trainings if report.refusal is not None]
    assert [report.name for report in refused] == ["first"]
    assert isinstance(refused[0].refusal, ExportedFolderError)
    assert ask(other_engine, "SELECT epoch FROM model_checkpoints") == [(7,)]


VALUES: list[tuple[str, str, str, str]] = [
    ("sessions", '"uid": "', '"uid": "x', "is no UUID"),
    ("sessions", '"status": "completed"', '"status": "done"', "status: 'done' is not known"),
    ("sessions", '"start_time": "2', '"start_time": "x', "is no time in ISO 8601"),
    ("sessions", '+00:00", "end', '", "end', "has no time zone"),
    ("sessions", '"num_rows": 2', '"num_rows": null', "is no board shape"),
    ("sessions", '"num_rows": 2', '"num_rows": 0', "is no board shape"),
    ("sessions", '"bot": "Agent"', f'"bot": "{"x" * 256}"', "no name of up to 255"),
    ("sessions", '"name": "first"', f'"name": "{"x" * 256}"', "longer than 255"),
    ("sessions", '"hyperparameters": {', '"hyperparameters": {"a": {"$float": []}, ', "as `sgdb export`"),
    ("checkpoints", '"epoch": 0', '"epoch": 1', "epoch 1 of session"),
    ("checkpoints", '"epoch": 0', '"epoch": 99999999999', "is too large"),
    ("checkpoints", '"weights_bytes": 0', '"weights_bytes": 1', "are not in the folder"),
    ("checkpoints", '"weights_sha256": "', '"weights_sha256": "../', "are not in the folder"),
    ("checkpoints", '"bots": []', '"bots": [1]', "is not a list of names"),
    ("checkpoints", '"file_path": null', '"file_path": "x"', "weights here and at"),
    ("checkpoints", '"metrics": {', '"metrics": {"a": {"$dict": 1}, ', "as `sgdb export`"),
    ("checkpoints", '"session": "', '"session": "x', "is no UUID"),
]


def test_a_value_that_cannot_be_is_named(
    trained: Settings, other: Settings, other_engine: Engine, tmp_path: Path
) -> None:
    """In a file whose hash somebody has put right after changing it: nothing at all is imported."""
    written = _export(trained, tmp_path / "a")
    for table, old, new, said in VALUES:
        path = written / f"{table}.jsonl"
        sound, manifest = path.read_bytes(), (written / "manifest.json").read_bytes()
        rewrite(written, path.name, _replacing(old, new))
        assert path.read_bytes() != sound, old
        with pytest.raises(ValueRefusedError) as caught:
            _import(other, written)
        assert said in caught.value.message
        path.write_bytes(sound)
        (written / "manifest.json").write_bytes(manifest)
    assert count(other_engine, "game_results") == 0


def _replacing(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


def test_a_manifest_cannot_lead_weights_elsewhere(trained: Settings, other: Settings, tmp_path: Path) -> None:
    """Neither by a path nor through a link."""
    written = _export(trained, tmp_path / "a")
    path = json.loads((written / "manifest.json").read_bytes())["weights"][1]["path"]
    raw = (written / path).read_bytes()
    (tmp_path / "mine").write_bytes(raw)
    (written / path).unlink()
    (written / path).symlink_to(tmp_path / "mine")
    result = _import(other, written)
    assert any(isinstance(report.refusal, ExportedFolderError) for report in result.trainings)
    edit(written, lambda manifest: manifest["weights"][1].update(path="../mine"))
    with pytest.raises(SgdbError, match="not a path below the folder"):
        _import(other, written)
