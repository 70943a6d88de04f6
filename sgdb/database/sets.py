"""Finding and making benchmark sets, their configs and bots, and looking rows up by the game's index.

Everything here works inside the caller's transaction and commits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple
from typing import cast as typed

from sqlalchemy import (
    ARRAY,
    Connection,
    Integer,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from sgdb.database.ids import GameKeys, IdSource
from sgdb.database.models import BenchmarkSet, Bot, Game, GameConfigRow, GameResult
from sgdb.errors import ConflictError, NotFoundError, ValueRefusedError
from sgdb.records import BotPerformance, GameConfig, GameSnapshot, is_run

BUILT_IN_BOTS = ("LargestGroupBot", "GreedySinglesBot", "RandomBot")
# <model_name>_<YYYYMMDD>_<HHMMSS>_<8 hex of a weight hash>; the name may hold underscores itself.
_TRAINED = re.compile(
    r"(?P<model_name>.+)_(?P<trained_at>\d{8}_\d{6})_(?P<weights_hash>[0-9a-f]{8})", re.DOTALL
)
# Made once: to make a statement takes as long as to ask it, and every saving call needs these.
_FIND_SET = (
    select(BenchmarkSet.id, BenchmarkSet.num_games)
    .join(GameConfigRow, GameConfigRow.id == BenchmarkSet.config_id)
    .where(
        GameConfigRow.num_rows == bindparam("rows"),
        GameConfigRow.num_cols == bindparam("cols"),
        GameConfigRow.num_colors == bindparam("colors"),
        BenchmarkSet.base_seed == bindparam("base_seed"),
    )
    .order_by(BenchmarkSet.num_games.desc(), BenchmarkSet.id)
    .limit(1)
)
_OFFSET = Game.id - Game.game_index
# Where all games from the first to the last are there, and their keys in the same order, this says it all.
_ONE_RUN = select(
    func.count(), func.min(Game.game_index), func.max(Game.game_index), func.min(_OFFSET), func.max(_OFFSET)
).where(
    Game.benchmark_set_id == bindparam("set_id"), Game.game_index.between(bindparam("low"), bindparam("high"))
)
_FIND_BOTS = select(Bot.name, Bot.id).where(Bot.name == any_(bindparam("names", type_=ARRAY(Text))))
_new = tuple.__new__  # several times faster than a named tuple's own, and nearly all rows are as plain


class StoredGame(NamedTuple):
    """A games row as it stands in the database."""

    id: int
    game_index: int
    board: str
    seed: int | None
    metadata: dict[str, Any] | None
    source_file_id: int | None

    @property
    def snapshot(self) -> GameSnapshot:
        """The game as a record; how its board came into the database is no part of it."""
        return snapshot(self[1:5])


class StoredResult(NamedTuple):
    """A game_results row as it stands in the database, with its game's index."""

    game_index: int
    tiles_cleared: int
    singles_remaining: int
    moves_made: int
    completed: bool
    metadata: dict[str, Any] | None
    source_file_id: int | None
    execution_time_ms: float | None = None

    def performance(self, key: str) -> BotPerformance:
        """The result as a record; `key` is the bot that it is filed under."""
        return performance(key, self[:6])


def snapshot(row: tuple[int, str, int | None, dict[str, Any] | None]) -> GameSnapshot:
    """The record of a game: index, board, seed and metadata as stored. Raises ValueRefusedError for metadata
    that somebody else has stored and that are no object."""
    index, board, seed, metadata = row
    if metadata is None:
        return _new(GameSnapshot, row)
    kept = _object(metadata, f"game {index}")
    kept.pop("origin", None)
    return GameSnapshot(index, board, seed, kept or None)


def performance(key: str, row: tuple[int, int, int, int, bool, dict[str, Any] | None]) -> BotPerformance:
    """The record of a result that is filed under `key`: the game's index, then the row's columns. Raises
    ValueRefusedError as `snapshot` does."""
    if row[5] is None:
        return _new(BotPerformance, (key, *row))
    kept = _object(row[5], f"bot {key!a}, game {row[0]}")
    name = kept.pop("bot_name", key)
    return BotPerformance(name, *row[:5], kept or None)


def _object(metadata: Any, where: str) -> dict[str, Any]:
    if not isinstance(metadata, dict):
        raise ValueRefusedError(f"{where}: metadata {metadata!a:.80} are no object, but stored as metadata")
    return dict(metadata)


def find_set(connection: Connection, config: GameConfig, base_seed: int) -> tuple[int, int] | None:
    """Id and num_games of the set with this config and base seed; of several, the largest."""
    wanted = {
        "rows": config.num_rows,
        "cols": config.num_cols,
        "colors": config.num_colors,
        "base_seed": base_seed,
    }
    row = connection.execute(_FIND_SET, wanted).first()
    return (row.id, row.num_games) if row else None


def make_set(
    connection: Connection,
    ids: IdSource,
    config: GameConfig,
    base_seed: int,
    num_games: int,
    source_file_id: int,
) -> int:
    """A new benchmark set, and its config if that is new too; returns its id. Raises ConflictError."""
    (set_id,) = ids.take(connection, "benchmark_sets", 1)
    connection.execute(
        insert(BenchmarkSet).values(
            id=set_id,
            name=f"{config} seed {base_seed}",
            config_id=find_or_make_config(connection, ids, config, source_file_id),
            num_games=num_games,
            base_seed=base_seed,
            source_file_id=source_file_id,
        )
    )
    return set_id


def extend_set(connection: Connection, set_id: int, num_games: int) -> None:
    """Raises the set's declared size."""
    connection.execute(update(BenchmarkSet).where(BenchmarkSet.id == set_id).values(num_games=num_games))


def find_or_make_config(
    connection: Connection, ids: IdSource, config: GameConfig, source_file_id: int | None
) -> int:
    """The id of the config, which is made if it is new. Raises ConflictError."""
    same = and_(
        GameConfigRow.num_rows == config.num_rows,
        GameConfigRow.num_cols == config.num_cols,
        GameConfigRow.num_colors == config.num_colors,
    )
    find = select(GameConfigRow.id).where(same)
    found = connection.execute(find).scalar()
    if found is not None:
        return found
    (config_id,) = ids.take(connection, "game_configs", 1)
    connection.execute(
        upsert(GameConfigRow)
        .values(
            id=config_id,
            num_rows=config.num_rows,
            num_cols=config.num_cols,
            num_colors=config.num_colors,
            name=str(config),
            source_file_id=source_file_id,
        )
        .on_conflict_do_nothing()
    )
    found = connection.execute(find).scalar()
    if found is None:
        raise ConflictError(
            f"the database has a board config named {str(config)!a} with other numbers",
            hint="see table game_configs: sgdb itself never changes a row there",
        )
    return found


def find_bots(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The ids of those of these bots that exist."""
    return {row.name: row.id for row in connection.execute(_FIND_BOTS, {"names": list(names)})}


def make_bots(
    connection: Connection,
    ids: IdSource,
    names: Sequence[str],
    source_file_id: int,
    *,
    bot_type: str | None = None,
) -> None:
    """Makes the bots that do not exist yet; in order of name, so that two writers never wait in a circle.
    `bot_type` is theirs where it is known, and otherwise what a name tells."""
    rows = []
    for name, bot_id in zip(sorted(names), ids.take(connection, "bots", len(names)), strict=True):
        told, metadata = describe_bot(name)
        rows.append(
            {
                "id": bot_id,
                "name": name,
                "bot_type": bot_type or told,
                "metadata": metadata,
                "source_file_id": source_file_id,
            }
        )
    if rows:
        bots = typed("Table", Bot.__table__)
        connection.execute(upsert(bots).on_conflict_do_nothing(index_elements=["name"]), rows)


def describe_bot(name: str) -> tuple[str | None, dict[str, Any] | None]:
    """Type and metadata that a bot's name tells: names are all that the old system records."""
    if name in BUILT_IN_BOTS:
        return "rule_based", None
    trained = _TRAINED.fullmatch(name)
    return ("dqn", trained.groupdict()) if trained else (None, None)


def stored_metadata(key: str, row: BotPerformance) -> dict[str, Any] | None:
    """The metadata of a result: its further attributes, and its own bot name where that is not the key."""
    if row.bot_name == key:
        return row.metadata
    return (row.metadata or {}) | {"bot_name": row.bot_name}


def _between(column: Any, indexes: Sequence[int]) -> Any:
    """A condition for these indexes; a range where they are consecutive."""
    low, high = min(indexes), max(indexes)
    return (
        column.between(low, high)
        if high - low + 1 == len(indexes)
        else column == any_(bindparam("indexes", list(indexes), ARRAY(Integer)))
    )


def fetch_games(connection: Connection, set_id: int, indexes: Sequence[int]) -> dict[int, StoredGame]:
    """Those of these games that the set has, by index."""
    rows = connection.execute(
        select(
            Game.id,
            Game.game_index,
            cast(Game.board_state, Text),
            Game.seed,
            Game.metadata_,
            Game.source_file_id,
        ).where(Game.benchmark_set_id == set_id, _between(Game.game_index, indexes))
    )
    return {row.game_index: StoredGame(*row) for row in rows}


def fetch_results(
    connection: Connection, set_id: int, bot_id: int, indexes: Sequence[int]
) -> dict[int, StoredResult]:
    """Those of one bot's results on these games that the set has, by the game's index."""
    rows = connection.execute(
        select(
            Game.game_index,
            GameResult.tiles_cleared,
            GameResult.singles_remaining,
            GameResult.moves_made,
            GameResult.completed,
            GameResult.metadata_,
            GameResult.source_file_id,
            GameResult.execution_time_ms,
        )
        .join(Game, Game.id == GameResult.game_id)
        .where(
            Game.benchmark_set_id == set_id, GameResult.bot_id == bot_id, _between(Game.game_index, indexes)
        )
    )
    return {row.game_index: StoredResult(*row) for row in rows}


def remove_results(connection: Connection, set_id: int, bot_id: int, indexes: Sequence[int]) -> None:
    """Deletes one bot's results on these games of the set."""
    games = select(Game.id).where(Game.benchmark_set_id == set_id, _between(Game.game_index, indexes))
    connection.execute(delete(GameResult).where(GameResult.bot_id == bot_id, GameResult.game_id.in_(games)))


def fetch_keys(connection: Connection, set_id: int, indexes: Sequence[int]) -> GameKeys:
    """The primary keys of those of these games that the set has, by index: what comes of it are runs, since
    keys are drawn in such."""
    keys = GameKeys()
    if is_run(indexes):
        wanted = {"set_id": set_id, "low": indexes[0], "high": indexes[-1]}
        count, start, last, offset, last_offset = connection.execute(_ONE_RUN, wanted).one()
        if count and count == last - start + 1 and offset == last_offset:
            keys.add_run(start, range(start + offset, last + offset + 1))
            return keys
    # Of games whose keys are as far from their indexes, n consecutive ones minus their ranks are the same.
    rank = func.row_number().over(partition_by=_OFFSET, order_by=Game.game_index)
    ranked = select(Game.game_index, _OFFSET.label("offset"), (Game.game_index - rank).label("run")).where(
        Game.benchmark_set_id == set_id, _between(Game.game_index, indexes)
    )
    runs = ranked.subquery().c
    first = func.min(runs.game_index)
    rows = connection.execute(
        select(first, first + runs.offset, func.count()).group_by(runs.offset, runs.run).order_by(first)
    )
    for index, key, length in rows:
        keys.add_run(index, range(key, key + length))
    return keys


def bots_with_results(connection: Connection, set_id: int) -> list[str]:
    """The bots that have results in the set."""
    query = (
        select(Bot.name)
        .where(
            select(GameResult.id)
            .join(Game, Game.id == GameResult.game_id)
            .where(GameResult.bot_id == Bot.id, Game.benchmark_set_id == set_id)
            .exists()
        )
        .order_by(Bot.name)
    )
    return list(connection.execute(query).scalars())


def unknown_bot(bot: str, names: list[str], where: str = "") -> NotFoundError:
    """The error to raise for a bot that is none of these; `where` begins with a blank."""
    near = get_close_matches(bot, names, n=1)
    known = sorted(set(names))
    hint = (
        f"did you mean {near[0]!a}?"
        if near
        else f"known bots{where}: " + (", ".join(map(ascii, known[:10])) or "none")
    )
    return NotFoundError(f"no results of a bot named {bot!a}{where}", hint=hint)


class StoredSet(NamedTuple):
    """A benchmark_sets row with its config."""

    id: int
    config: GameConfig
    base_seed: int
    num_games: int


def describe_set(connection: Connection, set_id: int) -> StoredSet:
    """The set with this id. Raises NotFoundError."""
    row = connection.execute(
        select(
            BenchmarkSet.id,
            BenchmarkSet.base_seed,
            BenchmarkSet.num_games,
            GameConfigRow.num_rows,
            GameConfigRow.num_cols,
            GameConfigRow.num_colors,
        )
        .join(GameConfigRow, GameConfigRow.id == BenchmarkSet.config_id)
        .where(BenchmarkSet.id == set_id)
    ).first()
    if row is None:
        raise NotFoundError(f"there is no benchmark set {set_id}", hint="list them with `sgdb query sets`")
    config = GameConfig(row.num_rows, row.num_cols, row.num_colors)
    return StoredSet(row.id, config, row.base_seed, row.num_games)
