"""What dual storages owe, and what they found to differ: notes on disk, which outlive every process.

    JOURNAL/debts/PAIR-UNIQUE.json   one saving call that may not have reached both sides: written before it
                                     begins and removed when both have it, so that no moment of death loses
                                     the debt
    JOURNAL/debts/PAIR-UNIQUE.lock   held while the call is at work: the note of a live call is no debt
    JOURNAL/debts/PAIR-SIDE.json     what one side lacks, of all calls that are over: an outage leaves one
                                     note, not one a call
    JOURNAL/mismatches/PAIR.json     values that the two sides have otherwise

PAIR is config, base seed and a hash of where the two sides are, as in `5x7x3-42-0c9a1f44`. Every file is
written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sgdb.atomic import atomic_file, file_error, make_folder
from sgdb.database.compare import Difference
from sgdb.errors import FileAccessError, SgdbError
from sgdb.records import GameConfig
from sgdb.storage.note_files import locked, notes

_FORMAT = 1


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Pair:
    """One set on two sides: the pickle's absolute path, and the database's address without a password."""

    config: GameConfig
    base_seed: int
    pickle: str
    database: str

    @property
    def name(self) -> str:
        """The pair in a word that a file can bear."""
        where = hashlib.sha256(f"{self.pickle}\0{self.database}".encode("utf-8", "surrogateescape"))
        return f"{self.config}-{self.base_seed}-{where.hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Debt:
    """Saving calls that have to be made good.

    `lacks` is the side that does not have them, "database" or "pickle"; `replace` are the bots whose results
    were to take the place of stored ones; `since` (the first of them) is ISO 8601; `saves` is their number,
    `reason` and `by` are those of the last.
    """

    pair: Pair
    lacks: str
    reason: str = "the call did not come to its end"
    replace: tuple[str, ...] = ()
    since: str = field(default_factory=_now)
    by: str = field(default_factory=lambda: f"process {os.getpid()} on {socket.gethostname()}")
    saves: int = 1

    def after(self, earlier: Debt | None) -> Debt:
        """This debt together with an earlier one of the same side."""
        if earlier is None:
            return self
        return replace(
            self,
            replace=tuple(sorted({*earlier.replace, *self.replace})),
            since=min(earlier.since, self.since),
            saves=earlier.saves + self.saves,
        )


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One value that the two sides of a pair have otherwise; `found_at` is ISO 8601."""

    pair: Pair
    found_at: str
    difference: Difference


class Note:
    """The note of a call that is at work. It stays when the call does not end well."""

    def __init__(self, path: Path, debt: Debt) -> None:
        self._path = path
        self.debt: Debt | None = debt

    def owe(self, lacks: str, reason: str) -> None:
        """The call is over, and one side does not have it."""
        assert self.debt is not None
        self.debt = replace(self.debt, lacks=lacks, reason=reason)
        _write_debt(self._path, self.debt)

    def settle(self) -> None:
        """Nothing is owed."""
        self.debt = None
        self._path.unlink(missing_ok=True)


class UnwrittenNote(Note):
    """Stands for a note that could not be written."""

    def __init__(self, failure: SgdbError) -> None:
        self._failure = failure

    def owe(self, lacks: str, reason: str) -> None:  # noqa: ARG002 - as Note
        """Raises what kept the note from being written: nothing would remember the debt."""
        raise self._failure

    def settle(self) -> None:
        """Nothing has to be removed."""


class Journal:
    """The notes in one folder, which is made when there is something to note.

    Raises FileAccessError or DiskFullError. Any number of processes may use it.
    """

    def __init__(self, folder: Path) -> None:
        self._debts = folder / "debts"
        self._mismatches = folder / "mismatches"

    # -- debts ----------------------------------------------------------------------------------

    @contextmanager
    def note(self, debt: Debt) -> Iterator[Note]:
        """A note that is on disk before the block begins. What the block does not settle stays owed."""
        make_folder(self._debts)
        path = self._debts / f"{debt.pair.name}-{secrets.token_hex(8)}.json"
        with locked(path):
            _write_debt(path, debt)
            note = Note(path, debt)
            try:
                yield note
            finally:
                if note.debt is not None:
                    self._put_together(path, note.debt)

    def _put_together(self, path: Path, debt: Debt) -> None:
        """Adds a call's note to that of its side, unless somebody is at work on that one."""
        together = self._debts / f"{debt.pair.name}-{debt.lacks}.json"
        with locked(together, wait=False, is_unique=False) as is_free:
            if is_free:
                _write_debt(together, debt.after(_read_debt(together)))
                path.unlink(missing_ok=True)

    def debts(self) -> list[Debt]:
        """All that is owed, oldest first; what is at work in a live process is not."""
        found = []
        for path in notes(self._debts):
            with locked(path, wait=False, is_unique=_is_unique(path)) as is_free:
                debt = _read_debt(path) if is_free else None
            if debt is not None:
                found.append(debt)
        return sorted(found, key=lambda debt: debt.since)

    def owes(self, pair: Pair) -> bool:
        """Whether there is a note for the pair, maybe one of a call at work; quick, since every call asks."""
        return next(notes(self._debts, pair.name), None) is not None

    @contextmanager
    def claim(self, pair: Pair) -> Iterator[list[Debt]]:
        """The debts of one pair, which no other process can claim meanwhile; removed when the block ends
        well. Empty when there are none, or when they are claimed or at work elsewhere."""
        claimed: dict[Path, Debt] = {}
        with ExitStack() as locks:
            for path in notes(self._debts, pair.name):
                if locks.enter_context(locked(path, wait=False, is_unique=_is_unique(path))):
                    debt = _read_debt(path)
                    if debt is not None and debt.pair == pair:
                        claimed[path] = debt
            yield list(claimed.values())
            for path in claimed:
                path.unlink(missing_ok=True)

    # -- mismatches -----------------------------------------------------------------------------

    def mismatches(self) -> list[Mismatch]:
        """All that is recorded, pair by pair."""
        return [found for path in notes(self._mismatches) for found in _read_mismatches(path)]

    def record(self, pair: Pair, found: Sequence[Difference]) -> None:
        """Adds to what is recorded of a pair; a value that is recorded already is brought up to date."""
        if found:
            self._change(pair, lambda known: known | _dated(pair, found))

    def record_all(self, pair: Pair, found: Sequence[Difference]) -> None:
        """What a comparison of the whole pair has found, in place of all that was recorded of it."""
        if found or self._path_of(pair).exists():
            self._change(pair, lambda _: _dated(pair, found))

    def _path_of(self, pair: Pair) -> Path:
        return self._mismatches / f"{pair.name}.json"

    def _change(self, pair: Pair, change: Callable[[_Known], _Known]) -> None:
        make_folder(self._mismatches)
        path = self._path_of(pair)
        with locked(path, is_unique=False):
            known = change({found.difference[:3]: found for found in _read_mismatches(path)})
            if known:
                entries = [
                    {"found_at": found.found_at, **found.difference._asdict()} for found in known.values()
                ]
                _write_json(path, {"pair": asdict(pair), "mismatches": entries})
            else:
                path.unlink(missing_ok=True)


_Known = dict[tuple[int | None, str | None, str], Mismatch]


def _dated(pair: Pair, found: Iterable[Difference]) -> _Known:
    now = _now()
    return {difference[:3]: Mismatch(pair, now, difference) for difference in found}


# -- files --------------------------------------------------------------------------------------


def _is_unique(path: Path) -> bool:
    return not path.stem.endswith(("-database", "-pickle"))


def _write_debt(path: Path, debt: Debt) -> None:
    _write_json(path, asdict(debt))


def _write_json(path: Path, document: dict[str, Any]) -> None:
    with atomic_file(path, overwrite=True) as file:
        file.write(json.dumps({"format": _FORMAT, **document}, indent=1).encode() + b"\n")


def _read_json(path: Path) -> dict[str, Any] | None:
    """The document without its format; None when the file is gone."""
    try:
        document = json.loads(path.read_bytes())
        if document.pop("format") != _FORMAT:
            raise FileAccessError(f"{path} was written by another version of sgdb", hint="upgrade sgdb")
        pair = document["pair"]
        document["pair"] = Pair(**{**pair, "config": GameConfig(**pair["config"])})
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(error, f"cannot read {path}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileAccessError(
            f"{path} is damaged", hint="move it away, and compare the set's pickle with `sgdb verify PATH`"
        ) from error
    assert isinstance(document, dict)
    return document


def _read_debt(path: Path) -> Debt | None:
    document = _read_json(path)
    return Debt(**{**document, "replace": tuple(document["replace"])}) if document else None


def _read_mismatches(path: Path) -> list[Mismatch]:
    document = _read_json(path) or {"pair": None, "mismatches": ()}
    return [
        Mismatch(document["pair"], entry.pop("found_at"), Difference(**entry))
        for entry in document["mismatches"]
    ]
