"""Views in a schema of their own, for questions in SQL and for programs that draw.

The SQL file beside this one holds them, with what each column means.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SCHEMA = "sgdb_views"
# The last one first: a view may stand on those before it.
VIEWS = (
    "lineage",
    "data_growth",
    "checkpoint_benchmarks",
    "learning_curve",
    "set_difficulty",
    "paired_differences",
    "leaderboard",
    "bot_by_config",
    "bot_by_set",
)


def upgrade() -> None:
    connection = op.get_bind()
    # Also where the search path begins with a schema that has come into being since.
    schema, usual = connection.execute(
        text(
            "SELECT quote_ident(nspname), current_setting('search_path') FROM pg_class"
            " JOIN pg_namespace n ON n.oid = relnamespace WHERE pg_class.oid = 'game_results'::regclass"
        )
    ).one()
    set_path = text("SELECT set_config('search_path', :path, true)")
    connection.execute(set_path, {"path": f"{schema}, pg_temp"})
    # An administrator may have made it for a user without the right to.
    if connection.scalar(text("SELECT to_regnamespace(:schema)"), {"schema": SCHEMA}) is None:
        op.execute(f"CREATE SCHEMA {SCHEMA}")
    op.execute(f"COMMENT ON SCHEMA {SCHEMA} IS 'sgdb: views on its tables'")
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    connection.exec_driver_sql(sql.replace("%", "%%"))
    if connection.scalar(text("SELECT current_setting('server_version_num')::int >= 150000")):
        _let_everybody_see_what_he_may_read()
    else:
        grant_to_readers_of_tables()
    connection.execute(set_path, {"path": usual})


def _let_everybody_see_what_he_may_read() -> None:
    """The tables are read with the rights of whoever asks, so nothing is given away."""
    for view in VIEWS:
        op.execute(f"ALTER VIEW {SCHEMA}.{view} SET (security_invoker = true)")
    op.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC")
    op.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO PUBLIC")


def grant_to_readers_of_tables() -> None:
    """Servers before 15 read the tables with the rights of the view's owner. So a view is for those only who
    may read every table that it stands on."""
    grants = op.get_bind().execute(
        text(
            """
            WITH RECURSIVE stands_on (view, relation) AS (
                SELECT c.oid, c.oid FROM pg_class c WHERE c.relnamespace = to_regnamespace(:schema)
                AND c.relkind = 'v'
                UNION
                SELECT s.view, d.refobjid FROM stands_on s JOIN pg_rewrite w ON w.ev_class = s.relation
                JOIN pg_depend d ON d.objid = w.oid AND d.classid = 'pg_rewrite'::regclass
                AND d.refclassid = 'pg_class'::regclass
            ), tables AS (
                SELECT s.view, c.oid, c.relacl FROM stands_on s JOIN pg_class c ON c.oid = s.relation
                WHERE c.relkind = 'r'
            ), readers AS (
                SELECT DISTINCT t.view, t.oid, a.grantee FROM tables t, aclexplode(t.relacl) a
                WHERE a.privilege_type = 'SELECT'
            )
            SELECT CAST(CAST(view AS regclass) AS text),
                CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(rolname) END
            FROM readers LEFT JOIN pg_roles ON pg_roles.oid = grantee
            GROUP BY view, grantee, rolname
            HAVING count(*) = (SELECT count(*) FROM tables t WHERE t.view = readers.view) ORDER BY 1, 2
            """
        ),
        {"schema": SCHEMA},
    )
    for view, role in grants.all():
        op.get_bind().exec_driver_sql(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}".replace("%", "%%"))
        op.get_bind().exec_driver_sql(f"GRANT SELECT ON {view} TO {role}".replace("%", "%%"))


def downgrade() -> None:
    """The schema goes with the views, unless others have put something into it, or this user could not make
    it again."""
    for view in VIEWS:
        op.execute(f"DROP VIEW {SCHEMA}.{view}")
    is_to_go = op.get_bind().scalar(
        text(
            "SELECT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid)"
            " AND NOT EXISTS (SELECT FROM pg_proc WHERE pronamespace = n.oid)"
            " AND NOT EXISTS (SELECT FROM pg_type WHERE typnamespace = n.oid)"
            " AND has_database_privilege(current_database(), 'CREATE') AND pg_has_role(n.nspowner, 'USAGE')"
            " FROM pg_namespace n WHERE n.nspname = :schema"
        ),
        {"schema": SCHEMA},
    )
    if is_to_go:
        op.execute(f"DROP SCHEMA {SCHEMA}")
