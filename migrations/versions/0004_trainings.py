"""Training sessions that programs keep, and the bytes of checkpoints once each.

A session bears a number that the program makes, so that it can be written down before the database is there;
a checkpoint names its bytes by their hash; a bot may be the agent as of a checkpoint.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BLOBS = """
    sha256     char(64) NOT NULL,
    size_bytes bigint NOT NULL,
    data       bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_blobs PRIMARY KEY (sha256),
    CONSTRAINT ck_blobs_sha256_form CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_blobs_size_bytes_not_negative CHECK (size_bytes >= 0),
    CONSTRAINT ck_blobs_size_bytes_true CHECK (octet_length(data) = size_bytes)
"""
STATUSES = "'running', 'completed', 'failed', 'interrupted'"
SOURCE = "source_file_id bigint CONSTRAINT fk_{table}_source_file_id REFERENCES source_files (id)"
COLUMNS = {
    "training_sessions": (
        "uid uuid NOT NULL DEFAULT gen_random_uuid()",
        "heartbeat_at timestamptz",
        "metadata jsonb",
        SOURCE.format(table="training_sessions"),
    ),
    "model_checkpoints": (
        "weights_sha256 char(64) CONSTRAINT fk_model_checkpoints_weights_sha256 REFERENCES blobs (sha256)",
        "optimizer_sha256 char(64)"
        " CONSTRAINT fk_model_checkpoints_optimizer_sha256 REFERENCES blobs (sha256)",
        "metadata jsonb",
        SOURCE.format(table="model_checkpoints"),
    ),
    "bots": (
        "checkpoint_id integer CONSTRAINT fk_bots_checkpoint_id"
        " REFERENCES model_checkpoints (id) ON DELETE SET NULL",
    ),
}
INDEXES = {
    "bots": ("checkpoint_id",),
    "model_checkpoints": ("weights_sha256", "optimizer_sha256"),
}


def upgrade() -> None:
    connection = op.get_bind()
    # Also where the search path begins with a schema that has come into being since.
    schema, usual = connection.execute(
        text(
            "SELECT quote_ident(nspname), current_setting('search_path') FROM pg_class"
            " JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE pg_class.oid = 'model_checkpoints'::regclass"
        )
    ).one()
    set_path = text("SELECT set_config('search_path', :path, true)")
    connection.execute(set_path, {"path": f"{schema}, pg_temp"})
    op.execute(f"CREATE TABLE blobs ({BLOBS})")
    # Weights hardly shrink, and of bytes that are stored as they are, a part can be read without the rest.
    op.execute("ALTER TABLE blobs ALTER COLUMN data SET STORAGE EXTERNAL")
    _grant_as_on_checkpoints()
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    for table, indexed in INDEXES.items():
        for column in indexed:
            op.execute(f"CREATE INDEX ix_{table}_{column} ON {table} ({column}) WHERE {column} IS NOT NULL")
    op.execute("ALTER TABLE training_sessions ADD CONSTRAINT uq_training_sessions_uid UNIQUE (uid)")
    _put_other_statuses_aside()
    op.execute(
        "ALTER TABLE training_sessions"
        f" ADD CONSTRAINT ck_training_sessions_status_known CHECK (status IN ({STATUSES}))"
    )
    connection.execute(set_path, {"path": usual})


def _grant_as_on_checkpoints() -> None:
    """Whoever may write checkpoints may write their bytes, and whoever may read them may read these."""
    grants = op.get_bind().execute(
        text(
            "SELECT DISTINCT privilege_type,"
            " CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(rolname) END"
            " FROM pg_class, aclexplode(relacl) LEFT JOIN pg_roles ON pg_roles.oid = grantee"
            " WHERE pg_class.oid = 'model_checkpoints'::regclass"
            " AND privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE') ORDER BY 2, 1"
        )
    )
    for privilege, role in grants.all():
        op.get_bind().exec_driver_sql(f"GRANT {privilege} ON blobs TO {role}".replace("%", "%%"))


def _put_other_statuses_aside() -> None:
    """Statuses were any word so far. One that is none of ours is kept in the metadata."""
    op.execute(
        "UPDATE training_sessions SET metadata = jsonb_build_object('status', status),"
        " status = CASE WHEN end_time IS NULL THEN 'interrupted' ELSE 'completed' END"
        f" WHERE status NOT IN ({STATUSES})"
    )


def downgrade() -> None:
    """Bytes in the database go back into the columns that they had; those of files stay files.

    Numbers, heartbeats, metadata, and what bot is what checkpoint cannot be said any more.
    """
    for column, sha256 in (("model_weights", "weights_sha256"), ("optimizer_state", "optimizer_sha256")):
        op.execute(
            f"UPDATE model_checkpoints c SET {column} = b.data FROM blobs b"
            f" WHERE b.sha256 = c.{sha256} AND b.data IS NOT NULL AND c.{column} IS NULL"
        )
    op.execute("ALTER TABLE training_sessions DROP CONSTRAINT ck_training_sessions_status_known")
    op.execute(
        "UPDATE training_sessions SET status = metadata ->> 'status'"
        " WHERE length(metadata ->> 'status') <= 50"
    )
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN {column.partition(' ')[0]}")
    op.execute("DROP TABLE blobs")
