"""`query bot-performance` on twenty million results, against twenty thousand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from benchmarks import raw
from benchmarks.figures import Figure, compared, measured
from benchmarks.place import Place
from benchmarks.timing import in_turn, simply
from sgdb.operations.performance import BotPerformanceOptions, bot_performance
from sgdb.settings import Settings

_TIMES = 5
_DURATION = re.compile(r"duration: ([0-9.]+) ms")
_SERVER_SECONDS = 0.005
_MORE_RESULTS = (
    "INSERT INTO game_results (game_id, bot_id, tiles_cleared, singles_remaining, moves_made, completed)"
    " SELECT id, %(bot)s, (id * 7 + %(bot)s) %% 26, id %% 5, 1 + (id + %(bot)s) %% 12, id %% 3 = 0 FROM games"
)


def measure(place: Place) -> Iterator[Figure]:
    """In process, connecting included; and what of it the server needs."""
    bots = place.effort.large_bots
    small = place.filled(place.small_of_large)
    assert small.database_url is not None
    large = place.filled(place.large_pickle)
    _add_bots(large, bots)
    rows = bot_performance(BotPerformanceOptions(), large)
    assert [row["games"] for row in rows] == [place.effort.large_games] * bots
    turns = in_turn(
        simply(lambda: bot_performance(BotPerformanceOptions(), large)),
        simply(lambda: bot_performance(BotPerformanceOptions(), small)),
        place.effort.turns,
        times=_TIMES,
    )
    results, few = bots * place.effort.large_games, 2 * place.effort.games
    yield compared(
        f"query bot-performance, {results:,} results", f"the same, {few:,} results", turns, at_most=1.5
    )
    yield measured(
        f"query bot-performance, {results:,} results: on the server, at most {1000 * _SERVER_SECONDS:.0f} ms",
        [_on_server(large, place) for _ in range(place.effort.turns)],
        at_most=_SERVER_SECONDS,
    )


def _add_bots(settings: Settings, bots: int) -> None:
    """Gives the set results of more bots, as many as it has games each; afterwards as sgdb would have it."""
    with raw.connected(settings, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'game_results'::regclass AND NOT tgisinternal"
        )
        own = [name for (name,) in cursor.fetchall()]
        for name in own:  # they count, so they work also where the keys are not checked
            cursor.execute(f'ALTER TABLE game_results ENABLE ALWAYS TRIGGER "{name}"')
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET synchronous_commit = off")
        for number in range(2, bots):
            cursor.execute("INSERT INTO bots (name) VALUES (%s) RETURNING id", [f"Bot{number:02}"])
            cursor.execute(_MORE_RESULTS, {"bot": cursor.fetchone()[0]})
        for name in own:
            cursor.execute(f'ALTER TABLE game_results ENABLE TRIGGER "{name}"')
        cursor.execute("VACUUM (ANALYZE)")


def _on_server(settings: Settings, place: Place) -> float:
    """The seconds of all statements that one call sends, as the server logs them."""
    log = place.home / "server.log"
    with raw.connected(settings, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        (name,) = cursor.fetchone()
        cursor.execute(f'ALTER DATABASE "{name}" SET log_min_duration_statement = 0')
        begin = log.stat().st_size
        bot_performance(BotPerformanceOptions(), settings)
        with log.open("rb") as file:
            file.seek(begin)
            said = file.read().decode("utf-8", "replace")
        cursor.execute(f'ALTER DATABASE "{name}" RESET log_min_duration_statement')
    durations = [float(found) for found in _DURATION.findall(said)]
    assert durations, "the server has logged no statement"
    return sum(durations) / 1000
