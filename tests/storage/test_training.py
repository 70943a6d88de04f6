"""A training that tells the database what it does, and goes on without it."""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, make_url

from sgdb.database.checkpoints import StoredCheckpoint, find_checkpoints
from sgdb.database.engine import transaction
from sgdb.database.locks import lock_checkpoints
from sgdb.database.revisions import head
from sgdb.database.sessions import StoredSession, get_session
from sgdb.errors import DatabaseUnreachableError, NotFoundError, SgdbError, UsageError, ValueRefusedError
from sgdb.operations.status import status
from sgdb.operations.sync import SyncOptions, sync
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.pickles.attributes import from_json
from sgdb.records import GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage import PostgresStorage, TrainingRun, training_database
from sgdb.storage.breaker import _breakers
from sgdb.storage.checkpoint_reading import Checkpoint
from sgdb.storage.training_notes import TrainingNotes
from sgdb.testing.contract import CONFIG, result
from tests.backups import role
from tests.steps import ask, count, tamper, until
from tests.storage.proxy import Proxy
from tests.storage.test_dual import closed_port

TimePasses = Callable[[], None]
LIMIT = 100  # bytes kept in the database


@pytest.fixture(autouse=True)
def _no_breaker_is_inherited() -> Iterator[None]:
    yield
    _breakers.clear()


@pytest.fixture
def trained(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a training on this test's database, with a heart that does not beat by itself."""
    return with_changes(settings)


@pytest.fixture
def through_proxy(proxy: Proxy, settings: Settings) -> Settings:
    """The same by way of the proxy."""
    return with_changes(settings, database_url=proxy.url)


def with_changes(settings: Settings, **changes: Any) -> Settings:
    assert settings.database_url
    url = settings.database_url.get_secret_value()
    given = {"heartbeat": 3600, "connect_timeout": 2, "checkpoint_limit": LIMIT}
    return load_settings({"home": settings.home, "database_url": url, **given, **changes})


def new_run(settings: Settings, **changes: Any) -> TrainingRun:
    return TrainingRun("an experiment", **{"bot": "Agent", "settings": settings, **changes})


def session_of(engine: Engine, uid: UUID) -> StoredSession:
    with transaction(engine, read_only=True) as connection:
        return get_session(connection, str(uid))


def checkpoints_of(engine: Engine, uid: UUID) -> dict[int, StoredCheckpoint]:
    with transaction(engine, read_only=True) as connection:
        session = get_session(connection, str(uid))
        return {each.epoch: each for each in find_checkpoints(connection, session_id=session.id)}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def notes(settings: Settings) -> list[str]:
    """The kinds of what is owed, in order."""
    failures: list[SgdbError] = []
    found = TrainingNotes(settings.journal_folder).read(None, failures.append)
    return [note.event.kind for note in found] + [str(failure) for failure in failures]


# -- in fair weather -----------------------------------------------------------------------------------


def test_a_training_from_beginning_to_end(trained: Settings, engine: Engine) -> None:
    """What the program said is what is stored, and nothing is owed or complained of."""
    given = {"lr": 1e-4, "layers": (64, 64), "double": True, "clip": math.inf}
    config = GameConfig(8, 8, 4)
    with new_run(trained, hyperparameters=given, config=config, version="2") as run:
        found = session_of(engine, run.uid)
        assert (found.status, found.name, found.bot, found.config) == (
            "running",
            "an experiment",
            "Agent",
            config,
        )
        assert from_json(found.hyperparameters) == {**given, "layers": [64, 64]}
        assert found.ended_at is None
        for epoch in range(3):
            metrics = {"loss": 1 / (epoch + 1), "reward": math.nan}
            assert run.log_checkpoint(epoch, b"weights %d" % epoch, b"adam", metrics) == "database"
        run.finish({"loss": 0.25})
    found = session_of(engine, run.uid)
    assert (found.status, found.final_metrics, found.checkpoints, found.last_epoch) == (
        "completed",
        {"loss": 0.25},
        3,
        2,
    )
    assert found.ended_at is not None
    assert ask(engine, "SELECT name, bot_type, version FROM bots") == [("Agent", "dqn", "2")]
    for epoch, checkpoint in checkpoints_of(engine, run.uid).items():
        assert checkpoint.weights is not None
        assert checkpoint.optimizer is not None
        assert checkpoint.weights.sha256 == sha256(b"weights %d" % epoch)
        assert repr(from_json(checkpoint.metrics)) == f"{{'loss': {1 / (epoch + 1)}, 'reward': nan}}"
    assert count(engine, "blobs") == 4  # the optimizer's state is the same three times
    assert (run.problems, notes(trained)) == ([], [])
    assert verify(VerifyOptions(), trained).equal


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ValueError("no \0 gradient"), "failed", "ValueError: no  gradient"),
        (AssertionError(), "failed", "AssertionError"),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
        (SystemExit(3), "interrupted", "SystemExit: 3"),
    ],
    ids=repr,
)
def test_how_it_ended(
    trained: Settings, engine: Engine, error: BaseException, status: str, said: str
) -> None:
    """An exception goes on its way, and is written down; final metrics that were there already stay."""
    with pytest.raises(type(error)) as caught, new_run(trained) as run:
        run.finish({"loss": 1.5})
        raise error
    assert caught.value is error
    found = session_of(engine, run.uid)
    assert (found.status, found.final_metrics) == (status, {"loss": 1.5})
    assert found.metadata == {"heartbeat_seconds": 3600, "error": said}


def test_arguments_that_make_no_sense_raise(trained: Settings, engine: Engine, tmp_path: Path) -> None:
    """Nothing of such a call is stored, and the training can go on with the next."""
    for changes in (
        {"bot": ""},
        {"bot": "a\0b"},
        {"bot": "x" * 256},
        {"bot": None},
        {"bot": "\udcff"},
        {"hyperparameters": {"f": print}},
        {"uid": "not one"},
        {"version": "x" * 51},
        {"bot_type": 7},
    ):
        with pytest.raises(ValueRefusedError):
            new_run(trained, **changes)
    with pytest.raises(UsageError, match="no benchmark set"):
        new_run(trained, config=GameConfig(0, 1, 2))
    with new_run(trained) as run:
        for epoch in (-1, 1.5, True, None, "1", 2**31, math.nan):
            with pytest.raises(ValueRefusedError, match="epoch"):
                run.log_checkpoint(epoch, b"")  # type: ignore[arg-type]
        with pytest.raises(ValueRefusedError, match="metrics, 'a'"):
            run.log_checkpoint(0, b"", metrics={"a": object()})
        with pytest.raises(UsageError, match="neither bytes nor a path"):
            run.log_checkpoint(0, {"state": 1})  # type: ignore[arg-type]
        with pytest.raises(NotFoundError, match="there is no file"):
            run.log_checkpoint(0, tmp_path / "absent.pth")
        with pytest.raises(ValueRefusedError):
            run.finish({"a": object()})
        with pytest.raises(UsageError, match="not been logged here"):
            run.bot_for(0)
        assert checkpoints_of(engine, run.uid) == {}
        assert run.log_checkpoint(0) == "database"
    assert (run.problems, notes(trained)) == ([], [])


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 5_000_000])
def test_where_bytes_are_kept(trained: Settings, engine: Engine, tmp_path: Path, size: int) -> None:
    """Up to the limit in the database, above it in a file that bears the hash; given as bytes or a path."""
    weights = secrets.token_bytes(size)
    path = tmp_path / "weights.pth"
    path.write_bytes(weights)
    with new_run(trained) as run:
        assert run.log_checkpoint(0, weights) == "database"
        assert run.log_checkpoint(1, path, optimizer_state=str(path)) == "database"
    path.unlink()
    for checkpoint in checkpoints_of(engine, run.uid).values():
        assert checkpoint.weights is not None
        assert (checkpoint.weights.size_bytes, checkpoint.weights.sha256) == (size, sha256(weights))
        if size <= LIMIT:
            assert (checkpoint.weights.place.value, checkpoint.file_path) == ("database", None)
        else:
            assert checkpoint.weights.place.value == "file"
            assert checkpoint.file_path is not None
            stored = Path(checkpoint.file_path)
            assert stored.name == sha256(weights)
            assert stored.is_relative_to(trained.home / "checkpoints")
            assert stored.read_bytes() == weights
    sizes = ask(engine, "SELECT file_size_bytes FROM model_checkpoints")
    assert sizes == [(size if size > LIMIT else None,)] * 2
    assert count(engine, "blobs") == 1
    assert ask(engine, "SELECT octet_length(data) FROM blobs") == [(size if size <= LIMIT else None,)]
    assert verify(VerifyOptions(), trained).equal


def test_each_epoch_once(trained: Settings, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """The same again changes nothing; another checkpoint is told, recorded beside the first, and not kept."""
    with new_run(trained) as run:
        for _ in range(2):
            assert run.log_checkpoint(0, b"first", b"adam", {"loss": 0.5}) == "database"
        assert (run.problems, caplog.records) == ([], [])
        for _ in range(2):
            assert run.log_checkpoint(0, b"second", b"adam", {"loss": 0.25}) == "database"
        run.log_checkpoint(0, b"first", b"adam", {"loss": 0.5000001})
    assert [problem.partition(";")[0] for problem in run.problems] == [
        "epoch 0 was logged before with other weights, metrics",
        "epoch 0 was logged before with other weights, metrics",
        "epoch 0 was logged before with other metrics",
    ]
    assert [record.getMessage() for record in caplog.records] == run.problems
    (checkpoint,) = checkpoints_of(engine, run.uid).values()
    assert checkpoint.weights is not None
    assert (checkpoint.weights.sha256, checkpoint.metrics) == (sha256(b"first"), {"loss": 0.5})
    assert checkpoint.metadata is not None
    recorded = [(entry["weights_sha256"], entry["metrics"]) for entry in checkpoint.metadata["conflicts"]]
    assert recorded == [(sha256(b"second"), {"loss": 0.25})] * 2 + [(sha256(b"first"), {"loss": 0.5000001})]
    assert count(engine, "blobs") == 2


def test_a_session_goes_on(trained: Settings, engine: Engine) -> None:
    """With the same uid a later program continues it: it runs again, and what it was begun with stays."""
    with pytest.raises(KeyboardInterrupt), new_run(trained, hyperparameters={"lr": 1}) as first:
        first.log_checkpoint(0, b"0")
        raise KeyboardInterrupt
    with new_run(trained, uid=str(first.uid), hyperparameters={"lr": 2}) as second:
        assert session_of(engine, first.uid).status == "running"
        second.log_checkpoint(1, b"1")
    found = session_of(engine, first.uid)
    assert (found.status, found.checkpoints, found.hyperparameters) == ("completed", 2, {"lr": 1})
    assert count(engine, "training_sessions") == 1


def test_what_was_logged_is_loaded(through_proxy: Settings, proxy: Proxy, time_passes: TimePasses) -> None:
    """By a later program, to the byte, from the database and from files: the last one, or one that is named;
    what is owed is paid before. Without the database there is nothing to go on with, and that is said."""
    with new_run(through_proxy) as first:
        assert first.load_checkpoint() is None
        first.log_checkpoint(0, b"w" * 3 * LIMIT, b"", {"loss": math.inf})
        proxy.refuse()
        assert first.log_checkpoint(1, b"small") == "journal"
    proxy.thaw()
    time_passes()
    with new_run(through_proxy, uid=first.uid) as run:
        assert run.load_checkpoint() == Checkpoint(1, b"small", None, {})
        assert run.load_checkpoint(0) == Checkpoint(0, b"w" * 3 * LIMIT, b"", {"loss": math.inf})
        assert run.load_checkpoint(2) is None
        proxy.refuse()
        with pytest.raises(DatabaseUnreachableError):
            run.load_checkpoint()


def test_threads_log_into_one_run(trained: Settings, engine: Engine) -> None:
    """Each call is kept, whoever makes it."""
    with new_run(trained) as run, ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(lambda epoch: run.log_checkpoint(epoch, b"w%d" % (epoch % 5)), range(20)))
    assert set(kept) == {"database"}
    assert sorted(checkpoints_of(engine, run.uid)) == list(range(20))
    assert count(engine, "blobs") == 5


def test_results_lead_back_to_the_weights(trained: Settings, engine: Engine) -> None:
    """A bot that is made for a checkpoint ties its results to checkpoint and session; one that is there is
    tied to the first checkpoint only."""
    with new_run(trained, version="7") as run:
        run.log_checkpoint(4, b"good")
        name = run.bot_for(4)
        assert name == f"Agent_{run._session.started_at:%Y%m%d_%H%M%S}_{sha256(b'good')[:8]}"
        assert run.bot_for(4) == name
        run.log_checkpoint(5, b"better")
        assert run.bot_for(5, "the best so far") == "the best so far"
        run.bot_for(4, "the best so far")
    with PostgresStorage(trained, CONFIG, 42) as storage:
        storage.save_results(name, [result(name, 0)])
    lineage = ask(
        engine,
        "SELECT s.uid, c.epoch, b.version, r.moves_made FROM game_results r JOIN bots b ON b.id = r.bot_id"
        " JOIN model_checkpoints c ON c.id = b.checkpoint_id"
        " JOIN training_sessions s ON s.id = c.training_session_id",
    )
    assert lineage == [(run.uid, 4, "7", result(name, 0).moves_made)]
    tied = "SELECT epoch FROM bots b JOIN model_checkpoints c ON c.id = b.checkpoint_id WHERE name = :name"
    assert ask(engine, tied, name="the best so far") == [(5,)]
    assert verify(VerifyOptions(), trained).equal


@pytest.mark.parametrize("name", ["12", "'; DROP TABLE bots; --", "ü\n\t%s {}", "\u202e", "x" * 255, "%"])
def test_names_are_only_names(trained: Settings, engine: Engine, name: str) -> None:
    """Whatever they consist of."""
    with TrainingRun(name, bot=name, settings=trained, hyperparameters={name: name}) as run:
        run.log_checkpoint(0, b"w", metrics={name: 1})
    found = session_of(engine, run.uid)
    assert (found.name, found.bot, found.hyperparameters) == (name, name, {name: name})


def test_few_rights_suffice(settings: Settings, engine: Engine) -> None:
    """A user who may read the tables, add to those of trainings and change sessions can train; deleting or
    altering is not needed."""
    with role(engine) as url:
        user = url.username
        for statement in (
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}",
            f"GRANT INSERT ON bots, game_configs, model_checkpoints, blobs TO {user}",
            f"GRANT INSERT, UPDATE ON training_sessions TO {user}",
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}",
        ):
            tamper(engine, statement)
        address = url.render_as_string(hide_password=False)
        with new_run(with_changes(settings, database_url=address), config=CONFIG) as run:
            assert run.log_checkpoint(0, b"w") == "database"
    assert session_of(engine, run.uid).status == "completed"
    assert run.problems == []


# -- the heartbeat -------------------------------------------------------------------------------------


def test_the_heart_beats_between_epochs(settings: Settings, engine: Engine) -> None:
    """Signs of life come by the server's clock while an epoch lasts, and end with the training."""
    with new_run(with_changes(settings, heartbeat=0.05)) as run:
        first = session_of(engine, run.uid).heartbeat_at
        assert first is not None
        until(lambda: session_of(engine, run.uid).heartbeat_at > first)  # type: ignore[operator]
    assert not any(thread.name == "sgdb heartbeat" for thread in threading.enumerate())


def test_a_session_without_signs_of_life_is_stale(trained: Settings, engine: Engine) -> None:
    """So it is shown, and nothing is written; whoever gives signs more seldom has more time."""
    with new_run(trained) as run:
        assert session_of(engine, run.uid).status == "running"
        tamper(engine, "UPDATE training_sessions SET heartbeat_at = now() - interval '2 hours'")
        assert session_of(engine, run.uid).status == "running"
        tamper(engine, "UPDATE training_sessions SET metadata = '{\"heartbeat_seconds\": 30}'")
        assert session_of(engine, run.uid).status == "stale"
        tamper(engine, "UPDATE training_sessions SET metadata = '{\"heartbeat_seconds\": 1e400}'")
        assert session_of(engine, run.uid).status == "running"
        tamper(engine, 'UPDATE training_sessions SET metadata = \'{"heartbeat_seconds": "odd"}\'')
        assert session_of(engine, run.uid).status == "stale"
        assert ask(engine, "SELECT status FROM training_sessions") == [("running",)]
        tamper(engine, "UPDATE training_sessions SET heartbeat_at = NULL")
        assert session_of(engine, run.uid).status == "running"
        run.log_checkpoint(0, b"alive")
        assert session_of(engine, run.uid).heartbeat_at is not None
    assert session_of(engine, run.uid).status == "completed"


def test_the_heart_pays_debts(
    settings: Settings, proxy: Proxy, engine: Engine, time_passes: TimePasses
) -> None:
    """An epoch that lasts for hours does not keep what is owed from being made good, of other trainings of
    this machine neither."""
    patient = with_changes(settings, database_url=proxy.url)
    proxy.refuse()
    with new_run(patient) as other:
        other.log_checkpoint(0, b"other")
    with new_run(with_changes(settings, database_url=proxy.url, heartbeat=0.05)) as run:
        assert run.log_checkpoint(0, b"w") == "journal"
        proxy.thaw()

        def is_paid() -> bool:
            time_passes()
            return not notes(patient)

        until(is_paid)
        assert session_of(engine, run.uid).status == "running"
    assert session_of(engine, other.uid).status == "completed"
    assert run.problems == []


# -- the database is away ------------------------------------------------------------------------------


def away_refused(settings: Settings, proxy: Proxy, engine: Engine) -> Settings:
    """Nobody listens."""
    return with_changes(settings, database_url=f"postgresql://me@127.0.0.1:{closed_port()}/games")


def away_silent(settings: Settings, proxy: Proxy, engine: Engine) -> Settings:
    """The machine takes the connection and says nothing."""
    proxy.freeze()
    return with_changes(settings, database_url=proxy.url)


def away_role(settings: Settings, proxy: Proxy, engine: Engine) -> Settings:
    """The server does not know the user."""
    url = make_url(proxy.url).set(username=f"nobody_{secrets.token_hex(4)}")
    return with_changes(settings, database_url=url.render_as_string(hide_password=False))


def away_missing(settings: Settings, proxy: Proxy, engine: Engine) -> Settings:
    """There is no such database."""
    url = make_url(proxy.url).set(database=f"nowhere_{secrets.token_hex(4)}")
    return with_changes(settings, database_url=url.render_as_string(hide_password=False))


def away_full(settings: Settings, proxy: Proxy, engine: Engine) -> Settings:
    """The server cannot store another row: it says what it says when its disk is full."""
    tamper(
        engine,
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE SQLSTATE '53100' USING MESSAGE = 'could not extend file: No space left on device'; END $$",
    )
    for table in ("training_sessions", "model_checkpoints"):
        tamper(engine, f"CREATE TRIGGER t BEFORE INSERT ON {table} EXECUTE FUNCTION no_room()")
    return with_changes(settings, database_url=proxy.url)


def away_without_tables(settings: Settings, proxy: Proxy, engine: Engine) -> Settings:
    """The database was never set up."""
    tamper(engine, "DROP TABLE sgdb_alembic_version")
    return with_changes(settings, database_url=proxy.url)


def away_not_set_up(settings: Settings, proxy: Proxy, engine: Engine) -> Settings:
    """There is no embedded server yet."""
    return load_settings({"home": settings.home, "heartbeat": 3600, "checkpoint_limit": LIMIT})


AWAY = [
    away_refused,
    away_silent,
    away_role,
    away_missing,
    away_full,
    away_without_tables,
    away_not_set_up,
]


@pytest.mark.parametrize("away", AWAY, ids=lambda away: away.__name__)
def test_training_goes_on_without_the_database(
    away: Callable[[Settings, Proxy, Engine], Settings],
    settings: Settings,
    proxy: Proxy,
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Everything is noted on disk, one warning is given, and the server is left alone."""
    changed = away(settings, proxy, engine)
    with new_run(changed) as run:
        tried = proxy.connections
        for epoch in range(3):
            assert run.log_checkpoint(epoch, b"w" * LIMIT * epoch, metrics={"loss": math.nan}) == "journal"
        run.finish({"loss": 0.5})
    assert proxy.connections == tried
    assert run.problems == []
    assert notes(changed) == ["begun", "checkpoint", "checkpoint", "checkpoint", "ended"]
    assert len(caplog.records) == 1
    assert "the database is away" in caplog.text


def test_the_next_call_pays(
    through_proxy: Settings,
    proxy: Proxy,
    engine: Engine,
    time_passes: TimePasses,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """When the database is back, the first call that may try brings it up to date, in order."""
    with new_run(through_proxy, hyperparameters={"lr": 1}) as run:
        run.log_checkpoint(0, b"0")
        proxy.freeze()
        assert run.log_checkpoint(1, b"1", b"o" * 2 * LIMIT, {"loss": 0.5}) == "journal"
        assert run.log_checkpoint(2, b"2") == "journal"
        proxy.thaw()
        assert run.log_checkpoint(3, b"3") == "journal"  # the breaker has not let it try yet
        assert sorted(checkpoints_of(engine, run.uid)) == [0]
        time_passes()
        assert run.log_checkpoint(4, b"4") == "database"
        found = checkpoints_of(engine, run.uid)
        assert [found[epoch].id for epoch in range(5)] == sorted(each.id for each in found.values())
        assert found[1].metrics == {"loss": 0.5}
        assert found[1].optimizer is not None
        assert found[1].optimizer.place.value == "file"
    assert notes(through_proxy) == []
    assert session_of(engine, run.uid).status == "completed"
    assert [record.getMessage()[:20] for record in caplog.records] == [
        "the database is away",
        "the database is back",
        "what was owed of the",
    ]
    assert verify(VerifyOptions(), through_proxy).equal


def test_lost_in_the_middle_of_a_call(through_proxy: Settings, proxy: Proxy, engine: Engine) -> None:
    """Whether the call took place is unknown then; it is noted, and paying it twice changes nothing."""
    with new_run(through_proxy) as run:
        with engine.connect() as other:
            other.exec_driver_sql("LOCK TABLE model_checkpoints IN SHARE MODE")
            with ThreadPoolExecutor(1) as pool:
                call = pool.submit(run.log_checkpoint, 0, b"w")
                waiting = (
                    "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'model_checkpoints'::regclass"
                )
                until(lambda: ask(engine, waiting))
                proxy.cut()
                assert call.result() == "journal"
        assert notes(through_proxy) == ["checkpoint"]
    assert notes(through_proxy) == ["checkpoint", "ended"]
    for _ in range(2):
        assert sync(SyncOptions(), through_proxy).exit_code == 0
    assert sorted(checkpoints_of(engine, run.uid)) == [0]


def test_tables_that_go_and_come_back(trained: Settings, engine: Engine, time_passes: TimePasses) -> None:
    """What was found to be ready once is looked at again after a failure."""
    with new_run(trained) as run:
        assert run.log_checkpoint(0, b"0") == "database"
        tamper(engine, "ALTER TABLE model_checkpoints RENAME TO elsewhere")
        assert run.log_checkpoint(1, b"1") == "journal"
        tamper(engine, "ALTER TABLE elsewhere RENAME TO model_checkpoints")
        tamper(engine, "UPDATE sgdb_alembic_version SET version_num = '9999'")
        time_passes()
        assert run.log_checkpoint(2, b"2") == "journal"
        tamper(engine, "UPDATE sgdb_alembic_version SET version_num = :head", head=head())
        time_passes()
        assert run.log_checkpoint(3, b"3") == "database"
        assert sorted(checkpoints_of(engine, run.uid)) == [0, 1, 2, 3]


def test_sync_pays(through_proxy: Settings, proxy: Proxy, engine: Engine) -> None:
    """Without any program; a dry run tells what there is and changes nothing, and status counts it."""
    proxy.refuse()
    with new_run(through_proxy) as run:
        for epoch in range(2):
            run.log_checkpoint(epoch, b"w%d" % epoch)
        run.bot_for(1, "made without the database")
    proxy.thaw()
    assert status(through_proxy).training_debts == 5
    for dry_run in (True, False):
        assert count(engine, "training_sessions") == 0
        done = sync(SyncOptions(dry_run), through_proxy)
        assert (done.exit_code, done.sets) == (0, [])
        (one,) = done.sessions
        assert (one.uid, one.name, one.status, one.notes, one.checkpoints, one.error) == (
            run.uid,
            "an experiment",
            "level",
            5,
            2,
            None,
        )
        assert len(notes(through_proxy)) == (5 if dry_run else 0)
    assert session_of(engine, run.uid).status == "completed"
    assert checkpoints_of(engine, run.uid)[1].bots == ["made without the database"]
    assert sync(SyncOptions(), through_proxy).sessions == []
    assert (status(through_proxy).training_debts, status(through_proxy).owed_since) == (0, None)
    assert [path.name for path in (through_proxy.journal_folder / "trainings").iterdir()] == []


def test_the_end_comes_after_what_is_owed(
    through_proxy: Settings, proxy: Proxy, engine: Engine, time_passes: TimePasses
) -> None:
    """A session whose beginning is still owed is not ended first and begun afterwards."""
    proxy.refuse()
    run = new_run(through_proxy).__enter__()
    proxy.thaw()
    time_passes()
    held = TrainingNotes(through_proxy.journal_folder)
    with held.claim(run.uid) as is_ours:  # somebody else is about to pay
        assert is_ours
        assert run.log_checkpoint(0, b"0") == "database"
        run.__exit__(None, None, None)
        assert notes(through_proxy) == ["begun", "ended"]
    assert sync(SyncOptions(), through_proxy).exit_code == 0
    assert session_of(engine, run.uid).status == "completed"


def test_an_end_that_is_told_late_replaces_no_later_one(
    through_proxy: Settings, trained: Settings, proxy: Proxy, engine: Engine, tmp_path: Path
) -> None:
    """A machine comes back with what it owes after another has gone on with its training and ended it."""
    elsewhere = trained.model_copy(update={"home": tmp_path / "elsewhere"})
    with pytest.raises(ValueError, match="broke"), new_run(through_proxy) as first:
        first.log_checkpoint(0, b"0")
        proxy.refuse()
        raise ValueError("broke")
    with new_run(elsewhere, uid=first.uid) as second:
        second.finish({"score": 2})
    stood = session_of(engine, first.uid)
    proxy.thaw()
    assert sync(SyncOptions(), through_proxy).exit_code == 0
    assert notes(through_proxy) == []
    assert session_of(engine, first.uid) == stood
    assert (stood.status, stood.final_metrics) == ("completed", {"score": 2})


def test_an_epoch_logged_twice_while_away(through_proxy: Settings, proxy: Proxy, engine: Engine) -> None:
    """The first stands here, too; sync tells the conflict and exits with 1."""
    proxy.refuse()
    with new_run(through_proxy) as run:
        run.log_checkpoint(0, b"first")
        run.log_checkpoint(0, b"second")
        run.log_checkpoint(0, b"first")
    proxy.thaw()
    done = sync(SyncOptions(), through_proxy)
    (one,) = done.sessions
    assert (done.exit_code, one.status, len(one.said)) == (1, "level", 1)
    assert "epoch 0 was logged before" in one.said[0]
    (checkpoint,) = checkpoints_of(engine, run.uid).values()
    assert checkpoint.weights is not None
    assert checkpoint.weights.sha256 == sha256(b"first")


def test_a_debt_to_another_database_stays(
    through_proxy: Settings, trained: Settings, proxy: Proxy, engine: Engine
) -> None:
    """It is not paid into the database that happens to be configured now."""
    proxy.refuse()
    with new_run(through_proxy):
        pass
    (one,) = sync(SyncOptions(), trained).sessions
    assert one.error is not None
    assert (one.status, "another database" in one.error) == ("owed", True)
    assert len(notes(through_proxy)) == 2
    assert count(engine, "training_sessions") == 0


@pytest.mark.parametrize("damage", ["cut short", "other bytes", "no JSON", "a later format", "no event"])
def test_a_damaged_note_stops_no_other(
    through_proxy: Settings, proxy: Proxy, engine: Engine, damage: str
) -> None:
    """It stays and is named, whatever is wrong with it; the others are paid."""
    proxy.refuse()
    with new_run(through_proxy) as run:
        run.log_checkpoint(0, b"weights 0")
        run.log_checkpoint(1, b"weights 1")
    proxy.thaw()
    path = sorted((through_proxy.journal_folder / "trainings").glob("*.note"))[1]
    written = path.read_bytes()
    path.write_bytes(
        {
            "cut short": written[:-1],
            "other bytes": written[:-1] + b"?",
            "no JSON": b"\x00" + written,
            "a later format": written.replace(b'"format": 1', b'"format": 2'),
            "no event": written.replace(b'"checkpoint"', b'"unheard of"'),
        }[damage]
    )
    done = sync(SyncOptions(), through_proxy)
    (one,) = done.sessions
    assert one.status == "owed"
    assert one.error is not None
    assert path.name in one.error
    assert done.exit_code in (1, 3)
    assert sorted(checkpoints_of(engine, run.uid)) == [1]
    assert session_of(engine, run.uid).status == "completed"
    assert path.exists()


def test_neither_database_nor_disk(
    through_proxy: Settings, proxy: Proxy, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """That is said loudly, and the training goes on; what comes later is kept."""
    through_proxy.home.mkdir(parents=True)
    with new_run(through_proxy) as run:
        proxy.refuse()
        through_proxy.journal_folder.write_bytes(b"no folder")
        assert run.log_checkpoint(0, b"lost") == "nowhere"
        assert len(run.problems) == 1
        assert run.problems[0].startswith("epoch 0 is kept nowhere. The database: ")
        assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]
        through_proxy.journal_folder.unlink()
        assert run.log_checkpoint(1, b"kept") == "journal"
    proxy.thaw()
    assert sync(SyncOptions(), through_proxy).exit_code == 0
    assert sorted(checkpoints_of(engine, run.uid)) == [1]


def test_a_full_disk_beside_a_database_that_is_there(
    trained: Settings, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes for which the folder has no room are noted in the journal, and come later."""
    trained.home.mkdir(parents=True)
    trained.checkpoints_folder.write_bytes(b"no folder")
    with new_run(trained) as run:
        assert run.log_checkpoint(0, b"w" * 2 * LIMIT) == "journal"
        assert run.log_checkpoint(1, b"small") == "database"
        assert (run.problems, caplog.records) == ([], [])
    trained.checkpoints_folder.unlink()
    assert sync(SyncOptions(), trained).exit_code == 0
    assert sorted(checkpoints_of(engine, run.uid)) == [0, 1]
    assert verify(VerifyOptions(), trained).equal


def test_what_cannot_be_paid_keeps_nothing_else_back(
    through_proxy: Settings, proxy: Proxy, engine: Engine, time_passes: TimePasses
) -> None:
    """A damaged note, and one whose bytes have no room yet, stay for `sgdb sync` to tell; what is logged
    afterwards goes into the database, but the end, which waits for its turn."""
    through_proxy.home.mkdir(parents=True)
    proxy.refuse()
    with new_run(through_proxy) as run:
        run.log_checkpoint(0, b"damaged")
        run.log_checkpoint(1, b"w" * 2 * LIMIT)
        damaged = sorted((through_proxy.journal_folder / "trainings").glob("*.note"))[1]
        damaged.write_bytes(b"{}")
        through_proxy.checkpoints_folder.write_bytes(b"no folder")
        proxy.thaw()
        time_passes()
        assert run.log_checkpoint(2, b"2") == "database"
        assert sorted(checkpoints_of(engine, run.uid)) == [2]
        through_proxy.checkpoints_folder.unlink()
    assert sorted(checkpoints_of(engine, run.uid)) == [1, 2]
    damaged.unlink()
    assert sync(SyncOptions(), through_proxy).exit_code == 0
    assert session_of(engine, run.uid).status == "completed"


def test_others_in_the_way(trained: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever prunes for long, or locks a table, does not keep a training waiting."""
    monkeypatch.setattr(training_database, "LOCK_TIMEOUT", 0.1)
    with new_run(trained) as run:
        with transaction(engine, isolation="READ COMMITTED") as connection:
            lock_checkpoints(connection, timeout=1, alone=True)
            assert run.log_checkpoint(0, b"0") == "journal"
        with engine.connect() as other:
            other.exec_driver_sql("LOCK TABLE training_sessions")
            assert run.log_checkpoint(1, b"1") == "journal"
        assert run.log_checkpoint(2, b"2") == "database"
        assert sorted(checkpoints_of(engine, run.uid)) == [0, 1, 2]


def test_a_journal_that_cannot_be_read_is_not_needed(trained: Settings, engine: Engine) -> None:
    """As long as the database is there."""
    trained.home.mkdir(parents=True)
    trained.journal_folder.write_bytes(b"no folder")
    with new_run(trained) as run:
        assert run.log_checkpoint(0, b"w") == "database"
        run.bot_for(0, "bot")
    found = session_of(engine, run.uid)
    assert (found.status, found.checkpoints, run.problems) == ("completed", 1, [])


def test_a_note_needs_nobody_else(trained: Settings, proxy: Proxy, engine: Engine) -> None:
    """The file that the weights came from may be gone when they are paid."""
    through = with_changes(trained, database_url=proxy.url)
    path = trained.home.parent / "weights.pth"
    path.write_bytes(b"w" * 3 * LIMIT)
    proxy.refuse()
    with new_run(through) as run:
        run.log_checkpoint(0, path)
    path.unlink()
    proxy.thaw()
    assert sync(SyncOptions(), through).exit_code == 0
    (checkpoint,) = checkpoints_of(engine, run.uid).values()
    assert Path(checkpoint.file_path or "").read_bytes() == b"w" * 3 * LIMIT


def test_unknown_uids_are_new_ones(trained: Settings, engine: Engine) -> None:
    """A uid may be made beforehand, so that several programs know it."""
    uid = uuid4()
    with new_run(trained, uid=uid) as one, new_run(trained, uid=uid) as other:
        one.log_checkpoint(0, b"0")
        other.log_checkpoint(1, b"1")
    assert session_of(engine, uid).checkpoints == 2
