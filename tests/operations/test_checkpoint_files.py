"""Checkpoint folders there and back: in, compared, out to the byte, and taken back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.database.locks import lock_checkpoints
from sgdb.errors import (
    CheckpointError,
    ConflictError,
    DependentRowsError,
    IncompleteSetError,
    LastCopyError,
    NotFoundError,
)
from sgdb.operations.checkpoints import PruneOptions, prune
from sgdb.operations.export import ExportOptions, export
from sgdb.operations.rollback import RollbackOptions, RollbackResult, rollback
from sgdb.operations.status import status
from sgdb.operations.verify import VerifyOptions, VerifyResult, verify
from sgdb.records import ExportFormat
from sgdb.settings import Settings
from tests.legacy import GameConfig, plain, write_legacy
from tests.legacy_checkpoints import (
    AgentCheckpointState,
    EnvCheckpointState,
    TrainingState,
    checkpoint,
    torch_zip,
    write_checkpoint,
)
from tests.steps import ask, count, database_state, migrate, tamper, until

LIMIT = 5000


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with a limit that is reached soon."""
    return settings.model_copy(update={"checkpoint_limit": LIMIT})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for checkpoints."""
    path = tmp_path / "checkpoints"
    path.mkdir()
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "out"


def _without(*names: str) -> Callable[[Any], None]:
    def spoil(data: Any) -> None:
        for name in names:
            delattr(data, name)

    return spoil


def _fill(folder: Path) -> None:
    """A folder with all that occurs: protocols, empty states, names with the separator in them, weights that
    are small, large, missing and the same again."""
    for at, protocol in enumerate((2, 3, 4, 5)):
        write_checkpoint(folder, epoch=100 * at, protocol=protocol)
    write_checkpoint(folder, epoch=7, python=True, weights=torch_zip("large", 2 * LIMIT))
    write_checkpoint(folder, epoch=8, optimize=True, weights=torch_zip("large", 2 * LIMIT))
    write_checkpoint(folder, "a_epoch_1_epoch_2", 3, weights=b"no zip at all")
    write_checkpoint(folder, "höh\u00ebr", 0, agent_state=None, env_state=None, training_state=None)
    write_checkpoint(folder, "no losses", 1, loss_history=[], spoil=_without("metadata", "benchmark_results"))
    write_checkpoint(folder, "none", 1, loss_history=None, weights=None)
    odd = {
        "seen": (1, 2.5, None),
        "$float": "x",
        "at": datetime(2024, 2, 29, 23, 59, 59, 999999, fold=1),  # noqa: DTZ001
        "nested": [{"deep": [True, -0.0, 1e300, 2**70, float("inf")]}],
    }
    write_checkpoint(
        folder,
        "odd",
        2**31 - 1,
        version=2,
        metadata=odd,
        benchmark_results={"completion_rate": 0.5, "by bot": {"LargestGroupBot": [1, 2]}},
        loss_history=[1, 0.5, float("nan"), 1e-07, -0.0, 3.0],
        replay_buffer_filename="buffer.pkl",
        scheduler={"patience": 10},
        training_state=TrainingState(
            total_epochs=1, current_epoch=1, total_steps=1, random_seed=7, further=[1]
        ),
        agent_state=AgentCheckpointState(epsilon=1),
        env_state=EnvCheckpointState(game_config=GameConfig(num_rows=4, num_cols=6, num_colors=5, name="x")),
    )


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def _verify(settings: Settings, *paths: Path, **options: Any) -> VerifyResult:
    return verify(VerifyOptions(paths, **options), settings)


def _rollback(settings: Settings, run_id: int | None = None, **options: Any) -> RollbackResult:
    return rollback(RollbackOptions(run_id, **options), settings)


def _all(to: Path, format: ExportFormat, **options: Any) -> ExportOptions:
    return ExportOptions(to, None, format, sessions=None, **options)


def _exactly(value: Any) -> Any:
    """What tells types, signs, NaN and fold apart, but not the order of keys."""
    if hasattr(value, "__dict__"):
        return type(value).__name__, _exactly(vars(value))
    if type(value) is dict:
        return sorted((key, _exactly(item)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value).__name__, [_exactly(item) for item in value]
    return repr(value)


# -- there and back -------------------------------------------------------------------------------


def test_a_folder_goes_in_is_verified_and_comes_back_to_the_byte(
    settings: Settings, engine: Engine, folder: Path, out: Path
) -> None:
    """Every pickle and all weights, under their names; nothing else."""
    _fill(folder)
    result = migrate(settings, folder)
    assert (result.exit_code, [report.error for report in result.files]) == (0, [None] * 11)
    assert result.totals["checkpoints"] == {"read": 11, "inserted": 11, "identical": 0, "rejected": 0}
    assert result.selection.skipped == []
    verified = _verify(settings, folder)
    assert verified.equal, verified.to_json()
    assert (len(verified.files), verified.selection.skipped) == (11, [])
    verified = _verify(settings)
    assert verified.equal, verified.to_json()
    assert len(verified.files) == 11
    export(_all(out, ExportFormat.ORIGINAL), settings)
    assert _bytes(out) == _bytes(folder)


def test_exported_pickles_hold_the_same_values(settings: Settings, folder: Path, out: Path) -> None:
    """To the type and the bit, whatever the protocol was; weights to the byte. The database knows them again,
    and so it does without the originals."""
    _fill(folder)
    migrate(settings, folder, archive=False)
    export(_all(out, ExportFormat.PICKLE), settings)
    assert _bytes(out).keys() == _bytes(folder).keys()
    for path in out.iterdir():
        if path.suffix == ".pkl":
            assert _exactly(plain(path)) == _exactly(plain(folder / path.name)), path.name
        else:
            assert path.read_bytes() == (folder / path.name).read_bytes()
    assert {report.status for report in migrate(settings, out, archive=False).files} == {"identical"}
    assert _verify(settings, out).equal
    for path in (*folder.iterdir(), *out.iterdir()):
        path.unlink()
    result = export(_all(folder, ExportFormat.ORIGINAL), settings)
    assert (result.exit_code, len(result.without_original)) == (1, 22)
    assert {path.suffix for path in folder.iterdir()} == {".pth"}


def test_one_training_is_written(settings: Settings, folder: Path, out: Path) -> None:
    """Named by name or id; another is left out, one that no file brought is said to be none."""
    write_checkpoint(folder, "one", 1)
    write_checkpoint(folder, "two", 1)
    write_legacy(folder / "benchmark.pkl")
    migrate(settings, folder)
    options = ExportOptions(out, (), ExportFormat.ORIGINAL, sessions=("two",))
    files = export(options, settings).files
    assert sorted(file.path.name for file in files) == ["two_epoch_1.pkl", "two_epoch_1_model.pth"]
    assert {file.benchmark_set_id for file in files} == {None}
    with pytest.raises(NotFoundError, match="three"):
        export(ExportOptions(out, (), sessions=("three",)), settings)


def test_names_in_a_file_lead_nowhere(settings: Settings, folder: Path, out: Path) -> None:
    """An experiment's name with a path in it is only a name; of the weights' name the last part counts."""
    secret = folder.parent / "secret.pth"
    secret.write_bytes(b"secret")
    (folder / "secret.pth").write_bytes(b"harmless")
    write_checkpoint(folder, name="1", experiment_name="../up", weights=None,
                     model_weights_filename=str(secret))  # fmt: skip
    write_checkpoint(folder, name="2", experiment_name="../up", epoch=2, weights=None,
                     model_weights_filename="..\\..")  # fmt: skip
    result = migrate(settings, folder)
    assert [report.status for report in result.files] == ["migrated", "migrated"]
    export(_all(out, ExportFormat.PICKLE), settings)
    assert {name: raw for name, raw in _bytes(out).items() if name.endswith("pth")} == {
        "secret.pth": b"harmless"
    }
    assert sorted(_bytes(out)) == ["1", "2", "secret.pth"]
    assert sorted(path.name for path in out.parent.iterdir() if path.name == "up") == []


# -- what goes in ---------------------------------------------------------------------------------


def test_every_row_names_its_file(settings: Settings, engine: Engine, folder: Path) -> None:
    """Session, bot, config, checkpoint and weights are there for another connection."""
    path = write_checkpoint(folder, benchmark_results={"score": 3, "loss": 9, "text": "x"}, epoch=5)
    (report,) = migrate(settings, folder).files
    entry = report.to_json()
    assert (entry["kind"], entry["checkpoints"]) == (
        "checkpoint", {"read": 1, "inserted": 1, "identical": 0, "rejected": 0},
    )  # fmt: skip
    assert (entry["config"], entry["training_session_id"]) == (
        {"num_rows": 5, "num_cols": 5, "num_colors": 3},
        1,
    )
    assert ask(
        engine,
        "SELECT s.name, b.name, b.bot_type, s.status, s.start_time AT TIME ZONE 'UTC',"
        " s.end_time - s.start_time, c.name, s.metadata ->> 'times' FROM training_sessions s"
        " JOIN bots b ON b.id = bot_id JOIN game_configs c ON c.id = config_id",
    )[0] == (
        "dqn_small", "dqn_small", "dqn", "completed", datetime(2025, 3, 1, 9, 30, 20, 123456),  # noqa: DTZ001
        (datetime.min - datetime.min), "5x5x3", "those of the files, which name no zone, read as UTC",  # noqa: DTZ901
    )  # fmt: skip
    ((metrics, hyperparameters),) = ask(
        engine, "SELECT metrics, hyperparameters FROM model_checkpoints, training_sessions"
    )
    assert metrics == {
        "epsilon": 0.995, "loss": checkpoint(epoch=5).loss_history[-1], "score": 3, "total_epochs": 5,
        "current_epoch": 5, "total_steps": 100, "training_time_seconds": 2.5,
    }  # fmt: skip
    assert (hyperparameters["learning_rate"], hyperparameters["random_seed"]) == (1e-05, 42)
    assert hyperparameters["completion_reward"] == 10
    assert ask(
        engine, "SELECT path, status, contents ->> 'kind', archive_id IS NULL FROM source_files ORDER BY id"
    ) == [
        (str(path), "migrated", "checkpoint", False),
        (str(folder / "dqn_small_epoch_5_model.pth"), "migrated", "weights", True),
    ]
    for table in ("training_sessions", "model_checkpoints", "bots", "game_configs"):
        assert ask(engine, f"SELECT DISTINCT source_file_id FROM {table}") == [(1,)]


def test_files_of_one_experiment_are_one_session(settings: Settings, engine: Engine, folder: Path) -> None:
    """Whatever their order; it lasts from the first checkpoint to the last, and what was changed is noted."""
    write_checkpoint(folder, epoch=300)
    first = migrate(settings, folder)
    write_checkpoint(folder, epoch=100, spoil=lambda data: setattr(data.agent_state, "gamma", 0.5))
    write_checkpoint(folder, epoch=500, config=(6, 6, 3))
    second = migrate(settings, folder)
    assert first.files[0].notes == []
    assert [(report.status, report.notes) for report in second.files] == [
        ("migrated", ["trained with other values than its session says: 'gamma'"]),
        ("identical", []),
        ("migrated", ["trained on 6x6x3, its session on 5x5x3"]),
    ]
    assert ask(engine, "SELECT count(*), min(end_time - start_time)::text FROM training_sessions") == [
        (1, "00:06:40")
    ]
    assert _verify(settings, folder).equal


def test_bytes_up_to_the_limit_are_in_the_database(settings: Settings, engine: Engine, folder: Path) -> None:
    """Larger ones in a file; the same ones once."""
    for epoch, size in enumerate((LIMIT, LIMIT + 1, LIMIT, LIMIT + 1, 0)):
        path = write_checkpoint(folder, epoch=epoch)
        (folder / f"{path.stem}_model.pth").write_bytes(b"x" * size)
    migrate(settings, folder)
    assert ask(engine, "SELECT size_bytes, data IS NULL FROM blobs ORDER BY 1") == [
        (0, False), (LIMIT, False), (LIMIT + 1, True),
    ]  # fmt: skip
    (file,) = _files_in(settings.checkpoints_folder)
    assert file.read_bytes() == b"x" * (LIMIT + 1)
    assert ask(engine, "SELECT file_path, file_size_bytes FROM model_checkpoints ORDER BY epoch") == [
        (None, None), (str(file), LIMIT + 1), (None, None), (str(file), LIMIT + 1), (None, None),
    ]  # fmt: skip


def test_a_second_time_changes_nothing(settings: Settings, engine: Engine, folder: Path) -> None:
    """Identical is identical, and no row is touched; nor is one by a dry run."""
    _fill(folder)
    migrate(settings, folder)
    state = database_state(engine)
    again = migrate(settings, folder)
    assert {report.status for report in again.files} == {"identical"}
    assert again.totals["checkpoints"]["identical"] == 11
    assert migrate(settings, folder, dry_run=True).totals == again.totals
    assert database_state(engine) == state


def test_a_dry_run_says_the_same_and_changes_nothing(
    settings: Settings, engine: Engine, folder: Path
) -> None:
    """Neither rows nor sequences nor the folder of checkpoints."""
    _fill(folder)
    state = database_state(engine)
    dry = migrate(settings, folder, dry_run=True)
    assert (database_state(engine), _files_in(settings.checkpoints_folder)) == (state, [])
    real = migrate(settings, folder)
    numbers = ("status", "checkpoints", "config", "notes", "sha256")
    assert [[getattr(report, name) for name in numbers] for report in dry.files] == [
        [getattr(report, name) for name in numbers] for report in real.files
    ]
    assert (dry.totals, dry.run_id) == (real.totals, None)


def test_benchmarks_and_checkpoints_together(settings: Settings, folder: Path) -> None:
    """Each file is taken for what it holds, and weights that nobody names are passed over with a reason."""
    write_checkpoint(folder)
    write_legacy(folder / "dqn_small_epoch_1.pkl")
    (folder / "alone.pth").write_bytes(torch_zip())
    result = migrate(settings, folder)
    assert [report.kind for report in result.files] == ["benchmark", "checkpoint"]
    assert "kind" not in result.files[0].to_json()
    assert result.selection.to_json() == [
        {"path": str(folder / "alone.pth"), "reason": "a zip archive (a torch checkpoint is one)"}
    ]
    assert _verify(settings, folder).equal


def test_weights_that_are_named_go_with_their_checkpoint(settings: Settings, folder: Path) -> None:
    """As a shell's * names them; named alone they are refused as ever."""
    path = write_checkpoint(folder)
    weights = folder / "dqn_small_epoch_100_model.pth"
    for options in ({}, {"fail_fast": True}):
        result = migrate(settings, weights, path, **options)
        assert (result.exit_code, [report.path for report in result.files]) == (0, [path])
    assert _verify(settings, weights, path).equal
    alone = migrate(settings, weights)
    assert (alone.exit_code, "not a pickle" in (alone.files[0].error or "")) == (4, True)


def test_many_at_once(settings: Settings, engine: Engine, folder: Path) -> None:
    """Each checkpoint goes in once, whoever was first, and their session, bot and bytes are there once."""
    _fill(folder)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: migrate(settings, folder), range(4)))
    assert [report.error for result in results for report in result.files] == [None] * 44
    assert sum(result.totals["checkpoints"]["inserted"] for result in results) == 11
    assert (count(engine, "model_checkpoints"), count(engine, "training_sessions")) == (11, 6)
    assert len(_files_in(settings.checkpoints_folder)) == 1
    assert _verify(settings).equal
    assert _verify(settings, folder).equal


def test_the_weights_change_while_they_are_read(settings: Settings, engine: Engine, folder: Path) -> None:
    """What is stored is what was hashed, or nothing is."""
    write_checkpoint(folder, weights=torch_zip("large", 2 * LIMIT))
    weights = folder / "dqn_small_epoch_100_model.pth"
    # The file has been read for its hash when its pickle is done with; its bytes are copied behind the lock.
    with engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        lock_checkpoints(connection, timeout=1, alone=True)
        running = pool.submit(migrate, settings, folder)
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%advisory_xact_lock_shared%' "
            "AND state = 'idle in transaction' AND pid <> pg_backend_pid()"
        )
        until(lambda: ask(engine, waiting))
        weights.write_bytes(b"trained on")
        connection.rollback()
        (report,) = running.result().files
    assert report.status == "rejected"
    assert "has changed while it was read" in (report.error or "")
    assert (count(engine, "model_checkpoints"), count(engine, "blobs")) == (0, 0)
    assert _files_in(settings.checkpoints_folder) == []


# -- weights --------------------------------------------------------------------------------------


def test_weights_in_another_folder(settings: Settings, engine: Engine, folder: Path, tmp_path: Path) -> None:
    """They are looked for beside the pickle first."""
    models = tmp_path / "models"
    models.mkdir()
    write_checkpoint(folder, epoch=1, weights_folder=models)
    write_checkpoint(folder, epoch=2, weights=b"beside")
    (models / "dqn_small_epoch_2_model.pth").write_bytes(b"elsewhere")
    result = migrate(settings, folder, weights_dirs=(models,))
    assert [report.notes for report in result.files] == [[], []]
    assert ask(engine, "SELECT encode(data, 'escape') FROM blobs WHERE size_bytes < 10") == [("beside",)]
    assert _verify(settings, folder).equal  # where they were
    shutil.move(models, tmp_path / "moved")
    moved = _verify(settings, folder)
    assert moved.equal
    assert moved.files[0].notes == [
        "its weights 'dqn_small_epoch_1_model.pth' were not found, and not compared"
    ]
    (tmp_path / "moved" / "dqn_small_epoch_1_model.pth").write_bytes(b"other")
    assert not _verify(settings, folder, weights_dirs=(tmp_path / "moved",)).equal
    with pytest.raises(NotFoundError, match="no such folder"):
        migrate(settings, folder, weights_dirs=(models,))
    with pytest.raises(NotFoundError, match="no such folder"):
        _verify(settings, folder, weights_dirs=(models,))


def test_a_checkpoint_without_its_weights_gets_them_later(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path
) -> None:
    """It is stored without, which report, row and verify say; whoever finds them adds them, and taking that
    run back takes only them."""
    models = tmp_path / "models"
    models.mkdir()
    write_checkpoint(folder, weights_folder=models)
    first = migrate(settings, folder)
    (report,) = first.files
    assert (report.status, "were not found" in report.notes[0]) == ("migrated", True)
    assert ask(engine, "SELECT weights_sha256 FROM model_checkpoints") == [(None,)]
    verified = _verify(settings, folder)
    assert (verified.equal, any("are not stored" in note for note in verified.files[0].notes)) == (True, True)
    details = {check.name: check.detail for check in _verify(settings).checks}
    assert details["checkpoints as their files name them"].endswith("1 of them without weights")
    assert not _verify(settings, folder, weights_dirs=(models,)).equal
    second = migrate(settings, folder, weights_dirs=(models,))
    (report,) = second.files
    assert (report.status, report.checkpoints["identical"]) == ("migrated", 1)
    assert report.notes == ["the checkpoint is there already, and has its weights now"]
    assert _verify(settings, folder, weights_dirs=(models,)).equal
    assert (third := migrate(settings, folder)).files[0].status == "identical"
    assert third.files[0].notes[-1] == "the stored weights are kept"
    with pytest.raises(DependentRowsError, match="a file of its checkpoint after epoch 100"):
        _rollback(settings, first.run_id)
    taken = _rollback(settings)
    assert taken.removed["weights"] == 1
    assert (taken.removed["checkpoints"], count(engine, "model_checkpoints")) == (0, 1)
    assert ask(engine, "SELECT weights_sha256 FROM model_checkpoints") == [(None,)]
    _rollback(settings, first.run_id)
    assert count(engine, "model_checkpoints") == 0


# -- conflicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss_history": [1.0]}, "loss_history"),
        ({"metadata": {"x": 1}}, "field epoch 100, metadata"),
        ({"version": 1.0}, "field epoch 100, version: file 1.0, database 1"),
        ({"spoil": lambda data: setattr(data.agent_state, "gamma", 0.5)},
         "field epoch 100, agent_state.gamma: file 0.5, database 0.95"),
        ({"weights": b"other"}, "SHA-256 of the weights"),
        ({"training_state": None}, "training_state"),
    ],
)  # fmt: skip
def test_another_value_is_a_conflict(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """The file is rejected, the first differences are named, nothing is changed; verify tells the same."""
    write_checkpoint(folder)
    migrate(settings, folder)
    other = tmp_path / "other"
    other.mkdir()
    write_checkpoint(other, **change)
    before = ask(engine, "SELECT * FROM model_checkpoints"), ask(engine, "SELECT * FROM training_sessions")
    result = migrate(settings, other)
    (report,) = result.files
    assert isinstance(report.refusal, ConflictError)
    assert said in (report.error or "")
    assert report.checkpoints == {"read": 1, "inserted": 0, "identical": 0, "rejected": 1}
    assert (
        ask(engine, "SELECT * FROM model_checkpoints"),
        ask(engine, "SELECT * FROM training_sessions"),
    ) == before
    assert _verify(settings, other).files[0].status == "different"


# -- verify ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE model_checkpoints SET metadata = jsonb_set(metadata, '{checkpoint,agent_state,tau}', '0.25')",
        "UPDATE model_checkpoints SET metadata = jsonb_set(metadata, '{loss_history,3}', '0')",
        "UPDATE model_checkpoints SET metadata = metadata - 'loss_history'",
        "UPDATE model_checkpoints SET metrics = metrics - 'loss'",
        "UPDATE model_checkpoints SET metadata = NULL",
        "UPDATE model_checkpoints SET weights_sha256 = NULL",
        "UPDATE blobs SET data = overlay(data PLACING 'zzzz'::bytea FROM 100)",
        "UPDATE training_sessions SET hyperparameters = '{}'",
        "UPDATE training_sessions SET config_id = NULL",
        "UPDATE training_sessions SET start_time = start_time + interval '1 day'",
        "UPDATE training_sessions SET end_time = NULL",
        "UPDATE bots SET name = 'another'",
    ],
)  # fmt: skip
def test_every_value_is_compared(settings: Settings, engine: Engine, folder: Path, statement: str) -> None:
    """Whatever is changed by hand is found, with the file and with the stored original."""
    write_checkpoint(folder)
    migrate(settings, folder)
    assert tamper(engine, statement) == 1
    (verdict,) = _verify(settings, folder).files
    assert (verdict.status, verdict.differences > 0) == ("different", True)
    assert verdict.to_json()["kind"] == "checkpoint"
    assert not _verify(settings).equal or "NULL" in statement


def test_what_is_not_there_is_missing(settings: Settings, engine: Engine, folder: Path) -> None:
    """Before it is migrated, and after somebody has removed the row."""
    write_checkpoint(folder)
    assert _verify(settings, folder).files[0].status == "missing"
    migrate(settings, folder)
    tamper(engine, "DELETE FROM model_checkpoints")
    assert _verify(settings, folder).files[0].status == "missing"
    failed = [check.name for check in _verify(settings).checks if not check.ok]
    assert failed == ["checkpoints as their files name them"]
    migrate(settings, folder)
    assert _verify(settings, folder).equal


def test_a_damaged_file_of_weights_is_found(settings: Settings, folder: Path, out: Path) -> None:
    """By verify, and by whoever wants it back."""
    write_checkpoint(folder, weights=torch_zip("large", 2 * LIMIT))
    migrate(settings, folder)
    (file,) = _files_in(settings.checkpoints_folder)
    file.chmod(0o600)
    raw = bytearray(file.read_bytes())
    raw[1000] ^= 1
    file.write_bytes(raw)
    assert not _verify(settings, folder).equal
    assert not _verify(settings).equal
    with pytest.raises(CheckpointError, match="damaged"):
        export(_all(out, ExportFormat.ORIGINAL), settings)
    assert not list(out.glob("*.pth"))
    file.unlink()
    assert not _verify(settings, folder).equal


# -- status ---------------------------------------------------------------------------------------


def test_status_looks_for_pickles_and_weights(settings: Settings, folder: Path) -> None:
    """Where they were, and whether they are still the same."""
    write_checkpoint(folder, epoch=1)
    write_checkpoint(folder, epoch=2)
    migrate(settings, folder)
    (folder / "dqn_small_epoch_1_model.pth").write_bytes(b"trained on")
    (folder / "dqn_small_epoch_2_model.pth").unlink()
    files = status(settings).files
    assert files is not None
    assert (files.recorded, files.unchanged) == (4, 2)
    assert files.changed == [str(folder / "dqn_small_epoch_1_model.pth")]
    assert files.gone == [str(folder / "dqn_small_epoch_2_model.pth")]


# -- rollback -------------------------------------------------------------------------------------


def test_a_run_is_taken_back_with_its_bytes(settings: Settings, engine: Engine, folder: Path) -> None:
    """Rows, blobs and files that nobody else needs; a dry run says the same; a new run brings all back."""
    _fill(folder)
    first = migrate(settings, folder)
    dry = _rollback(settings, dry_run=True)
    assert len(_files_in(settings.checkpoints_folder)) == 1
    taken = _rollback(settings)
    assert (taken.removed, len(taken.files)) == (dry.removed, len(dry.files))
    assert taken.removed == {
        "games": 0, "results": 0, "sessions": 6, "checkpoints": 11, "weights": 9, "sets": 0, "bots": 6,
        "configs": 2, "originals": 11,
    }  # fmt: skip
    for table in ("training_sessions", "model_checkpoints", "blobs", "bots", "game_configs", "archives"):
        assert count(engine, table) == 0
    assert _files_in(settings.checkpoints_folder) == []
    assert taken.run_id == first.run_id
    migrate(settings, folder)
    assert _verify(settings, folder).equal
    assert _verify(settings).equal


def test_what_others_need_stays(settings: Settings, engine: Engine, folder: Path, tmp_path: Path) -> None:
    """The same bytes of another run's checkpoint; and its session lasts as long as it did before."""
    write_checkpoint(folder, epoch=1, weights=torch_zip("same", 2 * LIMIT))
    first = migrate(settings, folder)
    span = ask(engine, "SELECT start_time, end_time FROM training_sessions")
    write_checkpoint(folder, epoch=2, weights=torch_zip("same", 2 * LIMIT))
    migrate(settings, folder)
    with pytest.raises(DependentRowsError, match="1 checkpoint of its trainings"):
        _rollback(settings, first.run_id)
    taken = _rollback(settings)
    assert (taken.removed["checkpoints"], taken.removed["weights"], taken.removed["sessions"]) == (1, 0, 0)
    assert len(_files_in(settings.checkpoints_folder)) == 1
    assert ask(engine, "SELECT start_time, end_time FROM training_sessions") == span
    assert _verify(settings).equal


def test_a_bot_and_a_config_go_to_who_uses_them_next(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    """Between benchmarks and trainings, both ways."""
    folders = [tmp_path / name for name in ("1", "2", "3")]
    for each in folders:
        each.mkdir()
    write_legacy(folders[0] / "a", bots=("dqn_small",))
    write_checkpoint(folders[1])
    write_legacy(folders[2] / "b", bots=("dqn_small",), base_seed=7)
    runs = [migrate(settings, each).run_id for each in folders]
    for at, run_id in enumerate(runs[:2]):
        taken = _rollback(settings, run_id)
        assert taken.kept == {"bots": 1, "configs": 1}
        ((source,),) = ask(engine, "SELECT run_id FROM source_files f JOIN bots b ON b.source_file_id = f.id")
        assert source == runs[at + 1]
        assert _verify(settings).equal


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("INSERT INTO bots (name, checkpoint_id) VALUES ('player', 1)", "1 bot of its checkpoints"),
        ("INSERT INTO model_checkpoints (training_session_id, epoch) VALUES (1, 9)", "of its trainings"),
        ("INSERT INTO training_sessions (bot_id, hyperparameters, start_time) VALUES (1, '{}', now())",
         "1 training session of its bots"),
    ],
)  # fmt: skip
def test_who_builds_on_it_keeps_it(
    settings: Settings, engine: Engine, folder: Path, statement: str, said: str
) -> None:
    """Nothing is changed, and they are named."""
    write_checkpoint(folder)
    migrate(settings, folder)
    tamper(engine, statement)
    state = database_state(engine)
    with pytest.raises(DependentRowsError, match=said):
        _rollback(settings)
    assert database_state(engine) == state


def test_what_was_pruned_is_not_missed(
    settings: Settings, engine: Engine, folder: Path, tmp_path: Path
) -> None:
    """It is told from what got lost, nothing else fails for it, and migrating it again brings it back."""
    for epoch in range(3):
        write_checkpoint(folder, epoch=epoch)
    migrate(settings, folder)
    prune(PruneOptions("dqn_small", last=1), settings)
    for found in (_verify(settings, folder), _verify(settings)):
        assert [verdict.status for verdict in found.files] == ["pruned", "pruned", "equal"]
        assert found.equal
    (check,) = [each for each in found.checks if each.name == "checkpoints as their files name them"]
    assert check.detail == "1 checkpoint of files, 0 of them without weights; pruned: 2"
    for format, names in (
        (ExportFormat.PICKLE, ["dqn_small_epoch_2.pkl", "dqn_small_epoch_2_model.pth"]),
        (
            ExportFormat.ORIGINAL,
            [*(f"dqn_small_epoch_{n}.pkl" for n in range(3)), "dqn_small_epoch_2_model.pth"],
        ),
    ):
        export(_all(tmp_path / format.value, format), settings)
        assert sorted(_bytes(tmp_path / format.value)) == names

    tamper(engine, "DELETE FROM model_checkpoints")
    assert [verdict.status for verdict in _verify(settings).files] == ["pruned", "pruned", "missing"]
    migrate(settings, folder)
    found = _verify(settings, folder)
    assert ([verdict.status for verdict in found.files], found.equal) == (["equal"] * 3, True)
    _rollback(settings)
    assert [verdict.status for verdict in _verify(settings, folder).files] == ["pruned", "pruned", "missing"]


def test_what_came_back_after_a_pruning_is_missed_when_it_is_lost(
    settings: Settings, engine: Engine, folder: Path, out: Path
) -> None:
    for epoch in range(2):
        write_checkpoint(folder, epoch=epoch)
    migrate(settings, folder)
    prune(PruneOptions("dqn_small", last=1), settings)
    migrate(settings, folder)
    tamper(engine, "DELETE FROM model_checkpoints WHERE epoch = 0")
    for found in (_verify(settings, folder), _verify(settings)):
        assert sorted(verdict.status for verdict in found.files) == ["equal", "missing"]
        assert not found.equal
    (check,) = [each for each in found.checks if each.name == "checkpoints as their files name them"]
    assert (check.ok, "has no checkpoint" in check.detail, "pruned" in check.detail) == (False, True, False)
    with pytest.raises(IncompleteSetError, match="after epoch 0 is not there"):
        export(_all(out, ExportFormat.PICKLE), settings)


def test_a_pruned_checkpoint_keeps_nothing_back(settings: Settings, engine: Engine, folder: Path) -> None:
    """Bytes that are gone by now are no last copy, whatever has become of their file."""
    write_checkpoint(folder)
    migrate(settings, folder)
    tamper(engine, "DELETE FROM model_checkpoints")
    tamper(engine, "DELETE FROM blobs")
    (folder / "dqn_small_epoch_100_model.pth").unlink()
    taken = _rollback(settings)
    assert (taken.removed["sessions"], taken.removed["checkpoints"]) == (1, 0)
    migrate(settings, folder)
    assert _verify(settings, folder).equal


def test_the_last_copy_of_weights_is_not_lost(settings: Settings, folder: Path, out: Path) -> None:
    """A file of weights that is gone or another one by now is protected as a pickle is, and written back."""
    write_checkpoint(folder, epoch=1, weights=torch_zip("large", 2 * LIMIT))
    write_checkpoint(folder, epoch=2)
    migrate(settings, folder)
    before = _bytes(folder)
    (folder / "dqn_small_epoch_1_model.pth").unlink()
    (folder / "dqn_small_epoch_2_model.pth").write_bytes(b"trained on")
    (folder / "dqn_small_epoch_2.pkl").unlink()
    with pytest.raises(LastCopyError, match="the last copy of 3 of its files") as caught:
        _rollback(settings)
    assert "--originals" in (caught.value.hint or "")
    taken = _rollback(settings, originals=out)
    assert sorted(file.original for file in taken.files) == ["on disk", "written", "written", "written"]
    lost = ("dqn_small_epoch_1_model.pth", "dqn_small_epoch_2_model.pth", "dqn_small_epoch_2.pkl")
    assert _bytes(out) == {name: before[name] for name in lost}
