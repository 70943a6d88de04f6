"""What two sides hold of one set, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sgdb.database.compare import Difference, compare_game, compare_result, conflict
from sgdb.database.sets import StoredGame, StoredResult, stored_metadata
from sgdb.records import BotPerformance, GameSnapshot


def game_differences(ours: GameSnapshot, theirs: GameSnapshot) -> list[Difference]:
    """How two records of one game differ; usually not at all."""
    if ours == theirs:
        return []
    return compare_game(ours, StoredGame(0, theirs.game_id, theirs.board, theirs.seed, theirs.metadata, None))


def result_differences(bot: str, ours: BotPerformance, theirs: BotPerformance) -> list[Difference]:
    """How two records of one bot's result on one game differ; usually not at all."""
    if ours == theirs:
        return []
    return compare_result(
        bot, ours, StoredResult(*theirs[1:6], stored_metadata(bot, theirs), source_file_id=None)
    )


def require_equal_games(
    given: Iterable[GameSnapshot], there: Mapping[int, GameSnapshot], holder: str
) -> None:
    """Raises ConflictError where a given game is there with another value."""
    found = [
        difference
        for game in given
        if game.game_id in there
        for difference in game_differences(game, there[game.game_id])
    ]
    if found:
        raise conflict(found, holder, "given")


def require_equal_results(
    bot: str, given: Iterable[BotPerformance], there: Mapping[int, BotPerformance], holder: str
) -> None:
    """Raises ConflictError where a given result is there with another value."""
    found = [
        difference
        for row in given
        if row.game_id in there
        for difference in result_differences(bot, row, there[row.game_id])
    ]
    if found:
        raise conflict(found, holder, "given")
