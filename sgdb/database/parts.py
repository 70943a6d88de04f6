"""Parts of a set in one statement each: it finds the set and reads the rows, so all are of one moment.

For parts of which every row may lie in memory at once; `reading` is for others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sgdb.database.direct import Question
from sgdb.database.reading import MOST_CHARACTERS
from sgdb.database.sets import performance, snapshot
from sgdb.records import BenchmarkData, BotPerformance, GameConfig, GameSnapshot

Ask = Callable[[Question, Mapping[str, Any]], list[Any]]
_MOST_GAMES = 1000
_BEYOND = 2**31  # no game has this index: its column is an integer

# The same choice as that of `sets.find_set`.
_SET = """
SELECT s.id, s.num_games FROM benchmark_sets s JOIN game_configs c ON c.id = s.config_id
WHERE c.num_rows = %(rows)s AND c.num_cols = %(cols)s AND c.num_colors = %(colors)s
  AND s.base_seed = %(base_seed)s
ORDER BY s.num_games DESC, s.id LIMIT 1"""
_SET_TYPES = dict.fromkeys(("rows", "cols", "colors", "base_seed"), "bigint")
_RANGE_TYPES = {**_SET_TYPES, "start": "bigint", "stop": "bigint"}
_WHERE = """
WHERE g.benchmark_set_id = (SELECT found.id FROM found)
  AND g.game_index >= %(start)s AND g.game_index < %(stop)s"""
# OFFSET has the server look up game by game: it does not know how few they are, and would join whole tables.
_RESULTS = """(
SELECT r.bot_id, r.tiles_cleared, r.singles_remaining, r.moves_made, r.completed, r.metadata
FROM game_results r WHERE r.game_id = g.id{} OFFSET 0) r"""
_OF_BOT = _RESULTS.format(" AND r.bot_id = b.id")

_EXISTENCE = Question(_SET, _SET_TYPES)
# Each revision is new with every change of the rows that it stands for.
_REVISION = Question(
    f"WITH found AS ({_SET})\n"  # noqa: S608 - no outside text
    "SELECT found.id, found.num_games,"
    " (SELECT CAST(revision AS text) FROM game_totals WHERE benchmark_set_id = found.id),"
    " (SELECT CAST(json_agg(json_build_array(b.name, t.revision) ORDER BY b.id) AS text)"
    " FROM result_totals t JOIN bots b ON b.id = t.bot_id WHERE t.benchmark_set_id = found.id) FROM found",
    _SET_TYPES,
)
_GAMES = Question(
    f"WITH found AS ({_SET})\n"
    "SELECT g.game_index, CAST(g.board_state AS text), g.seed, g.metadata"
    f" FROM games g{_WHERE} ORDER BY g.game_index",
    _RANGE_TYPES,
)
_ONE_BOT = Question(
    f"WITH found AS ({_SET})\n"
    "SELECT g.game_index, r.tiles_cleared, r.singles_remaining, r.moves_made, r.completed, r.metadata"
    f" FROM bots b CROSS JOIN games g CROSS JOIN LATERAL {_OF_BOT}{_WHERE}"
    " AND b.name = %(bot)s ORDER BY g.game_index",
    {**_RANGE_TYPES, "bot": "text"},
)


def _whole_part(results: str, types: Mapping[str, str]) -> Question:
    """The set, then its games, then results on them, each marked by its first column."""
    return Question(
        f"WITH found AS MATERIALIZED ({_SET}), part AS MATERIALIZED (\n"  # noqa: S608 - no outside text
        f"SELECT g.id, g.game_index, g.board_state, g.seed, g.metadata FROM games g{_WHERE})\n"
        "SELECT 0, CAST(NULL AS text), num_games, CAST(NULL AS bigint), CAST(NULL AS integer),"
        " CAST(NULL AS integer), CAST(NULL AS boolean), CAST(NULL AS text), CAST(NULL AS jsonb) FROM found\n"
        "UNION ALL SELECT 1, NULL, g.game_index, g.seed, NULL, NULL, NULL, CAST(g.board_state AS text),"
        " g.metadata FROM part g\n"
        "UNION ALL SELECT 2, b.name, g.game_index, r.tiles_cleared, r.singles_remaining, r.moves_made,"
        f" r.completed, NULL, r.metadata FROM {results}",
        types,
    )


_PART = _whole_part(
    f"part g CROSS JOIN LATERAL {_RESULTS.format('')} JOIN bots b ON b.id = r.bot_id", _RANGE_TYPES
)
_PART_OF_BOTS = _whole_part(
    f"bots b CROSS JOIN part g CROSS JOIN LATERAL {_OF_BOT} WHERE b.name = ANY (CAST(%(bots)s AS text[]))",
    {**_RANGE_TYPES, "bots": "text[]"},
)


class Revision(NamedTuple):
    """Which state of which set. Of one set's states no two have the same, whatever was changed in between."""

    set_id: int
    num_games: int
    games: str | None
    results: str | None


class Parts:
    """The small parts of one set. `ask` gets the answer to a question; `start` and `stop` are as `small`
    gives them."""

    def __init__(self, ask: Ask, config: GameConfig, base_seed: int) -> None:
        self._ask = ask
        self._config = config
        self._base_seed = base_seed
        self._set = {
            "rows": config.num_rows,
            "cols": config.num_cols,
            "colors": config.num_colors,
            "base_seed": base_seed,
        }
        cells = config.num_rows * config.num_cols
        self._most = min(_MOST_GAMES, MOST_CHARACTERS // (2 * cells + 2))

    def small(self, start: int, stop: int | None) -> tuple[int, int] | None:
        """Where the games from `start` up to but without `stop` begin and end, if they may be asked for here;
        None if they may be too many, or too large."""
        if stop is None or stop - max(start, 0) > self._most:
            return None
        # In bounds: the server would refuse a larger number rather than find no game.
        return min(max(start, 0), _BEYOND), min(max(stop, 0), _BEYOND)

    def exists(self) -> bool:
        """Whether the set is there."""
        return bool(self._ask(_EXISTENCE, self._set))

    def revision(self) -> Revision | None:
        """The state that the set is in; None without a set."""
        rows = self._ask(_REVISION, self._set)
        return Revision(*rows[0]) if rows else None

    def games(self, start: int, stop: int) -> list[GameSnapshot]:
        """The games, by index; none without a set."""
        return [snapshot(row) for row in self._ask(_GAMES, self._range(start, stop))]

    def results(self, bot: str, start: int, stop: int) -> list[BotPerformance]:
        """One bot's results on the games, by index."""
        rows = self._ask(_ONE_BOT, {**self._range(start, stop), "bot": bot})
        return [performance(bot, row) for row in rows]

    def whole(self, bots: Sequence[str] | None, start: int, stop: int) -> BenchmarkData | None:
        """The games, and the results that these bots (None: all) have on them; None without a set."""
        asked = self._range(start, stop)
        rows = (
            self._ask(_PART, asked) if bots is None else self._ask(_PART_OF_BOTS, {**asked, "bots": [*bots]})
        )
        if not rows:
            return None
        # By kind, then the bot's name, then the game's index.
        (_, _, num_games, *_), *rows = sorted(rows, key=lambda row: (row[0], row[1] or "", row[2]))
        games = [snapshot((row[2], row[7], row[3], row[8])) for row in rows if row[0] == 1]
        results: dict[str, list[BotPerformance]] = {}
        for row in rows[len(games) :]:
            results.setdefault(row[1], []).append(performance(row[1], (*row[2:7], row[8])))
        return BenchmarkData(games, results, self._config, num_games, self._base_seed)

    def _range(self, start: int, stop: int) -> dict[str, int]:
        return {**self._set, "start": start, "stop": stop}
