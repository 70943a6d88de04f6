"""Runs can be taken back, and programs store results without a file.

A run and its files get the status `rolled-back`. Rows that a program saved bear the set's source of status
`saved`, which is not a file and of which a set has at most one.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATUSES = {
    "runs": (
        "'running', 'done', 'interrupted', 'failed'",
        "'running', 'done', 'interrupted', 'failed', 'rolled-back'",
    ),
    "source_files": (
        "'migrated', 'identical', 'rejected'",
        "'migrated', 'identical', 'rejected', 'rolled-back', 'saved'",
    ),
}


def _allow(table: str, statuses: str) -> None:
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_status_known")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_status_known CHECK (status IN ({statuses}))")


def upgrade() -> None:
    for table, (_, after) in STATUSES.items():
        _allow(table, after)
    op.execute(
        "CREATE UNIQUE INDEX uq_source_files_saved ON source_files (benchmark_set_id) WHERE status = 'saved'"
    )


def downgrade() -> None:
    """What only the newer schema can say is said in the older one's words, and no longer told apart.

    The rows of programs lose their source, as they had none before.
    """
    op.execute("DROP INDEX uq_source_files_saved")
    for table in ("game_results", "games", "benchmark_sets", "bots", "game_configs"):
        op.execute(
            f"UPDATE {table} SET source_file_id = NULL WHERE source_file_id IN"
            " (SELECT id FROM source_files WHERE status = 'saved')"
        )
    op.execute("DELETE FROM source_files WHERE status = 'saved'")
    op.execute(
        "UPDATE source_files SET status = 'rejected', error = coalesce(error, 'taken back')"
        " WHERE status = 'rolled-back'"
    )
    op.execute("UPDATE runs SET status = 'done' WHERE status = 'rolled-back'")
    for table, (before, _) in STATUSES.items():
        _allow(table, before)
