"""Bots as another database knows them: type, version and metadata, beside the name.

Works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects.postgresql import insert as upsert

from sgdb.database.compare import Difference, conflict, same_json
from sgdb.database.ids import IdSource
from sgdb.database.models import Bot


class BotRow(NamedTuple):
    """What is known of a bot."""

    name: str
    bot_type: str | None
    version: str | None
    metadata: dict[str, Any] | None


def add_bots(
    connection: Connection, ids: IdSource, bots: Mapping[str, BotRow], make_source: Callable[[], int]
) -> None:
    """Makes those of these bots that are not there yet. Raises ConflictError where one is there with other
    values. `make_source` gives the id in source_files that new rows bear; it is called when one is needed."""
    new = sorted(bots.keys() - _stored(connection, bots).keys())  # in one order: no two wait in a circle
    if new:
        source = make_source()
        rows = [
            {**bots[name]._asdict(), "id": bot_id, "source_file_id": source}
            for name, bot_id in zip(new, ids.take(connection, "bots", len(new)), strict=True)
        ]
        table = cast("Table", Bot.__table__)
        connection.execute(upsert(table).on_conflict_do_nothing(index_elements=["name"]), rows)
    # Also of those that were new: another command may have made them meanwhile.
    there = _stored(connection, bots)
    differences = [
        Difference(None, name, field, getattr(ours, field), getattr(there[name], field))
        for name, ours in bots.items()
        for field in ("bot_type", "version", "metadata")
        if not same_json(getattr(ours, field), getattr(there[name], field))
    ]
    if differences:
        raise conflict(differences, "database")


def _stored(connection: Connection, bots: Mapping[str, BotRow]) -> dict[str, BotRow]:
    query = select(Bot.name, Bot.bot_type, Bot.version, Bot.metadata_).where(Bot.name.in_(list(bots)))
    return {row[0]: BotRow(*row) for row in connection.execute(query)}
