"""Trainings as processes: killed, many at once, forked, and with a server that comes and goes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from sgdb.database.checkpoints import find_checkpoints
from sgdb.database.engine import make_engine, transaction
from sgdb.database.schema import upgrade
from sgdb.database.server import EmbeddedServer
from sgdb.database.sessions import find_sessions, get_session
from sgdb.operations.sync import SyncOptions, sync
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.settings import Settings, load_settings
from sgdb.storage import TrainingRun
from sgdb.storage.training_notes import TrainingNotes
from tests.steps import count, tamper, until
from tests.storage.proxy import Proxy

# Logs epochs from START up to STOP, every second one with weights for a file, and says so after each call.
# Before each it waits for a line, where it is asked to.
_TRAINER = """
import sys
from sgdb.storage import TrainingRun

uid, start, stop, is_led = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "led"
with TrainingRun("training", bot="Agent", uid=uid) as run:
    print("begun", flush=True)
    for epoch in range(start, stop):
        if is_led and not sys.stdin.readline():
            break
        weights = b"%d" % epoch * (1 if epoch % 2 else 100)
        print(epoch, run.log_checkpoint(epoch, weights, b"adam", {"epoch": epoch}), flush=True)
"""
LIMIT = 100  # bytes kept in the database


def weights_of(epoch: int) -> str:
    return hashlib.sha256(b"%d" % epoch * (1 if epoch % 2 else 100)).hexdigest()


def environment(settings: Settings) -> dict[str, str]:
    """What a program of the user has in its environment."""
    assert settings.database_url
    return {
        **os.environ,
        "SGDB_DATABASE_URL": settings.database_url.get_secret_value(),
        "SGDB_HOME": str(settings.home),
        "SGDB_CHECKPOINT_LIMIT": str(LIMIT),
        "SGDB_HEARTBEAT": "0.1",
    }


def start(
    settings: Settings, uid: UUID, first: int, stop: int, *, led: bool = False, script: str = _TRAINER
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(uid), str(first), str(stop), "led" if led else "alone"],
        env=environment(settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lead(process: subprocess.Popen[str]) -> str:
    """Lets a led training do one epoch; returns where it is kept."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().split()[1]


def epochs(engine: Engine, uid: UUID) -> dict[int, str | None]:
    """The hashes of the stored weights by epoch."""
    with transaction(engine, read_only=True) as connection:
        found = find_sessions(connection, uid=uid)
        if not found:
            return {}
        stored = find_checkpoints(connection, session_id=found[0].id)
        return {each.epoch: each.weights.sha256 if each.weights else None for each in stored}


def status_of(engine: Engine, uid: UUID) -> str:
    with transaction(engine, read_only=True) as connection:
        return get_session(connection, str(uid)).status


def owed(settings: Settings) -> int:
    return len(list(TrainingNotes(settings.journal_folder).read(None, lambda error: None)))


@pytest.mark.parametrize("rounds", [6, pytest.param(100, marks=pytest.mark.survival)])
def test_a_killed_training_loses_nothing_it_was_promised(
    rounds: int, settings: Settings, engine: Engine
) -> None:
    """What a call had returned for is there after kill -9, whole; the session is stale in the end, and the
    folder of files holds what rows name and nothing half-written."""
    moments = Random(rounds)
    for _ in range(rounds):
        process = start(settings, uid := uuid4(), 0, 1000)
        assert process.stdout is not None
        done = -1
        process.stdout.readline()
        for _ in range(moments.randrange(4)):
            done = int(process.stdout.readline().split()[0])
        try:
            process.wait(moments.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        lines = [line.split() for line in process.stdout if len(line.split()) == 2]
        process.communicate()
        done = int(lines[-1][0]) if lines else done
        found = epochs(engine, uid)
        # The call that was at work may have come through.
        assert sorted(found) in (list(range(done + 1)), list(range(done + 2)))
        assert found == {epoch: weights_of(epoch) for epoch in found}
        tamper(engine, "UPDATE training_sessions SET heartbeat_at = now() - interval '1 hour'")
        assert status_of(engine, uid) == "stale"
    assert sync(SyncOptions(), settings).exit_code == 0
    assert verify(VerifyOptions(), settings).equal


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.survival)])
def test_a_killed_training_without_a_database(
    rounds: int, settings: Settings, engine: Engine, proxy: Proxy
) -> None:
    """What it had noted is made good afterwards, whole; nothing else is left in the journal."""
    away = load_settings({"home": settings.home, "database_url": proxy.url})
    moments = Random(rounds)
    for _ in range(rounds):
        proxy.refuse()
        process = start(away, uid := uuid4(), 0, 1000)
        assert process.stdout is not None
        process.stdout.readline()
        done = -1
        for _ in range(1 + moments.randrange(4)):
            epoch, kept = process.stdout.readline().split()
            done = int(epoch)
            assert kept == "journal"
        try:
            process.wait(moments.uniform(0, 0.05))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        lines = [line.split() for line in process.stdout if len(line.split()) == 2]
        process.communicate()
        done = int(lines[-1][0]) if lines else done
        proxy.thaw()
        assert sync(SyncOptions(), away).exit_code == 0
        found = epochs(engine, uid)
        assert sorted(found) in (list(range(done + 1)), list(range(done + 2)))
        assert found == {epoch: weights_of(epoch) for epoch in found}
    assert list((settings.journal_folder / "trainings").iterdir()) == []
    assert verify(VerifyOptions(), settings).equal


def test_several_processes_log_into_one_session(settings: Settings, engine: Engine) -> None:
    """Each epoch is there once, also those that two of them log; no process hears of the others."""
    uid = uuid4()
    running = [start(settings, uid, first, first + 12) for first in (0, 6, 12)]
    said = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert [error for _, error in said] == ["", "", ""]
    assert epochs(engine, uid) == {epoch: weights_of(epoch) for epoch in range(24)}
    assert (count(engine, "training_sessions"), count(engine, "bots")) == (1, 1)
    assert status_of(engine, uid) == "completed"
    assert verify(VerifyOptions(), settings).equal


# A child of a fork logs into its parent's run and leaves; the parent goes on.
_FORKER = """
import os, sys
from sgdb.storage import TrainingRun

with TrainingRun("forked", bot="Agent", uid=sys.argv[1]) as run:
    run.log_checkpoint(0, b"parent")
    if os.fork() == 0:
        kept = run.log_checkpoint(1, b"child")
        sys.exit(0 if kept == "database" else 1)
    _, status = os.wait()
    print(os.waitstatus_to_exitcode(status), flush=True)
    sys.stdin.readline()
    run.log_checkpoint(2, b"parent again")
"""


def test_a_fork_does_not_end_its_parents_training(settings: Settings, engine: Engine) -> None:
    """The child's calls are kept, and that it leaves the block is not the end."""
    process = start(settings, uid := uuid4(), 0, 0, script=_FORKER)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    assert sorted(epochs(engine, uid)) == [0, 1]
    assert status_of(engine, uid) == "running"
    process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert sorted(epochs(engine, uid)) == [0, 1, 2]
    assert status_of(engine, uid) == "completed"


def test_ctrl_c_is_an_interruption(settings: Settings, engine: Engine) -> None:
    """The session says so, and the program ends as it would have without it."""
    process = start(settings, uid := uuid4(), 0, 10, led=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert lead(process) == "database"
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert process.returncode == -signal.SIGINT
    process.communicate()
    assert (status_of(engine, uid), sorted(epochs(engine, uid))) == ("interrupted", [0])


# Writes no file of more than 4,000 bytes, as on a disk that has no more room.
_CRAMPED = """
import resource, sys
from sgdb.storage import TrainingRun

resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))
with TrainingRun("cramped", bot="Agent", uid=sys.argv[1]) as run:
    kept = [run.log_checkpoint(epoch, b"w" * size) for epoch, size in enumerate((10, 100_000, 20))]
print(kept, len(run.problems), run.problems[0].startswith("epoch 1 is kept nowhere"))
"""


def test_a_disk_without_room(settings: Settings) -> None:
    """What neither database nor disk takes is told, and training goes on with what they do take."""
    away = load_settings({"home": settings.home, "database_url": "postgresql://x@127.0.0.1:1/y"})
    said, errors = start(away, uuid4(), 0, 0, script=_CRAMPED).communicate(timeout=60)
    assert said == "['journal', 'nowhere', 'journal'] 1 True\n", errors
    assert "epoch 1 is kept nowhere" in errors
    assert owed(away) == 4
    assert all(path.suffix == ".note" for path in (settings.journal_folder / "trainings").iterdir())


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that can be stopped, set up as on a user's machine: what it commits is on disk."""
    with tempfile.TemporaryDirectory(prefix="sgdb-test-") as folder:
        server = EmbeddedServer(Path(folder) / "home")
        engine = make_engine(server.ensure_running())
        upgrade(engine)
        engine.dispose()
        try:
            yield server
        finally:
            server.stop("immediate")


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_the_server_is_stopped_and_started_in_the_middle(
    own_server: EmbeddedServer, tmp_path: Path, how: str
) -> None:
    """No checkpoint is lost: what is logged meanwhile is noted, and the heart pays it when the server is
    back."""
    url = own_server.ensure_running()
    address = url.render_as_string(hide_password=False)
    settings = load_settings({"home": tmp_path / "sgdb-home", "database_url": address})
    process = start(settings, uid := uuid4(), 0, 9, led=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    kept = [lead(process) for _ in range(3)]
    own_server.stop(how)  # type: ignore[arg-type]
    kept += [lead(process) for _ in range(3)]
    assert kept == ["database"] * 3 + ["journal"] * 3
    own_server.ensure_running()
    kept += [lead(process) for _ in range(3)]
    process.communicate(timeout=60)
    assert process.returncode == 0
    done = sync(SyncOptions(), settings)
    assert done.exit_code == 0, done.to_json()
    engine = make_engine(url)
    try:
        assert epochs(engine, uid) == {epoch: weights_of(epoch) for epoch in range(9)}
        assert status_of(engine, uid) == "completed"
        assert verify(VerifyOptions(), settings).equal
    finally:
        engine.dispose()


def test_an_embedded_server_is_started_by_a_checkpoint_and_not_by_the_heart(
    own_server: EmbeddedServer, time_passes: Callable[[], None]
) -> None:
    """Whoever stops it does not see it come up by itself; the next checkpoint starts it, and is kept."""
    home = own_server.data_folder.parent
    settings = load_settings({"home": home, "heartbeat": 0.05})
    with TrainingRun("embedded", bot="Agent", settings=settings) as run:
        assert run.log_checkpoint(0, b"0") == "database"
        beats: list[bool] = []
        beat = run._heartbeat._beat
        run._heartbeat._beat = lambda: beats.append(beat() is None)
        own_server.stop()
        seen = len(beats)
        until(lambda: len(beats) > seen + 3)
        assert not own_server.status().running
        time_passes()  # the heart may have been at it when the server was stopped
        assert run.log_checkpoint(1, b"1") == "database"
    engine = make_engine(own_server.ensure_running())
    try:
        assert sorted(epochs(engine, run.uid)) == [0, 1]
    finally:
        engine.dispose()
