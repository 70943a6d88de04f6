"""Sets as somebody else might store them, past every check of sgdb's, and plain SQL to read them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hypothesis import strategies as st
from sqlalchemy import Engine, text

from sgdb.records import BenchmarkData, BotPerformance, GameConfig, GameSnapshot

CONFIG = GameConfig(2, 3, 4)
_INT32 = 2**31 - 1
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
_INDEXES = st.one_of(st.integers(0, 12), st.integers(0, _INT32))
_BOARDS = st.one_of(
    st.sampled_from(
        [
            "[[1,2,3],[3,2,1]]",
            " [ [1, 2,\t3],\r\n[3,2,1] ]\n",
            "[]",
            "[[7]]",
            '["\\u00e9 é \\u0001", {"a": 1e400}]',
            json.dumps([[1] * 200] * 200),
        ]
    ),
    st.lists(st.lists(st.integers(-5, 10**20), max_size=3), max_size=3).map(json.dumps),
)
_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.sampled_from([0.5, -1.25, 1e-7]),  # jsonb keeps numbers, and forgets how they were written
        _TEXT,
        st.just({"$float": "nan"}),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(_TEXT, inner, max_size=2)),
    max_leaves=4,
)
_METADATA = st.one_of(
    st.none(),
    st.none(),
    st.just({}),
    st.just({"origin": "regenerated"}),
    st.dictionaries(
        st.one_of(st.sampled_from(["origin", "attributes", "bot_name"]), _TEXT), _VALUES, max_size=3
    ),
)
_BOTS = st.one_of(st.sampled_from(["B", "a", "é", "Z", "'; --", "%s", "b c\n\x01"]), _TEXT)
_COUNTS = st.one_of(st.integers(0, 40), st.integers(0, _INT32))


class Result(NamedTuple):
    """A results row, with its game's index and its bot's name."""

    bot: str
    index: int
    tiles: int
    singles: int
    moves: int
    completed: bool
    milliseconds: float | None
    metadata: Any


class OddSet(NamedTuple):
    """Rows in the order they are stored in: index, board, seed and metadata of games, then results."""

    num_games: int
    games: list[tuple[int, str, int | None, Any]]
    results: list[Result]


@st.composite
def odd_sets(draw: st.DrawFn) -> OddSet:
    """A set with gaps, or without games, stored in any order."""
    indexes = draw(st.lists(_INDEXES, unique=True, max_size=12))
    seeds = st.none() | st.integers(-(2**63), 2**63 - 1)
    games = [(index, draw(_BOARDS), draw(seeds), draw(_METADATA)) for index in indexes]
    pairs = st.tuples(_BOTS, st.sampled_from(indexes or [0]))
    chosen = draw(st.lists(pairs, unique=True, max_size=20 if indexes else 0))
    results = [
        Result(
            *pair,
            *(draw(_COUNTS) for _ in range(3)),
            draw(st.booleans()),
            draw(st.none() | st.floats(0, 1e9)),
            draw(_METADATA),
        )
        for pair in chosen
    ]
    return OddSet(draw(st.integers(0, 20)), games, results)


def store(engine: Engine, base_seed: int, odd: OddSet) -> int:
    """Stores it with plain SQL; returns the set's id."""
    with engine.begin() as connection:

        def run(statement: str, **values: Any) -> Any:
            return connection.execute(text(statement), values)

        run(
            "INSERT INTO game_configs (num_rows, num_cols, num_colors) VALUES (:rows, :cols, :colors)"
            " ON CONFLICT DO NOTHING",
            rows=CONFIG.num_rows,
            cols=CONFIG.num_cols,
            colors=CONFIG.num_colors,
        )
        set_id: int = run(
            "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed)"
            " SELECT 'odd', id, :num_games, :base_seed FROM game_configs"
            " WHERE (num_rows, num_cols, num_colors) = (:rows, :cols, :colors) RETURNING id",
            num_games=odd.num_games,
            base_seed=base_seed,
            rows=CONFIG.num_rows,
            cols=CONFIG.num_cols,
            colors=CONFIG.num_colors,
        ).scalar_one()
        for index, board, seed, metadata in odd.games:
            run(
                "INSERT INTO games (benchmark_set_id, game_index, board_state, seed, metadata) VALUES"
                " (:set_id, :index, CAST(:board AS json), :seed, CAST(:metadata AS jsonb))",
                set_id=set_id,
                index=index,
                board=board,
                seed=seed,
                metadata=None if metadata is None else json.dumps(metadata),
            )
        for result in odd.results:
            run("INSERT INTO bots (name) VALUES (:bot) ON CONFLICT DO NOTHING", bot=result.bot)
            run(
                "INSERT INTO game_results (game_id, bot_id, tiles_cleared, singles_remaining, moves_made,"
                " completed, execution_time_ms, metadata)"
                " SELECT g.id, b.id, :tiles, :singles, :moves, :completed, :milliseconds,"
                " CAST(:metadata AS jsonb) FROM games g, bots b"
                " WHERE g.benchmark_set_id = :set_id AND g.game_index = :index AND b.name = :bot",
                set_id=set_id,
                **{
                    **result._asdict(),
                    "metadata": None if result.metadata is None else json.dumps(result.metadata),
                },
            )
    return set_id


def expected(odd: OddSet, base_seed: int, start: int = 0, stop: int | None = None) -> BenchmarkData:
    """What a storage has to make of the part of it from game `start` up to but without `stop`."""

    def within(index: int) -> bool:
        return start <= index and (stop is None or index < stop)

    games = [
        GameSnapshot(index, board, seed, _without(metadata, "origin"))
        for index, board, seed, metadata in sorted(odd.games, key=lambda game: game[0])
        if within(index)
    ]
    results: dict[str, list[BotPerformance]] = {}
    for row in sorted(odd.results, key=lambda row: (row.bot, row.index)):
        if within(row.index):
            name = (row.metadata or {}).get("bot_name", row.bot)
            kept = _without(row.metadata, "bot_name")
            results.setdefault(row.bot, []).append(BotPerformance(name, *row[1:6], kept))
    return BenchmarkData(games, results, CONFIG, odd.num_games, base_seed)


def _without(metadata: dict[str, Any] | None, name: str) -> dict[str, Any] | None:
    return {key: value for key, value in (metadata or {}).items() if key != name} or None


def exact(value: Any) -> str:
    """Text that tells apart what compares equal: 1, 1.0 and True, rows and lists, one order of bots and
    another; not the order of keys in metadata, the bot's name among them, which jsonb has forgotten."""
    if isinstance(value, GameSnapshot | BotPerformance):
        return f"{type(value).__name__} {json.dumps(value, sort_keys=True)}"
    if isinstance(value, BenchmarkData):
        return (
            f"{exact(value.games)} {exact(value.results)} {value.config} {value.num_games} {value.base_seed}"
        )
    if isinstance(value, dict):
        return "\n".join(f"{key!r}: {exact(rows)}" for key, rows in value.items())
    if isinstance(value, list):
        return "\n".join(map(exact, value))
    return repr(value)
