"""Checkpoints looked at, fetched, added and pruned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.errors import (
    AlreadyExistsError,
    CheckpointError,
    ConflictError,
    NotFoundError,
    UsageError,
    ValueRefusedError,
)
from sgdb.operations.checkpoints import (
    GetOptions,
    PruneOptions,
    PutOptions,
    get,
    list_checkpoints,
    prune,
    put,
    show_checkpoint,
)
from sgdb.operations.sessions import SessionsOptions, list_sessions, show_session
from sgdb.operations.status import status
from sgdb.operations.verify import VerifyOptions, VerifyResult, verify
from sgdb.settings import Settings, load_settings
from sgdb.storage import TrainingRun
from tests.steps import ask, count, database_state, tamper

LIMIT = 100  # bytes kept in the database
SMALL, LARGE = b"small", b"large" * LIMIT


@pytest.fixture
def trained(settings: Settings) -> Settings:
    """Settings of a database with one training: even epochs have weights of their own in files, odd ones all
    the same in the database; the loss falls, and then rises again."""
    assert settings.database_url
    url = settings.database_url.get_secret_value()
    changed = load_settings(
        {"home": settings.home, "database_url": url, "checkpoint_limit": LIMIT, "heartbeat": 3600}
    )
    with TrainingRun("one", bot="Agent", settings=changed, hyperparameters={"lr": 0.5}) as run:
        for epoch in range(10):
            weights = SMALL if epoch % 2 else LARGE + b"%d" % epoch
            run.log_checkpoint(epoch, weights, b"adam", {"loss": abs(epoch - 6) / 2})
    return changed


def new_run(settings: Settings, name: str) -> TrainingRun:
    return TrainingRun(name, bot="Agent", settings=settings)


def files_in(settings: Settings) -> dict[str, Path]:
    """The files of checkpoints by their names."""
    return {path.name: path for path in settings.checkpoints_folder.rglob("*") if path.is_file()}


def epochs_of(settings: Settings, session: str = "one") -> list[int]:
    return [checkpoint.epoch for checkpoint in list_checkpoints(session, settings)]


def checked(settings: Settings) -> dict[str, str]:
    """The failed checks of `verify`."""
    result: VerifyResult = verify(VerifyOptions(), settings)
    return {check.name: check.detail for check in result.checks if not check.ok}


# -- looking -------------------------------------------------------------------------------------------


def test_sessions_are_found_by_id_uid_and_name(trained: Settings) -> None:
    """Whatever a user has at hand; a name that several have is told with their ids."""
    with new_run(trained, "1") as run:
        pass
    (one,) = list_sessions(SessionsOptions(), trained)[1:]
    assert one.id == 1
    for named in ("1", "one", str(one.uid), str(one.uid).upper()):
        assert show_session(named, trained).session.id == 1
    assert show_session(str(run.uid), trained).session.name == "1"
    with new_run(trained, "one"):
        pass
    with pytest.raises(UsageError, match=r"2 training sessions are named 'one': 3, 1"):
        show_session("one", trained)
    for named in ("4", "none", "", "99999999999999999999", "\udcff", "a\0b", "٣"):
        with pytest.raises(NotFoundError, match="no training session"):
            show_session(named, trained)


def test_sessions_are_listed_by_bot_and_status(trained: Settings, engine: Engine) -> None:
    """Newest first; a stale one is no running one."""
    with pytest.raises(ValueError), TrainingRun("two", bot="Other", settings=trained):
        raise ValueError
    with new_run(trained, "three"):
        names = [session.name for session in list_sessions(SessionsOptions(), trained)]
        assert names == ["three", "two", "one"]
        for options, expected in (
            (SessionsOptions(bot="Other"), ["two"]),
            (SessionsOptions(status="completed"), ["one"]),
            (SessionsOptions(status="running"), ["three"]),
            (SessionsOptions(status="stale"), []),
            (SessionsOptions(bot="\udcff"), []),
        ):
            assert [session.name for session in list_sessions(options, trained)] == expected
        tamper(engine, "UPDATE training_sessions SET heartbeat_at = now() - interval '1 day'")
        assert list_sessions(SessionsOptions(status="running"), trained) == []
        (stale,) = list_sessions(SessionsOptions(status="stale"), trained)
        assert (stale.name, stale.to_json()["status"]) == ("three", "stale")
    with pytest.raises(UsageError, match="no status 'asleep'") as caught:
        list_sessions(SessionsOptions(status="asleep"), trained)
    assert "stale" in str(caught.value.hint)


def test_looking_writes_nothing(trained: Settings, engine: Engine, tmp_path: Path) -> None:
    """Lists, single ones and fetching leave every row as it is; so does a dry run of pruning."""
    before, on_disk = database_state(engine), files_in(trained)
    list_sessions(SessionsOptions(), trained)
    show_session("one", trained)
    list_checkpoints(None, trained)
    show_checkpoint(1, trained)
    get(GetOptions(1, tmp_path / "weights"), trained)
    looked = prune(PruneOptions("one", last=2, dry_run=True), trained)
    assert [checkpoint.epoch for checkpoint in looked.pruned] == list(range(8))
    verify(VerifyOptions(), trained)
    after = database_state(engine)
    assert {name: state[:1] for name, state in after.items()} == {
        name: state[:1] for name, state in before.items()
    }
    assert ask(engine, "SELECT count(*) FROM model_checkpoints") == [(10,)]
    assert files_in(trained) == on_disk


def test_a_checkpoint_leads_to_session_and_bots(trained: Settings, engine: Engine) -> None:
    """Lineage: who made it, with what, and who it is, with how many results."""
    tamper(engine, "INSERT INTO bots (name, version, checkpoint_id) VALUES ('best', '2', 7)")
    document = show_checkpoint(7, trained).to_json()
    assert document["epoch"] == 6
    assert document["bots"] == ["best"]
    lineage = document["lineage"]
    assert lineage["bots"] == [{"id": 2, "name": "best", "version": "2", "results": 0, "sets": 0}]
    assert lineage["session"]["name"] == "one"
    assert lineage["session"]["hyperparameters"] == {"lr": 0.5}
    for absent in (99, 2**40):
        with pytest.raises(NotFoundError, match=f"no checkpoint {absent}"):
            show_checkpoint(absent, trained)


# -- out and in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, LIMIT, LIMIT + 1, 3_000_000])
def test_what_was_put_is_got(trained: Settings, tmp_path: Path, size: int) -> None:
    """To the byte, from the database and from files, in pieces."""
    given, got = tmp_path / "given", tmp_path / "got"
    given.write_bytes(os.urandom(size))
    done = put(PutOptions("one", 100, given, given, {"loss": float("nan")}), trained)
    assert done == {"session_id": 1, "epoch": 100, "status": "inserted"}
    assert put(PutOptions("1", 100, given, given, {"loss": float("nan")}), trained)["status"] == "identical"
    (found,) = [each for each in list_checkpoints("one", trained) if each.epoch == 100]
    assert found.metrics == {"loss": {"$float": "nan"}}
    for optimizer in (False, True):
        document = get(GetOptions(found.id, got, optimizer, overwrite=optimizer), trained)
        assert got.read_bytes() == given.read_bytes()
        assert document["bytes"] == size
        assert document["path"] == str(got)
    with pytest.raises(AlreadyExistsError):
        get(GetOptions(found.id, got), trained)


def test_what_cannot_be_put(trained: Settings, engine: Engine, tmp_path: Path) -> None:
    """Another checkpoint for an epoch is refused and changes nothing, neither rows nor files."""
    given = tmp_path / "given"
    given.write_bytes(LARGE)
    before, on_disk = database_state(engine), files_in(trained)
    for options, error, said in (
        (PutOptions("one", 0, given), ConflictError, "other weights, optimizer state, metrics"),
        (PutOptions("none", 0, given), NotFoundError, "no training session"),
        (PutOptions("one", 50), UsageError, "nothing to put"),
        (PutOptions("one", 50, tmp_path / "absent"), NotFoundError, "no file"),
        (PutOptions("one", 50, tmp_path), ValueRefusedError, "no regular file"),
    ):
        with pytest.raises(error, match=said):
            put(options, trained)
    assert (database_state(engine), files_in(trained)) == (before, on_disk)


def test_rows_that_others_have_written(trained: Settings, engine: Engine, tmp_path: Path) -> None:
    """Bytes in the columns of the original list, and weights of which only a path is known, are read, too."""
    path = tmp_path / "theirs.pth"
    path.write_bytes(b"theirs")
    tamper(
        engine,
        "INSERT INTO model_checkpoints (id, training_session_id, epoch, model_weights, optimizer_state,"
        " file_path, file_size_bytes) VALUES (50, 1, 50, 'weights', '', NULL, NULL),"
        " (51, 1, 51, NULL, NULL, :path, 6), (52, 1, 52, NULL, NULL, :absent, NULL)",
        path=str(path),
        absent=str(tmp_path / "absent"),
    )
    got = tmp_path / "got"
    for checkpoint, optimizer, expected in ((50, False, b"weights"), (50, True, b""), (51, False, b"theirs")):
        get(GetOptions(checkpoint, got, optimizer, overwrite=True), trained)
        assert got.read_bytes() == expected
    with pytest.raises(NotFoundError, match="no state of an optimizer"):
        get(GetOptions(51, got, optimizer=True, overwrite=True), trained)
    places = [each.weights and each.weights.place.value for each in list_checkpoints("one", trained)]
    assert places[-3:] == ["column", "path", "path"]
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path / "absent", tmp_path, tmp_path / "pipe", "/dev/zero", "x" * 5000):
        tamper(engine, "UPDATE model_checkpoints SET file_path = :odd WHERE id = 52", odd=str(odd))
        with pytest.raises(CheckpointError, match="cannot be read"):
            get(GetOptions(52, tmp_path / "new"), trained)
    assert "checkpoint 52" in checked(trained)["checkpoints"]
    path.write_bytes(b"other length")
    with pytest.raises(CheckpointError, match="damaged"):
        get(GetOptions(51, tmp_path / "new"), trained)
    assert not (tmp_path / "new").exists()
    assert "checkpoint 51" in checked(trained)["checkpoints"]


def test_damage_is_found(trained: Settings, engine: Engine, tmp_path: Path) -> None:
    """In the database and in files; a file is only written when what it holds is proven."""
    assert checked(trained) == {}
    tamper(engine, "UPDATE blobs SET data = 'smell' WHERE data = 'small'")
    target = tmp_path / "weights"
    with pytest.raises(CheckpointError, match=r"checkpoint 2 \(epoch 1\) are damaged"):
        get(GetOptions(2, target), trained)
    by_epoch = {each.epoch: each for each in list_checkpoints("one", trained)}
    spoilt, gone, short = (Path(by_epoch[epoch].file_path or "") for epoch in (0, 2, 4))
    for path in (spoilt, short):
        path.chmod(0o644)
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"?")
    short.write_bytes(LARGE)
    gone.unlink()
    with pytest.raises(CheckpointError, match="damaged"):
        get(GetOptions(by_epoch[0].id, target), trained)
    for epoch in (2, 4):
        with pytest.raises(CheckpointError, match="are gone"):
            get(GetOptions(by_epoch[epoch].id, target), trained)
    assert not target.exists()
    said = checked(trained)["checkpoints"]
    assert f"the file {spoilt} is damaged" in said
    assert f"the file {gone} is not there" in said
    assert f"the file {short} is not there, or of another size" in said
    assert "in the database are damaged" in said


def test_files_are_found_after_the_folder_has_moved(trained: Settings, tmp_path: Path) -> None:
    """By the setting, or by the path that the row remembers."""
    moved = tmp_path / "moved"
    assert trained.database_url
    url = trained.database_url.get_secret_value()
    elsewhere = load_settings({"home": trained.home, "database_url": url, "checkpoint_dir": moved})
    get(GetOptions(1, tmp_path / "by path"), elsewhere)
    trained.checkpoints_folder.rename(moved)
    get(GetOptions(1, tmp_path / "by setting"), elsewhere)
    assert (tmp_path / "by path").read_bytes() == (tmp_path / "by setting").read_bytes() == LARGE + b"0"
    with pytest.raises(CheckpointError, match="are gone"):
        get(GetOptions(1, tmp_path / "neither"), trained)


def test_status_says_what_is_in_no_backup(trained: Settings) -> None:
    """Files of checkpoints, their size and their folder."""
    found = status(trained).checkpoint_files
    assert found is not None
    assert (found.count, found.bytes) == (5, 5 * len(LARGE + b"0"))
    assert Path(found.folder).parent == trained.checkpoints_folder


# -- pruning -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({"last": 3}, [7, 8, 9]),
        ({"best": 2, "metric": "loss"}, [0, 1]),
        ({"best": 3, "metric": "loss", "lowest": True}, [5, 6, 7]),
        ({"every": 4}, [0, 4, 8]),
        ({"last": 1, "best": 1, "metric": "loss", "lowest": True, "every": 5}, [0, 5, 6, 9]),
        ({"last": 99}, list(range(10))),
    ],
    ids=str,
)
def test_pruning(trained: Settings, engine: Engine, rules: dict[str, Any], kept: list[int]) -> None:
    """What no rule keeps goes, with the bytes that nobody else needs; a dry run tells the same before."""
    looked = prune(PruneOptions("one", **rules, dry_run=True), trained)
    assert epochs_of(trained) == list(range(10))
    done = prune(PruneOptions("one", **rules), trained)
    assert epochs_of(trained) == kept == list(done.kept)
    assert looked.to_json() == {**done.to_json(), "dry_run": True}
    assert [each.epoch for each in done.pruned] == [epoch for epoch in range(10) if epoch not in kept]
    assert len(files_in(trained)) == sum(epoch % 2 == 0 for epoch in kept)
    smalls = 1 if any(epoch % 2 for epoch in kept) else 0
    assert count(engine, "blobs") == len(files_in(trained)) + smalls + 1
    assert checked(trained) == {}
    assert prune(PruneOptions("one", **rules), trained).is_empty


def test_what_others_need_stays(trained: Settings, engine: Engine) -> None:
    """Another session with the same bytes, a checkpoint that is a bot, and other sessions' checkpoints."""
    with new_run(trained, "two") as run:
        run.log_checkpoint(0, LARGE + b"0")
        run.log_checkpoint(1, LARGE + b"of its own")
    tamper(engine, "UPDATE bots SET checkpoint_id = 5")
    done = prune(PruneOptions("one", last=1), trained)
    assert done.kept == {4: ["bot"], 9: ["last"]}
    assert epochs_of(trained, "two") == [0, 1]
    assert ask(engine, "SELECT checkpoint_id FROM bots") == [(5,)]
    assert {path.read_bytes() for path in files_in(trained).values()} == {
        LARGE + b"0",
        LARGE + b"of its own",
        LARGE + b"4",
    }
    assert checked(trained) == {}


def test_nothing_is_removed_by_mistake(trained: Settings) -> None:
    """Rules that keep nothing, and a metric that nobody has logged, are refused."""
    for options in (
        PruneOptions("one"),
        PruneOptions("one", last=0),
        PruneOptions("one", best=1),
        PruneOptions("one", best=1, metric="los", lowest=True),
        PruneOptions("one", best=1, metric="loss\0"),
    ):
        with pytest.raises(UsageError):
            prune(options, trained)
    assert epochs_of(trained) == list(range(10))


# Dies when the first file is to be removed.
_DYING = """
import os, signal, sys
from sgdb.operations.checkpoints import PruneOptions, prune
from sgdb.settings import load_settings
from sgdb.storage.checkpoint_files import CheckpointFiles

CheckpointFiles.remove = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
prune(PruneOptions("one", last=2), load_settings())
"""


def test_a_pruning_that_is_killed(trained: Settings) -> None:
    """Between rows and files: the rows are gone, no checkpoint lacks its bytes, and the next pruning names
    the files and removes them."""
    assert trained.database_url
    environment = {
        **os.environ,
        "SGDB_HOME": str(trained.home),
        "SGDB_DATABASE_URL": trained.database_url.get_secret_value(),
    }
    died = subprocess.run([sys.executable, "-c", _DYING], env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    assert epochs_of(trained) == [8, 9]
    assert len(files_in(trained)) == 5
    assert checked(trained) == {}
    looked = prune(PruneOptions("one", last=2, dry_run=True), trained)
    assert (looked.pruned, len(looked.left_over), looked.is_empty) == ([], 4, False)
    assert len(files_in(trained)) == 5
    assert len(prune(PruneOptions("one", last=2), trained).left_over) == 4
    assert len(files_in(trained)) == 1
    assert prune(PruneOptions("one", last=2), trained).is_empty


def test_two_databases_in_one_folder(
    trained: Settings, empty_database: str, engine: Engine, tmp_path: Path
) -> None:
    """What one prunes does not go from the other, also when both have the same bytes; a copy of the rows in
    another database finds the files, and does not remove them."""
    from sgdb.database.engine import make_engine
    from sgdb.database.schema import upgrade

    other = load_settings(
        {"home": trained.home, "database_url": empty_database, "checkpoint_limit": LIMIT, "heartbeat": 3600}
    )
    empty = make_engine(empty_database)
    upgrade(empty)
    with TrainingRun("one", bot="Agent", settings=other) as run:
        run.log_checkpoint(0, LARGE + b"0")
        run.log_checkpoint(1, LARGE + b"only here")
    prune(PruneOptions("one", last=1), other)
    assert checked(trained) == {}
    copied = ask(engine, "SELECT sha256, size_bytes FROM blobs WHERE data IS NULL")
    paths = dict(ask(engine, "SELECT weights_sha256, file_path FROM model_checkpoints WHERE file_path <> ''"))
    for number, (sha256, size) in enumerate(copied, 100):
        tamper(
            empty, "INSERT INTO blobs (sha256, size_bytes) VALUES (:sha256, :size)", sha256=sha256, size=size
        )
        tamper(
            empty,
            "INSERT INTO model_checkpoints (training_session_id, epoch, weights_sha256, file_path)"
            " VALUES (1, :epoch, :sha256, :path)",
            epoch=number,
            sha256=sha256,
            path=paths[sha256],
        )
    empty.dispose()
    assert checked(other) == {}
    assert len(prune(PruneOptions("one", last=1), other).pruned) == 5
    assert checked(trained) == {}


def test_pruning_beside_trainings(trained: Settings) -> None:
    """Trainings that come to need the very bytes which are being removed have them afterwards."""
    shared = [LARGE + b"%d" % number for number in range(3)] + [SMALL]

    def train(number: int) -> int:
        with new_run(trained, f"beside {number}") as run:
            for epoch in range(10):
                run.log_checkpoint(epoch, shared[epoch % 4])
        return len(run.problems)

    with ThreadPoolExecutor(3) as pool:
        trainings = [pool.submit(train, number) for number in range(3)]
        while not all(training.done() for training in trainings):
            prune(PruneOptions("one", last=1), trained)
            for number in range(3):
                if f"beside {number}" in [each.name for each in list_sessions(SessionsOptions(), trained)]:
                    prune(PruneOptions(f"beside {number}", last=1), trained)
        assert [training.result() for training in trainings] == [0, 0, 0]
    assert checked(trained) == {}
    for number in range(3):
        prune(PruneOptions(f"beside {number}", last=1), trained)
        assert epochs_of(trained, f"beside {number}") == [9]
    assert len(files_in(trained)) == 1
