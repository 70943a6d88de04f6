"""Which of sgdb's tables a database has, and how a statement names them.

The models describe the newest schema only; a database of an older one has other tables and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from sgdb.database.driver_errors import quoted
from sgdb.database.models import Base
from sgdb.database.revisions import VERSION_TABLE

_SCHEMA = """
    SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass(:version_table)
"""
_COLUMNS = """
    SELECT c.relname, a.attname,
    CASE WHEN a.attidentity <> '' THEN pg_get_serial_sequence(CAST(c.oid AS regclass)::text, a.attname) END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE n.nspname = :schema AND c.relname = ANY(:names) AND c.relkind = 'r'
    AND a.attnum > 0 AND NOT a.attisdropped
"""


@dataclass(frozen=True, slots=True)
class OwnTable:
    """A table as it stands in a database: its columns by name, and the sequences of its identities by column.

    `address` and the sequences can be put into a statement as they are.
    """

    address: str
    columns: tuple[str, ...]
    sequences: dict[str, str]


@dataclass(frozen=True, slots=True)
class OwnTables:
    """sgdb's tables in one database, by name, in the order of the models; without Alembic's own."""

    schema: str
    tables: dict[str, OwnTable]

    @property
    def version_table(self) -> str:
        """The address of Alembic's own."""
        return f"{quoted(self.schema)}.{quoted(VERSION_TABLE)}"


def has_rows(connection: Connection) -> bool:
    """Whether any of sgdb's tables has a row; False where there are none."""
    own = find_own_tables(connection)
    if own is None:
        return False
    found = " OR ".join(f"EXISTS (SELECT FROM {table.address})" for table in own.tables.values())
    return bool(connection.exec_driver_sql(f"SELECT {found}".replace("%", "%%")).scalar_one())


def find_own_tables(connection: Connection) -> OwnTables | None:
    """The tables as the transaction sees them, or None where there are none; looks at the catalog only."""
    schema = connection.scalar(text(_SCHEMA), {"version_table": VERSION_TABLE})
    if schema is None:
        return None
    columns: dict[str, dict[str, str | None]] = {name: {} for name in Base.metadata.tables}
    for table, column, sequence in connection.execute(
        text(_COLUMNS), {"schema": schema, "names": list(columns)}
    ):
        columns[table][column] = sequence
    if not any(columns.values()):
        return None
    return OwnTables(
        schema,
        {
            name: OwnTable(
                f"{quoted(schema)}.{quoted(name)}",
                tuple(sorted(found)),
                {column: sequence for column, sequence in sorted(found.items()) if sequence},
            )
            for name, found in columns.items()
            if found
        },
    )
