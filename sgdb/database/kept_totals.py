"""Whether triggers keep the totals, which every reader of totals asks first.

Apart from `totals`, which counts: this loads no models, for which a small command would wait.
"""

from __future__ import annotations

import re
from functools import cache

from sqlalchemy import Connection, text

from sgdb.database.driver_errors import describe
from sgdb.database.revisions import scripts_folder
from sgdb.errors import SchemaError

REPAIR = "sgdb init --refresh-totals"

_KEEPING = """
    SELECT tgname FROM pg_trigger
    WHERE tgrelid IN (to_regclass('games'), to_regclass('game_results')) AND tgenabled IN ('O', 'A')
"""


def absent_triggers(connection: Connection) -> list[str]:
    """The triggers that ought to keep the totals and are not there, or disabled; reads the catalog only."""
    keeping = set(connection.scalars(text(_KEEPING)))
    wanted = re.findall(r"^CREATE OR REPLACE TRIGGER (\w+)", triggers_sql(), re.M)
    return [name for name in wanted if name not in keeping]


def require_kept(connection: Connection) -> None:
    """Returns when triggers keep the totals; else raises SchemaError, for then nobody knows whether they are
    true."""
    if absent := absent_triggers(connection):
        raise SchemaError(
            f"totals are not kept, for triggers are missing or disabled: {', '.join(absent)}"
            f" ({describe(connection.engine.url)})",
            hint=f"put them back and count anew with `{REPAIR}`",
        )


@cache
def triggers_sql() -> str:
    """The newest migration's functions and triggers."""
    newest = max((scripts_folder() / "versions").glob("*_totals.sql"))
    return newest.read_text(encoding="utf-8")
