"""Made-up benchmark data: hypothesis strategies, with every oddity that a storage has to keep."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sgdb.pickles import attributes
from sgdb.records import BenchmarkData, BotPerformance, GameConfig, GameSnapshot, IdRuns
from sgdb.storage.boards import draw_games

_INT32 = 2**31 - 1
# Whatever PostgreSQL can hold: no NUL, no half of a surrogate pair.
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_NAMES = st.one_of(
    st.sampled_from(["LargestGroupBot", "Random Bot", "\\N", "a\tb\nc", "%s'; --", "\x1b[31m", "$float"]),
    _TEXT,
)
_PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), _TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(_TEXT, inner, max_size=3),
    ),
    max_leaves=5,
)


def first_games(config: GameConfig, base_seed: int, count: int) -> list[GameSnapshot]:
    """The first `count` games of a base seed."""
    return list(draw_games(config, base_seed, IdRuns([(0, count)])))


@st.composite
def metadata(draw: st.DrawFn) -> dict[str, Any] | None:
    """What else a legacy record carried; mostly nothing."""
    if draw(st.integers(0, 3)):
        return None
    found = draw(st.dictionaries(_TEXT, _PLAIN, min_size=1, max_size=2))
    return {"attributes": attributes.further(found.items(), "made up")}


@st.composite
def performances(draw: st.DrawFn, bot: str, game_ids: list[int]) -> list[BotPerformance]:
    """One bot's results on some of these games, by game id."""
    chosen = sorted(draw(st.sets(st.sampled_from(game_ids), min_size=1))) if game_ids else []
    counts = st.one_of(st.integers(0, 40), st.integers(0, _INT32))
    return [
        BotPerformance(
            bot if draw(st.integers(0, 9)) else draw(_NAMES),
            game_id,
            draw(counts),
            draw(counts),
            draw(counts),
            draw(st.booleans()),
            draw(metadata()),
        )
        for game_id in chosen
    ]


@st.composite
def benchmark_data(
    draw: st.DrawFn, config: GameConfig, base_seed: int, *, most_games: int = 8
) -> BenchmarkData:
    """A set of this shape and base seed, as `BenchmarkStorage.load_data` would give it.

    All data of one config and base seed agree on their boards.
    """
    count = draw(st.integers(0, most_games))
    games = first_games(config, base_seed, count)
    bots = draw(st.sets(_NAMES, max_size=3))
    results = {bot: draw(performances(bot, [game.game_id for game in games])) for bot in sorted(bots)}
    return BenchmarkData(
        games,
        {bot: rows for bot, rows in results.items() if rows},
        config,
        draw(st.integers(0, 2 * most_games)),
        base_seed,
    )
