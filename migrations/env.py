"""How Alembic runs here: on the connection and in the transaction that sgdb.database.schema hands over.

No ini file and no database address, in which a `%` would be a trap; no logging setup, which belongs to
the program around; no offline mode.
"""

from __future__ import annotations

from alembic import context

from sgdb.database.models import Base

given = context.config.attributes


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Other applications' tables in the same schema are none of our business."""
    return kind != "table" or name in Base.metadata.tables


context.configure(
    connection=given["connection"],
    version_table=given["version_table"],
    target_metadata=Base.metadata,
    include_name=is_ours,
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
