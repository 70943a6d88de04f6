"""Where a database's schema stands, told without loading Alembic: every command asks, few migrate.

Revisions are the four digits that a migration's file name begins with, in their order; a test keeps that
true of Alembic's own view.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from sgdb.database.driver_errors import describe
from sgdb.errors import EnvironmentFaultError, SchemaError

VERSION_TABLE = "sgdb_alembic_version"
OWN_DATABASE = "name an empty database in SGDB_DATABASE_URL, then run `sgdb init`"


class SchemaStatus(Enum):
    """How the database's schema stands to the one this program was written for."""

    MISSING = "missing"
    OUTDATED = "outdated"
    CURRENT = "current"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """`current` is the database's revision, None where there is none; `head` is this program's."""

    status: SchemaStatus
    current: str | None
    head: str


def head() -> str:
    """The newest revision that this program knows."""
    return known_revisions()[-1]


def current(connection: Connection) -> str | None:
    """The database's revision, possibly one newer than this program; None when sgdb has no tables there.

    Raises SchemaError when what is recorded is no revision of sgdb.
    """
    if connection.scalar(select(func.to_regclass(VERSION_TABLE))) is None:
        return None
    revisions = connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")).all()  # noqa: S608
    if not revisions:
        return None
    if len(revisions) > 1 or not _is_ours(revisions[0]):
        recorded = ", ".join(revisions)
        raise SchemaError(
            f"Table {VERSION_TABLE} says {recorded!r}, which is no revision of sgdb"
            f" ({describe(connection.engine.url)})",
            hint=OWN_DATABASE,
        )
    return str(revisions[0])


def state(connection: Connection) -> SchemaState:
    """Where the schema stands; raises SchemaError like `current`. Reads one row and writes nothing."""
    revision = current(connection)
    if revision is None:
        status = SchemaStatus.MISSING
    elif revision == head():
        status = SchemaStatus.CURRENT
    elif revision in known_revisions():
        status = SchemaStatus.OUTDATED
    else:
        status = SchemaStatus.NEWER
    return SchemaState(status, revision, head())


def require_current(connection: Connection) -> None:
    """Returns when the schema is the one this program needs; else raises SchemaError with the way there."""
    found = state(connection)
    where = describe(connection.engine.url)
    match found.status:
        case SchemaStatus.CURRENT:
            return
        case SchemaStatus.MISSING:
            raise SchemaError(
                f"The database has no tables of sgdb yet ({where})", hint="create them with `sgdb init`"
            )
        case SchemaStatus.OUTDATED:
            raise SchemaError(
                f"The database has schema {found.current}, this program needs {found.head} ({where})",
                hint="bring it up to date with `sgdb init`",
            )
        case SchemaStatus.NEWER:
            raise SchemaError(
                f"The database has schema {found.current}, this program knows only {found.head} ({where})",
                hint="upgrade sgdb with `pip install --upgrade sgdb`",
            )


def require_known(connection: Connection) -> None:
    """Returns also when the schema is an older one; otherwise like `require_current`."""
    if state(connection).status is not SchemaStatus.OUTDATED:
        require_current(connection)


def scripts_folder() -> Path:
    """In a wheel the migrations lie inside the package, in a checkout beside it."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise EnvironmentFaultError(
        f"The migrations are missing from the installation in {package}",
        hint="install it again with `pip install --force-reinstall sgdb`",
    )


def known_revisions() -> list[str]:
    """All revisions of this program, oldest first."""
    names = (path.name for path in (scripts_folder() / "versions").glob("[0-9]*.py"))
    return sorted(name.partition("_")[0] for name in names)


def _is_ours(revision: str) -> bool:
    """Whether `revision` is one we know, or looks like one that a later sgdb will bring."""
    known = known_revisions()
    return revision in known or (re.fullmatch(r"\d{4}", revision) is not None and revision > known[-1])
