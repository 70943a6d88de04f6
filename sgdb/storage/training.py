"""One training of an agent, told to the database while it goes on."""

from __future__ import annotations

import logging
import operator
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self
from uuid import UUID, uuid4

from sqlalchemy import Connection

from sgdb.database.sessions import INTERVAL, NewSession, beat, ensure_session
from sgdb.errors import SgdbError, UsageError, ValueRefusedError
from sgdb.pickles.attributes import storable_text
from sgdb.pickles.layouts import INT32
from sgdb.records import GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage.checkpoint_reading import Checkpoint
from sgdb.storage.contents import Contents
from sgdb.storage.heartbeat import Heartbeat
from sgdb.storage.metrics import as_json
from sgdb.storage.training_database import TrainingDatabase
from sgdb.storage.training_events import Begun, Ended, Event, Logged, Named
from sgdb.storage.training_notes import TrainingNotes, settle_session
from sgdb.storage.values import checked_set

log = logging.getLogger(__name__)
Kept = Literal["database", "journal", "nowhere"]
_MAX_NAME = 255
_MAX_WORD = {"bot_type": 100, "version": 50}


class TrainingRun:
    """A context for a training loop: a row in `training_sessions`, and one in `model_checkpoints` an epoch.

    >>> with TrainingRun("lr 3e-4", bot="MyDQN", hyperparameters={"lr": 3e-4}) as run:
    ...     for epoch in range(100):
    ...         loss = train_one_epoch(model)
    ...         run.log_checkpoint(epoch, weights_of(model), metrics={"loss": loss})
    ...     run.finish({"loss": loss})

    *It never stops the training.* Arguments that make no sense raise; a database that is refused, lost,
    stuck, full, without tables or busy does not. What it could not be told is written to a note in the
    journal before the call returns, and one warning is logged. The next call that finds the database pays
    what is owed, as the heartbeat and `sgdb sync` do. A call waits for a silent server
    `SGDB_CONNECT_TIMEOUT` seconds at most, once: then nobody tries for a while.

    *What `log_checkpoint` has returned from is kept*: it is committed, or its note is on disk, and survives
    the death of this process at any moment. Where neither the database nor the disk takes it, an error is
    logged, the call returns "nowhere", and the training goes on.

    *Each epoch once.* The same checkpoint again changes nothing. Another one for an epoch that is there does
    not replace it: a warning is logged and what differs is recorded beside the stored one.

    *The end* is "completed", or "failed" when an exception leaves the block, "interrupted" when it is Ctrl-C
    or an exit. A process that dies says nothing any more: its session, which gave a sign of life every
    `SGDB_HEARTBEAT` seconds, is shown as stale.

    *Company.* Several threads may log into one run, and several processes into one session: each opens a
    TrainingRun with the same `uid`. A child of a fork may log into its parent's; the end is the parent's.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        bot: str,
        hyperparameters: Mapping[str, Any] | None = None,
        config: GameConfig | None = None,
        bot_type: str | None = "dqn",
        version: str | None = None,
        uid: UUID | str | None = None,
        settings: Settings | None = None,
    ) -> None:
        """`bot` is the agent, `name` the experiment, `config` the board shape where it is a single one.

        `bot_type` and `version` are those of a bot that is not there yet. With the `uid` of an earlier run,
        its session goes on. Settings that are not given come from `load_settings`. Raises ValueRefusedError,
        UsageError and ConfigError; does not connect.
        """
        self._settings = load_settings() if settings is None else settings
        _require_text("bot", bot, _MAX_NAME)
        if name is not None:
            _require_text("name", name, _MAX_NAME)
        for word, value in (("bot_type", bot_type), ("version", version)):
            if value is not None:
                _require_text(word, value, _MAX_WORD[word])
        self.uid = _checked_uid(uid)
        """What the session is known by, from the beginning on."""
        self._session = NewSession(
            uid=self.uid,
            bot=bot,
            name=name,
            hyperparameters=as_json(hyperparameters or {}, "hyperparameters") or {},
            started_at=datetime.now(UTC),
            config=None if config is None else checked_set(config, 0)[0],
            bot_type=bot_type,
            version=version,
            metadata={INTERVAL: self._settings.heartbeat},
        )
        self.problems: list[str] = []
        """What has gone wrong so far, one sentence each: what is kept nowhere, and epochs logged twice."""
        self._database = TrainingDatabase(self._settings)
        self._beating = TrainingDatabase(self._settings, may_start=False)
        self._notes = TrainingNotes(self._settings.journal_folder)
        self._heartbeat = Heartbeat(self._beat, self._settings.heartbeat)
        self._final_metrics: dict[str, Any] | None = None
        self._weights: dict[int, str] = {}
        self._process = 0

    def __enter__(self) -> Self:
        self._process = os.getpid()
        self._tell(Begun(self._session.started_at.isoformat()))
        self._heartbeat.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process != os.getpid():
            return  # a child of a fork, whose parent goes on
        self._heartbeat.__exit__(kind, error, trace)
        status, said = "completed", None
        if error is not None:
            status = "failed" if isinstance(error, Exception) else "interrupted"
            said = _in_words(error)
        self._tell(Ended(status, datetime.now(UTC).isoformat(), self._final_metrics, said))
        self._pay(self.uid)

    def log_checkpoint(
        self,
        epoch: int,
        model_weights: bytes | bytearray | memoryview | os.PathLike[str] | str | None = None,
        optimizer_state: bytes | bytearray | memoryview | os.PathLike[str] | str | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> Kept:
        """The agent after `epoch`. Returns where it is kept when the call returns: see the class.

        Weights and optimizer state are bytes, or the path of a file that holds them, which may go afterwards;
        None where there are none. Metrics are plain values by name; NaN and the infinities are kept.

        Raises ValueRefusedError for an epoch that is no whole number from 0 on and for metrics that cannot be
        kept, UsageError, NotFoundError and FileAccessError for bytes that cannot be had.
        """
        epoch = _checked_epoch(epoch)
        logged = Logged(
            epoch,
            None if model_weights is None else Contents.given(model_weights, "model_weights"),
            None if optimizer_state is None else Contents.given(optimizer_state, "optimizer_state"),
            as_json(metrics, "metrics"),
            datetime.now(UTC).isoformat(),
        )
        if logged.weights is not None:
            self._weights[epoch] = logged.weights.sha256
        return self._tell(logged)

    def load_checkpoint(self, epoch: int | None = None) -> Checkpoint | None:
        """What this session has stored after `epoch`, or last; None where there is nothing. To go on with:

        >>> with TrainingRun("lr 3e-4", bot="MyDQN", uid=uid) as run:
        ...     last = run.load_checkpoint()

        Unlike the other calls this one needs the database: it raises DatabaseUnreachableError and what else
        keeps it from reading, and CheckpointError when the bytes are not those that were stored.
        """
        self._pay(self.uid)
        return self._database.load(self._session, epoch)

    def bot_for(self, epoch: int, name: str | None = None) -> str:
        """The name of a bot that is the agent as of an epoch that this run has logged.

        Results under this name lead back to the checkpoint and this session. Without `name` it is made of the
        agent's, the session's start and the weights' hash, `MyDQN_20260301_120000_0f3a9c21`, as the old
        system names trained agents. Raises UsageError for an epoch that was not logged here with weights.
        """
        epoch = _checked_epoch(epoch)
        if epoch not in self._weights:
            raise UsageError(
                f"epoch {epoch} has not been logged here with weights", hint="call log_checkpoint first"
            )
        started = self._session.started_at.strftime("%Y%m%d_%H%M%S")
        bot = f"{self._session.bot}_{started}_{self._weights[epoch][:8]}" if name is None else name
        _require_text("name", bot, _MAX_NAME)
        self._tell(Named(bot, epoch, self._session.bot_type, self._session.version))
        return bot

    def finish(self, final_metrics: Mapping[str, Any]) -> None:
        """What came out of the training; stored when the block ends. Raises ValueRefusedError."""
        self._final_metrics = as_json(final_metrics, "final_metrics")

    # -- telling ------------------------------------------------------------------------------------

    def _tell(self, event: Event) -> Kept:
        """Writes an event into the database, else into the journal."""
        absence = self._pay(self.uid)
        if absence is not None:
            return self._note(event, absence)
        try:
            # Checkpoints stand by themselves; what becomes of a session comes in its order.
            if not isinstance(event, Logged) and self._owes():
                self._notes.write(self._database.address, self._session, event)
                return "journal"
            said = self._database.write(self._session, event)
        except SgdbError as error:  # whatever it is, the training goes on
            return self._note(event, error)
        if said:
            self._warn(said)
        return "database"

    def _owes(self) -> bool:
        try:
            return self._notes.owes(self.uid)
        except SgdbError:
            return False  # a journal that cannot be read keeps nothing from the database

    def _note(self, event: Event, error: SgdbError) -> Kept:
        try:
            self._notes.write(self._database.address, self._session, event)
        except SgdbError as failure:
            what = f"epoch {event.epoch}" if isinstance(event, Logged) else f"that it has {event.kind}"
            said = f"{what} is kept nowhere. The database: {error.message}. The journal: {failure.message}"
            self.problems.append(said)
            log.error("%s", said)  # noqa: TRY400 - for people who train, not for us
            return "nowhere"
        return "journal"

    def _warn(self, said: str) -> None:
        self.problems.append(said)
        log.warning("%s", said)

    def _pay(self, uid: UUID, database: TrainingDatabase | None = None) -> SgdbError | None:
        """Pays what is owed of a session, as far as it takes no longer than a silent server would; what the
        database refuses stays, for `sgdb sync` to tell. Returns the error by which the database is away."""
        database = database or self._database
        deadline = time.monotonic() + self._settings.connect_timeout
        try:
            if not self._notes.owes(uid):
                return None
            done = settle_session(self._notes, uid, database.address, database.write, deadline=deadline)
            is_level = done.paid and not self._notes.owes(uid)
        except SgdbError as error:
            log.debug("what is owed of the training %s stays so: %s", uid, error.message)
            return None
        for said in done.said:
            if uid == self.uid:
                self._warn(said)
            else:
                log.warning("training %s: %s", uid, said)
        if done.failure is not None:
            log.debug("a note of the training %s stays: %s", uid, done.failure.message)
        if is_level:
            log.warning("what was owed of the training %s is made good", uid)
        return done.absence

    def _beat(self) -> None:
        """A sign of life, and what this machine owes of this and other trainings. An embedded server that
        somebody has stopped is not started for it."""
        if self._beating.is_stopped:
            return

        def write(connection: Connection) -> None:
            beat(connection, ensure_session(connection, self._session))

        self._beating.transact(write)
        for uid in self._notes.sessions():
            self._pay(uid, self._beating)


def _require_text(what: str, value: object, most: int) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= most or not storable_text(value):
        raise ValueRefusedError(f"{what}: {value!a:.80} is not a text of 1 to {most} characters to be stored")


def _checked_uid(uid: UUID | str | None) -> UUID:
    try:
        return uuid4() if uid is None else UUID(str(uid))
    except ValueError:
        raise ValueRefusedError(f"uid: {uid!a:.80} is no UUID") from None


def _checked_epoch(epoch: object) -> int:
    try:
        number = -1 if isinstance(epoch, bool) else operator.index(epoch)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if not 0 <= number <= INT32:
        raise ValueRefusedError(f"epoch: {epoch!a:.80} is not a whole number from 0 to {INT32}")
    return number


def _in_words(error: BaseException) -> str:
    """What ended a training, as far as it can be stored."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return said.replace("\0", "").encode("utf-8", "replace").decode()[:1000]
