"""The views for questions in SQL: the schema that they stand in, what is in its way, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from sgdb.database.driver_errors import describe, quoted
from sgdb.errors import DatabasePermissionError, SchemaError

VIEWS_SCHEMA = "sgdb_views"
# The migration that makes them.
VIEWS_REVISION = "0005"

_ROOM = """
    SELECT to_regnamespace(:schema) IS NOT NULL AS there,
        coalesce(has_schema_privilege(to_regnamespace(:schema), 'CREATE'), false) AS may_fill,
        has_database_privilege(current_database(), 'CREATE') AS may_create, current_user AS user,
        ARRAY(SELECT CAST(relname AS text) FROM pg_class WHERE relnamespace = to_regnamespace(:schema)
            AND relkind <> 'i' ORDER BY 1) AS taken
"""
_BUILT_ON = """
    SELECT DISTINCT CAST(CAST(c.oid AS regclass) AS text) FROM pg_depend d
    JOIN pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_class c ON c.oid = w.ev_class JOIN pg_class v ON v.oid = d.refobjid
    WHERE d.refclassid = 'pg_class'::regclass AND v.relnamespace = to_regnamespace(:schema)
    AND c.relnamespace <> v.relnamespace ORDER BY 1
"""
_DESCRIBED = """
    SELECT c.relname AS view, obj_description(c.oid, 'pg_class') AS about, a.attname AS column,
        format_type(a.atttypid, a.atttypmod) AS type, col_description(c.oid, a.attnum) AS meaning
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind = 'v' AND a.attnum > 0
    ORDER BY c.relname, a.attnum
"""
_SCHEMA = {"schema": VIEWS_SCHEMA}


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column of a view: its name, its SQL type, and what it means."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True, slots=True)
class View:
    """A view, what it tells, and its columns in order."""

    name: str
    about: str
    columns: tuple[ViewColumn, ...]


def describe_views(connection: Connection) -> list[View]:
    """The views of the database by name, as their comments describe them."""
    about: dict[str, str] = {}
    columns: dict[str, list[ViewColumn]] = {}
    for row in connection.execute(text(_DESCRIBED), _SCHEMA):
        about[row.view] = row.about or ""
        columns.setdefault(row.view, []).append(ViewColumn(row.column, row.type, row.meaning or ""))
    return [View(name, about[name], tuple(found)) for name, found in columns.items()]


def statement_for_room(user: str) -> str:
    """What an administrator runs for a user who may not create schemas."""
    return f"CREATE SCHEMA {VIEWS_SCHEMA} AUTHORIZATION {quoted(user)};"


def require_room_for_views(connection: Connection) -> None:
    """Returns when the views can be made. Raises SchemaError where their schema holds something already, and
    DatabasePermissionError where this user may not make it."""
    room = connection.execute(text(_ROOM), _SCHEMA).one()
    where = describe(connection.engine.url)
    if room.taken:
        raise SchemaError(
            f"Schema {VIEWS_SCHEMA} is for sgdb's views, but holds {', '.join(room.taken)} already ({where})",
            hint=f"rename it (ALTER SCHEMA {VIEWS_SCHEMA} RENAME TO ...;), or name another database in "
            "SGDB_DATABASE_URL; then run `sgdb init`",
        )
    if not (room.may_fill if room.there else room.may_create):
        what = "create anything in schema" if room.there else "create schema"
        hint = (
            f"GRANT USAGE, CREATE ON SCHEMA {VIEWS_SCHEMA} TO {quoted(room.user)};"
            if room.there
            else statement_for_room(room.user)
        )
        raise DatabasePermissionError(
            f"User {room.user} may not {what} {VIEWS_SCHEMA} ({where})",
            hint=f"have the database's owner run: {hint}",
        )


def require_nothing_on_views(connection: Connection) -> None:
    """Returns when the views can be taken away; raises SchemaError where views of others stand on them."""
    others = connection.scalars(text(_BUILT_ON), _SCHEMA).all()
    if others:
        raise SchemaError(
            f"Views of others stand on those in {VIEWS_SCHEMA}, which have to go for this:"
            f" {', '.join(others)} ({describe(connection.engine.url)})",
            hint="drop them (DROP VIEW ...), and make them again afterwards",
        )
