"""Recorded games played again: what comes out the same is found to, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.benchmark.judging import OLDEST_GREEDY, judge
from sgdb.benchmark.replay import NO_BOARD, OLDER_RANDOM, BotReplay, Replay, replay
from sgdb.database.engine import transaction
from sgdb.database.recorded import recorded_results
from sgdb.game.bots import Bot, GreedySinglesBot, LargestGroupBot, RandomBot
from sgdb.game.play import Outcome, play
from sgdb.game.rules import Board, candidates
from sgdb.progress import Silent
from sgdb.records import BenchmarkData, BotPerformance, GameConfig, GameSnapshot
from sgdb.settings import Settings
from sgdb.storage import PostgresStorage
from sgdb.testing.data import first_games
from tests.steps import Listener, migrate, tamper

SHAPE = GameConfig(5, 4, 3)


class RunningBot:
    """A RandomBot of an older kind: one stream for all games."""

    name = "RandomBot"

    def __init__(self) -> None:
        self._draw = Random(3)

    def select_action(self, board: Board) -> tuple[int, int] | None:
        found = candidates(board)
        return self._draw.choice(found) if found else None


def results(bot: Bot, games: list[GameSnapshot], limit: int = 100) -> list[BotPerformance]:
    """What the benchmark system records when this bot plays these games."""
    return [
        BotPerformance(bot.name, game.game_id, *play(game.cells, bot, move_limit=limit)) for game in games
    ]


class Sets:
    """Saves results, and plays them again."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine

    def save(
        self,
        rows: dict[str, list[BotPerformance]],
        games: list[GameSnapshot] | None = None,
        shape: GameConfig = SHAPE,
        base_seed: int = 42,
    ) -> None:
        games = games if games is not None else []
        data = BenchmarkData(games, rows, shape, len(games), base_seed)
        with PostgresStorage(self._settings, shape, base_seed) as storage:
            storage.save_data(data)

    def replay(self, **options: Any) -> Replay:
        with transaction(self._engine, read_only=True) as connection:
            return replay(connection, options.pop("progress", Silent()), **options)

    def only(self, **options: Any) -> BotReplay:
        (bot,) = self.replay(**options).bots
        return bot


@pytest.fixture
def sets(settings: Settings, engine: Engine) -> Sets:
    """An empty database."""
    return Sets(settings, engine)


def test_every_bot_is_accounted_for(sets: Sets) -> None:
    """Whoever played is known by the rows' own name; who is unknown is said, and says nothing about rules."""
    games = first_games(SHAPE, 42, 12)
    largest, trained = results(LargestGroupBot(), games), "My net_20250101_120000_0123abcd"
    strange = [row._replace(bot_name="Strange") for row in largest]
    sets.save(
        {
            "LargestGroupBot": largest,
            "GreedySinglesBot": results(GreedySinglesBot(), games)[:5],
            "RandomBot": results(RandomBot(), games),
            "Mine": largest,
            "Strange": strange,
            "Alias": strange,
            trained: [row._replace(bot_name=trained) for row in largest],
        }
    )
    found = sets.replay()
    assert (found.equal, found.different, found.not_replayable) == (12 + 5 + 12 + 12, 0, 36)
    assert [(bot.bot, bot.replayed, dict(bot.not_replayable)) for bot in found.bots] == [
        ("Alias", 0, {"unknown bot 'Strange', which is the name that the results bear": 12}),
        ("GreedySinglesBot", 5, {}),
        ("LargestGroupBot", 12, {}),
        ("Mine", 12, {}),
        (trained, 0, {"unknown bot (a trained agent)": 12}),
        ("RandomBot", 12, {}),
        ("Strange", 0, {"unknown bot": 12}),
    ]
    assert sets.replay(set_ids=[]).bots == []


BOTS = (LargestGroupBot(), GreedySinglesBot(), RandomBot())


def test_another_value_is_found(sets: Sets) -> None:
    """In any field, with game, what is recorded and what came out; every one is counted, few are kept."""
    games = first_games(SHAPE, 42, 12)
    right = {bot.name: results(bot, games) for bot in BOTS}
    wrong = {name: list(rows) for name, rows in right.items()}
    for rows in wrong.values():
        for at, field in enumerate(Outcome._fields[:3], 7):
            rows[at] = rows[at]._replace(**{field: getattr(rows[at], field) + 1})
        rows[10] = rows[10]._replace(completed=not rows[10].completed)
    sets.save(wrong)
    for found in sets.replay(most_examples=2).bots:
        assert (found.equal, found.different, len(found.examples)) == (8, 4, 2)
        assert found.examples[0].to_json() == {
            "benchmark_set_id": 1,
            "game_id": 7,
            "recorded": Outcome(*wrong[found.bot][7][2:6])._asdict(),
            "replayed": Outcome(*right[found.bot][7][2:6])._asdict(),
        }
    for found in sets.replay().bots:
        assert [example.game_id for example in found.examples] == [7, 8, 9, 10]


BIG = GameConfig(22, 22, 12)


def test_the_move_limit_is_found(sets: Sets) -> None:
    """The known ones, and any other that a bot's results in a set speak for."""
    for seed, (shape, limit) in enumerate([(SHAPE, 2), (BIG, 100), (BIG, 500)]):
        games = first_games(shape, seed, 2)
        endless = results(LargestGroupBot(), games, 10_000)
        assert all(row.moves_made > min(limit, 100) for row in endless)
        sets.save({"LargestGroupBot": results(LargestGroupBot(), games, limit)}, shape=shape, base_seed=seed)
    found = sets.only()
    assert (found.equal, found.different, found.move_limits) == (6, 0, {2: 2, 100: 2, 500: 2})


def test_two_limits_in_one_set_and_a_game_that_was_broken_off(sets: Sets) -> None:
    """A set that was enlarged later has both; a game that stops where no limit is, is another game."""
    games = first_games(BIG, 42, 3)
    rows = results(LargestGroupBot(), games[:1], 500) + results(LargestGroupBot(), games[1:2])
    broken = results(LargestGroupBot(), games[2:], 60)
    sets.save({"LargestGroupBot": rows + broken}, shape=BIG)
    found = sets.only()
    assert (found.equal, found.different, found.move_limits) == (2, 1, {500: 1, 100: 1})
    assert [(each.game_id, each.recorded, each.played.moves_made) for each in found.examples] == [
        (2, Outcome(*broken[0][2:6]), 100)
    ]
    # The sample is the game that was broken off: that others have more moves is known without playing them.
    assert [each.game_id for each in sets.only(sample=1).examples] == [2]


def test_the_oldest_greedy_bot_is_recognised(sets: Sets) -> None:
    """It is said, and not called different; a result of neither kind still is."""
    shape = GameConfig(2, 7, 3)
    games = first_games(shape, 42, 150)
    old, new = (results(GreedySinglesBot(count_empty=each), games) for each in (True, False))
    unlike = sum(one != other for one, other in zip(old, new, strict=True))
    assert unlike
    at = next(at for at, (one, other) in enumerate(zip(old, new, strict=True)) if one == other)
    old[at] = old[at]._replace(tiles_cleared=1000)
    sets.save({"GreedySinglesBot": old}, shape=shape)
    found = sets.only()
    assert (found.equal, found.different, found.kinds) == (149, 1, {OLDEST_GREEDY: unlike})
    assert found.examples[0].game_id == at


def test_a_random_bot_of_an_older_kind_is_no_difference(sets: Sets) -> None:
    """All results of a set decide together; those that come out the same by chance prove nothing."""
    games = first_games(SHAPE, 42, 30)
    old, new = results(RunningBot(), games), results(RandomBot(), games)
    by_chance = sum(one == other for one, other in zip(old, new, strict=True))
    assert 0 < by_chance < 15
    sets.save({"RandomBot": old})
    found = sets.only()
    assert (found.replayed, found.examples, found.not_replayable) == (0, [], {OLDER_RANDOM: 30})
    sets.save({"RandomBot": results(RandomBot(), first_games(SHAPE, 7, 30))}, base_seed=7)
    found = sets.only()
    assert (found.equal, found.different, found.not_replayable) == (30, 0, {OLDER_RANDOM: 30})


def test_boards_are_played_as_stored(sets: Sets, engine: Engine) -> None:
    """Whether they follow from a seed or not, in whatever colours; what is no board is said to be none."""
    boards = ["[[0,2,2,1],[1,2,1,1],[2,2,1,2],[1,1,1,2],[2,1,2,2]]"]
    games = [GameSnapshot(number, board, None) for number, board in enumerate(boards * 5)]
    sets.save({"LargestGroupBot": results(LargestGroupBot(), games)}, games)
    tamper(engine, "UPDATE games SET board_state = '[[1000000000,1000000000]]' WHERE game_index = 1")
    tamper(
        engine,
        "UPDATE game_results SET (tiles_cleared, singles_remaining, moves_made, completed) = (2, 0, 1, true) "
        "WHERE game_id = (SELECT id FROM games WHERE game_index = 1)",
    )
    for index, board in ((2, "[[1],[2,3]]"), (3, '[{"a": 1}]'), (4, "[[1, 2.0]]")):
        tamper(engine, f"UPDATE games SET board_state = '{board}' WHERE game_index = {index}")
    found = sets.only()
    assert (found.equal, found.different, found.not_replayable) == (2, 0, {NO_BOARD: 3})
    for board in ("[]", "[[]]", "null", "5", "[[true]]", "[[-1]]", '["ab"]', "[[1,1],null]"):
        assert judge("LargestGroupBot", board, Outcome(0, 0, 0, False)) == (False, False, None, None)


def test_processes_change_nothing(sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of them find what one finds, and progress counts every game."""
    monkeypatch.setattr("sgdb.benchmark.replay._BATCH_ROWS", 7)
    games = first_games(SHAPE, 42, 50)
    rows = results(LargestGroupBot(), games)
    rows[33] = rows[33]._replace(moves_made=1)
    sets.save({"LargestGroupBot": rows, "GreedySinglesBot": results(GreedySinglesBot(), games, 4)})
    counted: list[int] = []

    class Counting(Listener):
        def advance(self, amount: int, label: str | None = None) -> None:
            counted.append(amount)

    alone, many = sets.replay(jobs=1), sets.replay(jobs=3, progress=Counting())
    assert json.dumps(alone.to_json()) == json.dumps(many.to_json())
    assert (alone.equal, alone.different, sum(counted), max(counted)) == (99, 1, 100, 7)


def test_a_sample_is_spread_evenly(sets: Sets, engine: Engine) -> None:
    """As many of each bot and set, the same ones every time; of fewer, all."""
    games = first_games(SHAPE, 42, 20)
    largest = results(LargestGroupBot(), games)
    sets.save({"LargestGroupBot": largest, "GreedySinglesBot": results(GreedySinglesBot(), games)[:3]})

    def taken(sample: int) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        with transaction(engine, read_only=True) as connection:
            for row in recorded_results(connection, ["LargestGroupBot", "GreedySinglesBot"], None, sample):
                found.setdefault(row.part.bot, []).append(row.game_id)
        return found

    assert taken(4) == {"LargestGroupBot": [4, 9, 14, 19], "GreedySinglesBot": [0, 1, 2]}
    assert taken(1) == {"LargestGroupBot": [19], "GreedySinglesBot": [2]}
    for sample in (19, 20, 10**30):
        assert {bot: len(ids) for bot, ids in taken(sample).items()} == {
            "LargestGroupBot": min(sample, 20), "GreedySinglesBot": 3,
        }  # fmt: skip
    found = sets.replay(sample=6)
    assert [(bot.results, bot.left_out, bot.equal) for bot in found.bots] == [(3, 0, 3), (20, 14, 6)]


@pytest.fixture
def real_replay(sets: Sets, settings: Settings, shared_pickles: Path | None) -> Iterator[Replay]:
    """The real files, some games of each; without them, results that stand here."""
    if shared_pickles is not None:
        migrate(settings, shared_pickles)
        yield sets.replay(sample=60)
        return
    boards = ["[[1,1],[2,1]]", "[[1,2],[2,1]]", "[[2,2],[2,2]]"]
    games = [GameSnapshot(number, board, None) for number, board in enumerate(boards)]
    outcomes = [Outcome(3, 3, 1, False), Outcome(0, 4, 0, False), Outcome(4, 0, 1, True)]
    rows = {
        bot: [BotPerformance(bot, number, *outcome) for number, outcome in enumerate(outcomes)]
        for bot in ("GreedySinglesBot", "LargestGroupBot", "MockBot", "RandomBot", "TestBot")
    }
    rows["TestBot"] = rows["MockBot"]
    sets.save(rows, games, GameConfig(2, 2, 3))
    yield sets.replay()


def test_the_real_files_come_out_the_same(real_replay: Replay) -> None:
    """Every result of a bot that sgdb has; of the others it is said why not."""
    assert real_replay.different == 0
    not_replayable = {bot.bot: bot.not_replayable for bot in real_replay.bots if bot.not_replayable}
    assert not_replayable == {
        "MockBot": {"unknown bot": 3},
        "TestBot": {"unknown bot 'MockBot', which is the name that the results bear": 3},
    }
    equal = {bot.bot: bot.equal for bot in real_replay.bots if bot.equal}
    assert equal.keys() == {"LargestGroupBot", "GreedySinglesBot", "RandomBot"}
    assert equal["RandomBot"] == 3
