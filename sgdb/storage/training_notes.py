"""What a training has to say while its database is away: notes on disk, which outlive every process.

    JOURNAL/trainings/UID-TIME-UNIQUE.note    one event: a line of JSON, and the bytes that belong to it

UID is the session's; the names of one session sort in the order in which its notes were written. A note holds
the session as well, so any of them can be written into a database that has never heard of it. Every file is
written whole or not at all. Each note has bytes of its own, also where they are the same as another's: so
whoever pays one need not ask who needs them.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sgdb.atomic import atomic_file, file_error, make_folder, remove_leftovers
from sgdb.database.sessions import NewSession
from sgdb.errors import FileAccessError, SgdbError, UsageError
from sgdb.storage.contents import Contents
from sgdb.storage.guard import is_absence
from sgdb.storage.note_files import locked, notes
from sgdb.storage.training_events import EVENTS, Event, session_from_json, session_to_json

_FORMAT = 1
_SUFFIX = ".note"
_LONGEST_HEAD = 1 << 24  # bytes; hyperparameters and metrics have a limit of their own
_UID = 36  # characters


@dataclass(frozen=True, slots=True)
class TrainingNote:
    """An event that is owed to the database at `address`; `written_at` is ISO 8601."""

    path: Path
    address: str
    session: NewSession
    event: Event
    written_at: str


@dataclass(slots=True)
class Settled:
    """What came of paying the notes of one session: how many are paid, how many of them checkpoints, what is
    to be told of them, the last failure of one that stays owed, and the one by which the database is away."""

    paid: int = 0
    checkpoints: int = 0
    said: list[str] = field(default_factory=list)
    failure: SgdbError | None = None
    absence: SgdbError | None = None

    def failed(self, error: SgdbError) -> None:
        """One note stays owed."""
        self.failure = error


class TrainingNotes:
    """The notes in one journal, for any number of processes. Raises FileAccessError and DiskFullError."""

    def __init__(self, journal: Path) -> None:
        self._folder = journal / "trainings"
        self._last = 0

    def write(self, address: str, session: NewSession, event: Event) -> None:
        """A note that is on disk when this returns. Raises as `Contents.pieces` does, too."""
        contents = event.contents
        head = {
            "format": _FORMAT,
            "database": address,
            "session": session_to_json(session),
            "kind": event.kind,
            "event": event.to_json(),
            "contents": [[name, each.sha256, each.size_bytes] for name, each in contents.items()],
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        make_folder(self._folder)
        self._last = max(time.time_ns(), self._last + 1)  # a clock may be put back
        path = self._folder / f"{session.uid}-{self._last:020}-{secrets.token_hex(8)}{_SUFFIX}"
        with atomic_file(path, overwrite=False) as file:
            file.write(json.dumps(head).encode() + b"\n")
            for each in contents.values():
                for piece in each.pieces():
                    file.write(piece)

    def owes(self, uid: UUID | None = None) -> bool:
        """Whether there is a note, of this session or of any; quick, since every call asks."""
        return next(self._paths(uid), None) is not None

    def sessions(self) -> list[UUID]:
        """The sessions with notes."""
        return list(dict.fromkeys(UUID(path.name[:_UID]) for path in self._paths()))

    def read(self, uid: UUID | None, on_failure: Callable[[SgdbError], object]) -> Iterator[TrainingNote]:
        """The notes of a session, or of all, oldest first within each. One that is paid meanwhile is left
        out; so is one that cannot be read, of which `on_failure` is told."""
        for path in self._paths(uid):
            try:
                note = _read(path)
            except FileAccessError as error:
                on_failure(error)
                continue
            if note is not None:
                yield note

    @contextmanager
    def claim(self, uid: UUID) -> Iterator[bool]:
        """Whether this is the only one who pays the session's notes until the block ends."""
        if not self._folder.exists():
            yield False
            return
        with locked(self._folder / str(uid), wait=False) as is_free:
            yield is_free

    def tidy(self) -> None:
        """Removes what killed processes have left unfinished."""
        remove_leftovers(self._folder)

    def _paths(self, uid: UUID | None = None) -> Iterator[Path]:
        for path in notes(self._folder, str(uid or ""), _SUFFIX):
            if _is_uid(path.name[:_UID]):
                yield path


def settle_session(
    found: TrainingNotes,
    uid: UUID,
    address: str,
    write: Callable[[NewSession, Event], str | None],
    *,
    deadline: float | None = None,
) -> Settled:
    """Pays a session's notes for the database at `address`, oldest first, by `write`.

    None is begun after `deadline` (of `time.monotonic`), and none after the database turned out to be away. A
    note is removed when it is paid. One that is refused stays, and does not stop the others.
    """
    done = Settled()
    with found.claim(uid) as is_ours:
        for note in found.read(uid, done.failed) if is_ours else ():
            if deadline is not None and time.monotonic() >= deadline:
                break
            if note.address != address:
                done.failed(UsageError(f"it is owed to another database: {note.address}"))
                continue
            try:
                said = write(note.session, note.event)
            except SgdbError as error:
                done.failed(error)
                if is_absence(error):
                    done.absence = error
                    break
                continue
            note.path.unlink(missing_ok=True)
            done.paid += 1
            done.checkpoints += note.event.kind == "checkpoint"
            if said:
                done.said.append(said)
    return done


def _is_uid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _read(path: Path) -> TrainingNote | None:
    """The note; None when the file is gone."""
    try:
        with path.open("rb") as file:
            line = file.readline(_LONGEST_HEAD)
            size = os.fstat(file.fileno()).st_size
        head = json.loads(line)
        if head["format"] != _FORMAT:
            raise FileAccessError(f"{path} was written by another version of sgdb", hint="upgrade sgdb")
        return TrainingNote(
            path,
            head["database"],
            session_from_json(head["session"]),
            EVENTS[head["kind"]].from_json(head["event"], _contents(path, head["contents"], len(line), size)),
            head["written_at"],
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(error, f"cannot read {path}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileAccessError(f"{path} is damaged", hint="move it away: no other note needs it") from error


def _contents(path: Path, listed: list[Any], offset: int, end: int) -> dict[str, Contents]:
    """The bytes behind the line of JSON. Raises ValueError when there are others than those it lists."""
    found = {}
    for name, sha256, size in listed:
        found[name] = Contents(sha256, size, path=path, offset=offset)
        offset += size
    if offset != end:
        raise ValueError("the note is of another length than it says")
    return found
