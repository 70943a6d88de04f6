"""Totals of each set and bot, kept by triggers in the transaction that changes the rows.

The functions and triggers stand in the SQL file beside this one, which `sgdb init --refresh-totals` runs too.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy import text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = {
    "result_totals": """
        benchmark_set_id         integer NOT NULL,
        bot_id                   integer NOT NULL,
        results                  bigint NOT NULL,
        completed                bigint NOT NULL,
        tiles_cleared_sum        bigint NOT NULL,
        tiles_cleared_square_sum numeric NOT NULL,
        singles_remaining_sum    bigint NOT NULL,
        moves_made_sum           bigint NOT NULL,
        revision                 uuid NOT NULL,
        CONSTRAINT pk_result_totals PRIMARY KEY (benchmark_set_id, bot_id),
        CONSTRAINT fk_result_totals_benchmark_set_id
            FOREIGN KEY (benchmark_set_id) REFERENCES benchmark_sets (id) ON DELETE CASCADE,
        CONSTRAINT fk_result_totals_bot_id FOREIGN KEY (bot_id) REFERENCES bots (id) ON DELETE CASCADE
    """,
    "game_totals": """
        benchmark_set_id integer NOT NULL,
        games            bigint NOT NULL,
        revision         uuid NOT NULL,
        CONSTRAINT pk_game_totals PRIMARY KEY (benchmark_set_id),
        CONSTRAINT fk_game_totals_benchmark_set_id
            FOREIGN KEY (benchmark_set_id) REFERENCES benchmark_sets (id) ON DELETE CASCADE
    """,
    "departing_games": """
        game_id          bigint NOT NULL,
        benchmark_set_id integer NOT NULL,
        CONSTRAINT pk_departing_games PRIMARY KEY (game_id)
    """,
}
# Whose readers may read the new table as well.
READ_LIKE = {"result_totals": "game_results", "game_totals": "games", "departing_games": "games"}

FILL = (
    """
    INSERT INTO game_totals (benchmark_set_id, games, revision)
    SELECT benchmark_set_id, count(*), gen_random_uuid() FROM games GROUP BY benchmark_set_id
    """,
    """
    INSERT INTO result_totals (
        benchmark_set_id, bot_id, results, completed, tiles_cleared_sum, tiles_cleared_square_sum,
        singles_remaining_sum, moves_made_sum, revision
    )
    SELECT g.benchmark_set_id, r.bot_id, count(*), count(*) FILTER (WHERE r.completed),
        sum(r.tiles_cleared::bigint), sum(r.tiles_cleared::bigint * r.tiles_cleared),
        sum(r.singles_remaining::bigint), sum(r.moves_made::bigint), gen_random_uuid()
    FROM game_results r JOIN games g ON g.id = r.game_id
    GROUP BY g.benchmark_set_id, r.bot_id
    """,
)

TRIGGERS = {
    "game_results": (
        "sgdb_results_inserted",
        "sgdb_results_updated",
        "sgdb_results_deleted",
        "sgdb_results_truncated",
    ),
    "games": (
        "sgdb_games_inserted",
        "sgdb_games_updated",
        "sgdb_games_deleted",
        "sgdb_games_truncated",
        "sgdb_games_moved",
        "sgdb_game_departs",
    ),
}
FUNCTIONS = (
    "sgdb_keep_result_totals()",
    "sgdb_keep_game_totals()",
    "sgdb_note_departure()",
    "sgdb_empty_totals()",
    "sgdb_had_results(bigint)",
    "sgdb_unknown_set(bigint, text)",
    "sgdb_require_sight(text)",
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
    # Nobody may write between the counting and the first trigger.
    op.execute("LOCK TABLE games, game_results IN SHARE ROW EXCLUSIVE MODE")
    for table, columns in TABLES.items():
        # Room on each page for the next version of its lines: no entry in an index is made then.
        room = "" if table == "departing_games" else " WITH (fillfactor = 50)"
        op.execute(f"CREATE TABLE {table} ({columns}){room}")
        _grant(table, READ_LIKE[table])
    for statement in FILL:
        connection.exec_driver_sql(statement)
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    connection.exec_driver_sql(sql.replace("%", "%%"))
    connection.execute(set_path, {"path": usual})


def _grant(table: str, model: str) -> None:
    """Whoever reads the rows asks for their totals now."""
    roles = op.get_bind().execute(
        text(
            "SELECT DISTINCT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(rolname) END"
            " FROM pg_class, aclexplode(relacl) LEFT JOIN pg_roles ON pg_roles.oid = grantee"
            " WHERE pg_class.oid = CAST(:model AS regclass) AND privilege_type = 'SELECT' ORDER BY 1"
        ),
        {"model": model},
    )
    for role in roles.scalars().all():
        op.get_bind().exec_driver_sql(f"GRANT SELECT ON {table} TO {role}".replace("%", "%%"))


def downgrade() -> None:
    for table, triggers in TRIGGERS.items():
        for trigger in triggers:
            op.execute(f"DROP TRIGGER {trigger} ON {table}")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION IF EXISTS {function}")
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table}")
