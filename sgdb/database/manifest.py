"""What stands beside a backup: where it comes from, what it holds, and whether it has been proven.

Written as JSON in exactly one form, with a hash of itself in it. Only bytes of that form are read, so no
bit of a manifest can be wrong without being noticed. The hash finds accidents and is no signature.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from sgdb.errors import BackupError

FORMAT = 1
OTHER_BACKUP = "take another backup: `sgdb backup list` names them"
_Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class TableContent:
    """Rows and digest of one table, over which columns; and by column how far its sequences have counted."""

    rows: _Count
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    columns: tuple[str, ...]
    sequences: dict[str, SequencePosition]


@dataclass(frozen=True, slots=True)
class SequencePosition:
    """The last value of a sequence, and whether it has been handed out."""

    last_value: int
    is_called: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """The database of a backup: address without password, name, and the identifier its server gave itself.

    The identifier is None where the server does not tell it.
    """

    address: str
    name: str
    system: str | None

    def is_same(self, other: Origin) -> bool:
        """Whether both are one database, whatever way led to it."""
        if self.system is not None and other.system is not None:
            return (self.system, self.name) == (other.system, other.name)
        return self.address == other.address


@dataclass(frozen=True, slots=True)
class Dump:
    """The dump that the manifest belongs to."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: _Count


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of one backup.

    `why` is "asked", "before upgrade" or "before restore". `proven_at` is None until the backup has been
    restored and compared.
    """

    sgdb_version: str
    server_version: str
    pg_dump_version: str
    schema_revision: str
    origin: Origin
    created_at: AwareDatetime
    why: str
    dump: Dump
    tables: dict[str, TableContent]
    proven_at: AwareDatetime | None = None

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables.values())

    @property
    def proven(self) -> bool:
        """Whether the backup has been restored and compared."""
        return self.proven_at is not None

    def to_json(self) -> dict[str, Any]:
        """The document, without its hash. Raises ValueError for a time without a zone."""
        return {
            **asdict(self),
            "format": FORMAT,
            "proven": self.proven,
            "created_at": _spelled(self.created_at),
            "proven_at": None if self.proven_at is None else _spelled(self.proven_at),
        }

    def to_bytes(self) -> bytes:
        """The file's content."""
        document = self.to_json()
        return _canonical({**document, "sha256": hashlib.sha256(_canonical(document)).hexdigest()})

    @classmethod
    def from_bytes(cls, raw: bytes) -> Manifest:
        """What `to_bytes` has written. Raises BackupError for anything else, if by a single bit."""
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            raise BackupError("the manifest is damaged: it is no JSON", hint=OTHER_BACKUP) from None
        found = document.get("format") if isinstance(document, dict) else None
        if type(found) is int and found > FORMAT:
            raise BackupError(
                f"the manifest has format {found}, this program knows {FORMAT}",
                hint=f"upgrade sgdb with `pip install --upgrade sgdb`, or {OTHER_BACKUP}",
            )
        try:
            manifest = _reader().validate_json(raw, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "its form"
            raise BackupError(
                f"the manifest is damaged: {where} is not as it should be", hint=OTHER_BACKUP
            ) from None
        if manifest.to_bytes() != raw:
            raise BackupError("the manifest is damaged: it does not match its own hash", hint=OTHER_BACKUP)
        return manifest


@cache
def _reader() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)  # building one takes longer than reading a manifest


def _canonical(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode("ascii")


def _spelled(moment: datetime) -> str:
    if moment.utcoffset() is None:
        raise ValueError(f"the time {moment.isoformat()} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
