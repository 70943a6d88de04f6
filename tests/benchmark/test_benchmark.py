"""A benchmark plays what is missing, keeps it as it comes, and touches nothing else."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.benchmark import Benchmark, InProcess, ProcessPool
from sgdb.benchmark.benchmark import BotRun
from sgdb.benchmark.keeping import DatabaseKeeper
from sgdb.benchmark.named_bots import BotSource
from sgdb.benchmark.reports import Kept, Played, Report, Task, Terms
from sgdb.benchmark.strategy import Keeper
from sgdb.errors import BotError, ConflictError, LayoutError, UsageError
from sgdb.game.bots import BUILT_IN, LargestGroupBot, RandomBot
from sgdb.game.play import play
from sgdb.operations.rollback import RollbackOptions, rollback
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.records import BotPerformance, GameConfig, GameSnapshot
from sgdb.settings import Settings, load_settings
from sgdb.storage import BenchmarkData, BenchmarkStorage, PickleStorage, PostgresStorage, open_storage
from sgdb.testing.data import first_games
from tests.benchmark import bots
from tests.steps import Listener, database_state, migrate

CONFIG = GameConfig(4, 4, 3)
GAMES = first_games(CONFIG, 42, 30)


class Listening(InProcess):
    """Plays here, writes down which games it was given, and may be interrupted after some."""

    def __init__(self) -> None:
        self.played: list[tuple[str, int]] = []
        self.interrupt_after: int | None = None

    def play(
        self, source: BotSource, games: Iterable[Task], terms: Terms, keeper: Keeper | None = None
    ) -> Generator[Report, None, None]:
        def given() -> Iterator[Task]:
            for task in games:
                if len(self.played) == self.interrupt_after:
                    raise KeyboardInterrupt
                self.played.append((str(source), task.game_id))
                yield task

        yield from super().play(source, given(), terms, keeper)


@pytest.fixture
def strategy() -> Listening:
    """The one that `run` uses."""
    return Listening()


@pytest.fixture
def storage(settings: Settings) -> Iterator[PostgresStorage]:
    """The set in the database, looked at beside the benchmark."""
    with PostgresStorage(settings, CONFIG, 42) as storage:
        yield storage


@pytest.fixture
def open_benchmark(settings: Settings, strategy: Listening) -> Iterator[Any]:
    """Benchmarks on the database that play with `strategy`."""
    opened = []

    def benchmark(num_games: int = 10, **options: Any) -> Benchmark:
        options = {"storage": "database", "settings": settings, "strategy": strategy} | options
        opened.append(Benchmark(CONFIG, num_games, **options))
        return opened[-1]

    yield benchmark
    for each in opened:
        each.close()


def played(bot: Any, game: GameSnapshot, **options: Any) -> BotPerformance:
    return BotPerformance(bot.name, game.game_id, *play(game.cells, bot, **options))


def expected(bot: Any, start: int, stop: int) -> list[BotPerformance]:
    return [played(bot, game) for game in GAMES[start:stop]]


def test_only_what_is_missing_is_played(
    open_benchmark: Any, strategy: Listening, storage: PostgresStorage
) -> None:
    """A new set, the same again, a part of it, more of it, and gaps; other bots' rows stay as they are."""
    assert open_benchmark().run_bots() == [BotRun(name, played=10) for name in BUILT_IN]
    data = storage.load_data()
    assert data is not None
    assert (data.games, data.num_games) == (GAMES[:10], 10)
    assert data.results == {bot().name: expected(bot(), 0, 10) for bot in BUILT_IN.values()}
    assert open_benchmark().run_bots("RandomBot") == [BotRun("RandomBot", there=10)]
    del strategy.played[:]
    for num_games in (10, 4):
        assert open_benchmark(num_games).run_bots() == [BotRun(name, there=num_games) for name in BUILT_IN]
    assert strategy.played == []
    storage.save_results("First", expected(bots.First(), 7, 8))
    runs = open_benchmark(15).run_bots(["RandomBot", bots.First, "RandomBot"])
    assert runs == [BotRun("RandomBot", there=10, played=5), BotRun("First", there=1, played=14)]
    assert [game for bot, game in strategy.played if bot == "RandomBot"] == [10, 11, 12, 13, 14]
    data = storage.load_data()
    assert data is not None
    assert (data.games, data.num_games) == (GAMES[:15], 15)
    assert data.results["RandomBot"] == expected(RandomBot(), 0, 15)
    assert data.results["First"] == expected(bots.First(), 0, 15)
    assert data.results["LargestGroupBot"] == expected(LargestGroupBot(), 0, 10)


def test_looking_fetches_no_more_and_stores_nothing(settings: Settings, engine: Engine) -> None:
    """Single games, parts and results; of a set that nobody has begun, the games that it would have."""
    asked: list[tuple[Any, ...]] = []

    class Watched(PostgresStorage):
        def iter_games(self, *arguments: Any) -> Iterator[GameSnapshot]:
            asked.append(arguments)
            return super().iter_games(*arguments)

        def load_results(self, *arguments: Any) -> list[BotPerformance]:
            asked.append(arguments)
            return super().load_results(*arguments)

    before = database_state(engine)
    with Watched(settings, CONFIG, 42) as storage:
        benchmark = Benchmark(CONFIG, 10, storage=storage)
        assert benchmark.get_game(7) == GAMES[7]
        assert list(benchmark.iter_games(3, 50)) == GAMES[3:10]
        with pytest.raises(UsageError, match="no game 10"):
            benchmark.get_game(10)
        assert database_state(engine) == before
        storage.save_results("First", expected(bots.First(), 0, 12))
        del asked[:]
        assert Benchmark(CONFIG, 10, storage=storage).get_game(7) == GAMES[7]
        assert benchmark.results("First") == expected(bots.First(), 0, 10)
        assert asked == [(7, 8), ("First", 0, 10)]


def test_an_interrupted_run_keeps_what_it_has(
    open_benchmark: Any, strategy: Listening, storage: PostgresStorage
) -> None:
    """Everything that was played before the interruption; the next run plays the rest, and nothing twice."""
    strategy.interrupt_after = 17
    with pytest.raises(KeyboardInterrupt):
        open_benchmark(30).run_bots()
    assert storage.load_results("LargestGroupBot") == expected(LargestGroupBot(), 0, 17)
    strategy.interrupt_after = None
    assert open_benchmark(30).run_bots(["LargestGroupBot"]) == [
        BotRun("LargestGroupBot", there=17, played=13)
    ]
    assert strategy.played == [("LargestGroupBot", game) for game in range(30)]


def test_a_failed_game_is_reported_and_not_stored(open_benchmark: Any, storage: PostgresStorage) -> None:
    """The others are; the next run tries the failed ones again, and no others."""
    odd = [game.game_id for game in GAMES if bots.chosen(game.cells)]
    runs = open_benchmark(30).run_bots([bots.Raising(), "RandomBot"])
    assert [failure.game_id for failure in runs[0].failures] == odd
    assert (runs[0].played, runs[1]) == (30 - len(odd), BotRun("RandomBot", played=30))
    assert {row.game_id for row in storage.load_results("Raising")} == {*range(30)} - {*odd}
    again = open_benchmark(30).run_bots([bots.Raising()])[0]
    assert (again.there, again.played, again.failures) == (30 - len(odd), 0, runs[0].failures)


def test_bots_are_refused_before_anything_is_played(open_benchmark: Any, engine: Engine) -> None:
    """One that cannot be made, and two under one name."""
    before = database_state(engine)
    with pytest.raises(BotError):
        open_benchmark().run_bots(["RandomBot", "tests.benchmark.bots:Broken"])
    with pytest.raises(UsageError, match="two different bots are named 'First'"):
        open_benchmark().run_bots([bots.First(), bots.First()])
    assert database_state(engine) == before


def test_moves_are_recorded_also_for_results_that_are_there(
    open_benchmark: Any, strategy: Listening, storage: PostgresStorage
) -> None:
    """Once; and not beside a result that the bot does not reach any more."""
    wrong = expected(RandomBot(), 2, 3)[0]
    other = wrong._replace(tiles_cleared=wrong.tiles_cleared - 1)
    storage.save_results("RandomBot", [*expected(RandomBot(), 0, 2), other])
    run = open_benchmark(6).run_bots(["RandomBot"], record_moves=True)[0]
    assert (run.there, run.played, run.recorded) == (2, 3, 5)
    assert [failure.game_id for failure in run.failures] == [2]
    assert f"tiles_cleared {wrong.tiles_cleared} instead of {other.tiles_cleared}" in run.failures[0].reason
    assert storage.load_results("RandomBot", 2, 3) == [other]
    recorded = storage.load_moves("RandomBot")
    assert [*recorded] == [0, 1, 3, 4, 5]
    for game_id, made in recorded.items():
        moves: list[tuple[int, int]] = []
        play(GAMES[game_id].cells, RandomBot(), moves=moves)
        assert made == moves
    del strategy.played[:]
    run = open_benchmark(6).run_bots(["RandomBot"], record_moves=True)[0]
    assert (run.there, run.played, len(run.failures)) == (5, 0, 1)
    assert strategy.played == [("RandomBot", 2)]


def test_results_that_bear_another_name_are_there(
    open_benchmark: Any, strategy: Listening, storage: PostgresStorage
) -> None:
    """Whoever reached what is filed under a bot's name: nothing is played for it, and no moves are stored
    beside it."""
    theirs = [row._replace(bot_name="Other") for row in expected(LargestGroupBot(), 0, 10)]
    storage.save_results("LargestGroupBot", theirs)
    assert open_benchmark().missing_games("LargestGroupBot") == []
    assert open_benchmark().run_bots(["LargestGroupBot"]) == [BotRun("LargestGroupBot", there=10)]
    assert strategy.played == []
    run = open_benchmark().run_bots(["LargestGroupBot"], record_moves=True)[0]
    assert (run.recorded, {failure.reason for failure in run.failures}) == (
        0,
        {"its moves are not recorded: the stored result bears the name 'Other'"},
    )
    assert storage.load_moves("LargestGroupBot") == {}
    assert storage.load_results("LargestGroupBot") == theirs


def test_the_first_to_store_a_game_has_it(open_benchmark: Any, storage: PostgresStorage) -> None:
    """Another process has stored other results of the bot meanwhile: they stay, and nobody is troubled."""
    mine = expected(bots.First(), 0, 10)
    theirs = [row._replace(singles_remaining=row.singles_remaining + 1) for row in mine[:4]]

    class Overtaken(Listening):
        def play(self, *arguments: Any, **options: Any) -> Generator[Report, None, None]:
            yield from super().play(*arguments, **options)
            storage.save_results("First", theirs)

    run = open_benchmark(strategy=Overtaken()).run_bots([bots.First()])[0]
    assert run == BotRun("First", there=4, played=6)
    assert storage.load_results("First") == theirs + mine[4:]


def test_a_set_with_boards_of_its_own_is_played_but_not_extended(
    open_benchmark: Any, storage: PostgresStorage, engine: Engine
) -> None:
    """Boards that do not follow from the base seed are played as they are; nobody knows the next one."""
    strange = GameSnapshot(0, "[[1,1,0,0],[1,1,2,2],[1,2,1,2],[1,1,2,2]]", 1)
    storage.save_data(BenchmarkData([strange], {}, CONFIG, 1, 42))
    assert open_benchmark(1).run_bots(["LargestGroupBot"])[0].played == 1
    assert storage.load_results("LargestGroupBot") == [played(LargestGroupBot(), strange)]
    before = database_state(engine)
    with pytest.raises(LayoutError, match="game 0 of the stored set 4x4x3 does not follow"):
        open_benchmark(2).run_bots(["RandomBot"])
    assert database_state(engine)["games"] == before["games"]


@pytest.fixture
def strange_set(settings: Settings, tmp_path: Path) -> list[GameSnapshot]:
    """Ten migrated games whose boards do not follow from their set's base seed. A rollback removes them."""
    games = first_games(CONFIG, 43, 10)
    with PickleStorage(tmp_path / "strange.pkl", CONFIG, 42) as pickle:
        pickle.save_data(BenchmarkData(games, {}, CONFIG, 10, 42))
    migrate(settings, tmp_path / "strange.pkl")
    return games


@pytest.mark.parametrize("who", ["run", "agent", "keeper"])
def test_results_go_with_the_boards_they_were_played_on(
    who: str,
    open_benchmark: Any,
    settings: Settings,
    storage: PostgresStorage,
    strange_set: list[GameSnapshot],
) -> None:
    """The set is removed while a bot plays: it comes back with the boards that were played, not with those
    that the seed draws."""

    class Removing(bots.First):
        name = "First"

        def select_action(self, board: Any) -> Any:
            if storage.data_exists():
                rollback(RollbackOptions(), settings)
            return super().select_action(board)

    rows = [played(bots.First(), game) for game in strange_set]
    if who == "run":
        assert open_benchmark().run_bots([Removing()])[0].played == 10
    elif who == "agent":
        assert open_benchmark().evaluate_agent(Removing(), save_results=True) == rows
    else:
        rollback(RollbackOptions(), settings)
        reports = [Played(game.game_id, play(game.cells, bots.First())) for game in strange_set]
        far = DatabaseKeeper(settings, CONFIG, 42, 10, record_moves=False)
        kept = far.keep("First", reports, [Task(*game) for game in strange_set])
        assert kept == [Kept(game.game_id, recorded=False) for game in strange_set]
    assert storage.load_data() == BenchmarkData(strange_set, {"First": rows}, CONFIG, 10, 42)


def test_results_are_not_stored_beside_another_board(
    open_benchmark: Any, settings: Settings, storage: PostgresStorage, strange_set: list[GameSnapshot]
) -> None:
    """The set has been removed and made anew while a bot played."""

    class Replacing(bots.First):
        name = "First"

        def select_action(self, board: Any) -> Any:
            if storage.bot_names() == []:
                rollback(RollbackOptions(), settings)
                storage.save_results("Other", [played(bots.First(), GAMES[9])._replace(bot_name="Other")])
            return super().select_action(board)

    with pytest.raises(ConflictError):
        open_benchmark().run_bots([Replacing()])
    assert (storage.bot_names(), [*storage.iter_games()]) == (["Other"], GAMES[:10])
    assert strange_set != GAMES[:10]


def test_an_agent_is_evaluated_here(open_benchmark: Any, storage: PostgresStorage) -> None:
    """Nothing is stored unless that is asked for; results that are there must be the same then."""
    agent = bots.First()
    assert open_benchmark().evaluate_agent(agent) == expected(agent, 0, 10)
    assert storage.load_data() is None
    assert open_benchmark().evaluate_agent(agent, save_results=True) == expected(agent, 0, 10)
    assert storage.load_results("First") == expected(agent, 0, 10)
    with pytest.raises(ConflictError):
        open_benchmark(move_limit=1).evaluate_agent(agent, save_results=True)
    assert storage.load_results("First") == expected(agent, 0, 10)
    with pytest.raises(ValueError, match="odd"):
        open_benchmark(30).evaluate_agent(bots.Raising(), save_results=True)
    assert storage.bot_names() == ["First"]


@pytest.mark.parametrize("kind", ["pickle", "dual"])
def test_other_storages(kind: str, open_benchmark: Any, settings: Settings, tmp_path: Path) -> None:
    """The same results in a pickle; with a dual storage on both sides, moves in the database."""
    both = load_settings(
        {
            "home": settings.home,
            "database_url": settings.database_url and settings.database_url.get_secret_value(),
            "pickle_dir": tmp_path / "pickles",
        }
    )
    benchmark = open_benchmark(storage=kind, settings=both)
    if kind == "pickle":
        with pytest.raises(UsageError, match="a pickle storage keeps no moves"):
            benchmark.run_bots(record_moves=True)
    assert [run.played for run in benchmark.run_bots(record_moves=kind == "dual")] == [10] * 3
    sides: list[BenchmarkStorage] = [
        PickleStorage(tmp_path / "pickles" / "benchmark_4_4_3_42.pkl", CONFIG, 42)
    ]
    sides += [PostgresStorage(settings, CONFIG, 42)] if kind == "dual" else []
    for side in sides:
        with side:
            data = side.load_data()
            assert data is not None
            assert data.games == GAMES[:10]
            assert data.results == {bot().name: expected(bot(), 0, 10) for bot in BUILT_IN.values()}
            if isinstance(side, PostgresStorage):
                assert [*side.load_moves("RandomBot")] == [*range(10)]


@pytest.mark.parametrize("kind", ["database", "pickle", "dual"])
def test_a_set_declares_the_games_that_were_run(
    kind: str, open_benchmark: Any, settings: Settings, tmp_path: Path
) -> None:
    """Also where it has held more all the time, and where there is nothing left to play."""
    both = load_settings(
        {
            "home": settings.home,
            "database_url": settings.database_url and settings.database_url.get_secret_value(),
            "pickle_dir": tmp_path / "pickles",
        }
    )
    data = BenchmarkData(GAMES[:10], {"First": expected(bots.First(), 0, 10)}, CONFIG, 3, 42)
    with open_storage(kind, config=CONFIG, base_seed=42, settings=both) as storage:  # type: ignore[arg-type]
        storage.save_data(data)
    for bot, num_games in ((bots.First(), 2), (bots.First(), 5), (RandomBot(), 8)):
        run = open_benchmark(num_games, storage=kind, settings=both).run_bots([bot])[0]
        assert run.there + run.played == num_games
        sides: list[BenchmarkStorage] = []
        if kind != "database":
            sides.append(PickleStorage(tmp_path / "pickles" / "benchmark_4_4_3_42.pkl", CONFIG, 42))
        if kind != "pickle":
            sides.append(PostgresStorage(settings, CONFIG, 42))
        for side in sides:
            with side:
                found = side.load_data()
                assert found is not None
                assert (found.num_games, found.games) == (max(3, num_games), data.games)
    if kind != "pickle":
        assert verify(VerifyOptions(), settings).equal


def test_without_the_database_a_dual_storage_goes_on(
    open_benchmark: Any, settings: Settings, storage: PostgresStorage, tmp_path: Path
) -> None:
    """The results are in the pickle, and a notice says that their moves are not recorded: the next run does
    that."""
    away = load_settings(
        {
            "home": tmp_path / "sgdb-home",
            "database_url": "postgresql://nobody@127.0.0.1:1/nothing",
            "pickle_dir": tmp_path / "pickles",
            "connect_timeout": 1,
        }
    )
    listener = Listener()
    runs = open_benchmark(storage="dual", settings=away).run_bots(
        ["RandomBot"], record_moves=True, progress=listener
    )
    assert runs == [BotRun("RandomBot", played=10, recorded=0)]
    assert len(listener.notices) == 1
    assert "10 games of RandomBot are kept without their moves" in listener.notices[0]
    side = PickleStorage(tmp_path / "pickles" / "benchmark_4_4_3_42.pkl", CONFIG, 42)
    assert side.load_results("RandomBot") == expected(RandomBot(), 0, 10)
    back = load_settings(
        {
            "home": settings.home,
            "database_url": settings.database_url and settings.database_url.get_secret_value(),
            "pickle_dir": tmp_path / "pickles",
        }
    )
    runs = open_benchmark(storage="dual", settings=back).run_bots(["RandomBot"], record_moves=True)
    assert runs == [BotRun("RandomBot", there=10, recorded=10)]
    assert [*storage.load_moves("RandomBot")] == [*range(10)]


def test_calls_that_make_no_sense(settings: Settings) -> None:
    """They are refused before anything is opened."""
    for options in ({"num_games": 0}, {"num_games": 1.5}, {"move_limit": 0}, {"base_seed": "x"}):
        with pytest.raises(UsageError):
            Benchmark(CONFIG, settings=settings, **options)
    other = open_storage("database", config=CONFIG, base_seed=1, settings=settings)
    with pytest.raises(UsageError, match="base seed 1, not"):
        Benchmark(CONFIG, storage=other)
    with pytest.raises(UsageError, match="no colours"):
        Benchmark(GameConfig(4, 4, 1), settings=settings, strategy=ProcessPool(1)).run_bots()
