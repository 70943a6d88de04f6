"""What every storage has to pass: the promises of `BenchmarkStorage`, one test each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sgdb.errors import ConflictError, LayoutError, UsageError, ValueRefusedError
from sgdb.game.boards import board_json, draw_board
from sgdb.records import BenchmarkData, BotPerformance, GameConfig, GameSnapshot
from sgdb.storage.base import BenchmarkStorage
from sgdb.testing.data import benchmark_data, first_games

OpenStorage = Callable[[GameConfig, int], BenchmarkStorage]
CONFIG = GameConfig(2, 3, 4)
_SEEDS = count(1000)
_property = settings(
    max_examples=10,
    deadline=None,
    # Every example has a base seed of its own, and several classes inherit the tests.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


def result(bot: str, game_id: int, tiles: int = 4, **changes: Any) -> BotPerformance:
    """A possible result."""
    return BotPerformance(bot, game_id, tiles, 2, 3, False)._replace(**changes)


def whole(base_seed: int, bots: tuple[str, ...] = ("A", "B"), games: int = 4) -> BenchmarkData:
    """A set in which each bot has played every game."""
    return BenchmarkData(
        first_games(CONFIG, base_seed, games),
        {bot: [result(bot, game_id) for game_id in range(games)] for bot in bots},
        CONFIG,
        games,
        base_seed,
    )


class _IndexLike:
    """A whole number of another library."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


class StorageContract:
    """Derive from it, and give the fixture `open_storage`: a function of config and base seed that opens a
    storage on one and the same place, however often it is called in a test."""

    @pytest.fixture
    def open_storage(self) -> OpenStorage:
        """To be overridden."""
        raise NotImplementedError("a contract needs the fixture open_storage")

    @pytest.fixture
    def seed(self) -> int:
        """A base seed that no other test uses."""
        return next(_SEEDS)

    # -- saving and loading ---------------------------------------------------------------------

    def test_nothing_stored(self, open_storage: OpenStorage, seed: int) -> None:
        """Without data there is none, in every form, and asking makes none."""
        storage = open_storage(CONFIG, seed)
        for _ in range(2):
            assert storage.load_data() is None
            assert storage.load_part(["A"], 0, 3) is None
            assert not storage.data_exists()
            assert not storage.is_compatible(CONFIG, seed)
            assert storage.bot_names() == []
            assert list(storage.iter_games()) == []
            assert storage.load_results("A") == []

    @_property
    @given(data=st.data())
    def test_what_is_saved_is_loaded(self, open_storage: OpenStorage, data: st.DataObject) -> None:
        """Another storage on the same place loads the very data, also after they have been saved again."""
        seed = next(_SEEDS)
        saved = data.draw(benchmark_data(CONFIG, seed))
        for _ in range(2):
            open_storage(CONFIG, seed).save_data(saved)
            with open_storage(CONFIG, seed) as storage:
                assert storage.load_data() == saved
                assert storage.data_exists()
                assert storage.is_compatible(CONFIG, seed)
                assert storage.bot_names() == list(saved.results)

    @_property
    @given(data=st.data())
    def test_saving_adds(self, open_storage: OpenStorage, data: st.DataObject) -> None:
        """Two saves give the union. Where they contradict each other the second is refused as a whole, unless
        it is to replace: then its results hold, and all others stay."""
        seed = next(_SEEDS)
        first, second = (data.draw(benchmark_data(CONFIG, seed)) for _ in range(2))
        storage = open_storage(CONFIG, seed)
        storage.save_data(first)
        contradictory = any(
            a != b
            for bot in first.results.keys() & second.results.keys()
            for a in first.results[bot]
            for b in second.results[bot]
            if a.game_id == b.game_id
        )
        if contradictory:
            with pytest.raises(ConflictError):
                storage.save_data(second)
            assert storage.load_data() == first
        storage.save_data(second, replace=contradictory)
        games = {game.game_id: game for game in (*first.games, *second.games)}
        results: dict[str, dict[int, BotPerformance]] = {}
        for bot, rows in (*first.results.items(), *second.results.items()):
            results.setdefault(bot, {}).update((row.game_id, row) for row in rows)
        assert storage.load_data() == BenchmarkData(
            [games[game_id] for game_id in sorted(games)],
            {bot: [results[bot][game_id] for game_id in sorted(results[bot])] for bot in sorted(results)},
            CONFIG,
            max(first.num_games, second.num_games),
            seed,
        )

    @_property
    @given(data=st.data(), start=st.integers(0, 9), stop=st.none() | st.integers(0, 9))
    def test_parts(
        self, open_storage: OpenStorage, data: st.DataObject, start: int, stop: int | None
    ) -> None:
        """Parts are parts of the whole."""
        seed = next(_SEEDS)
        saved = data.draw(benchmark_data(CONFIG, seed))
        storage = open_storage(CONFIG, seed)
        storage.save_data(saved)

        def within(game_id: int) -> bool:
            return start <= game_id and (stop is None or game_id < stop)

        games = [game for game in saved.games if within(game.game_id)]
        results = {bot: [row for row in rows if within(row.game_id)] for bot, rows in saved.results.items()}
        assert list(storage.iter_games(start, stop)) == games
        for bot in (*results, "nobody"):
            assert storage.load_results(bot, start, stop) == results.get(bot, [])
        part = storage.load_part(None, start, stop)
        assert part is not None
        assert (part.games, part.num_games) == (games, saved.num_games)
        assert part.results == {bot: rows for bot, rows in results.items() if rows}

    def test_one_bot_never_touches_another(self, open_storage: OpenStorage, seed: int) -> None:
        """Results of one bot are added to, and replaced, beside those of the others."""
        data = whole(seed)
        storage = open_storage(CONFIG, seed)
        storage.save_data(data)
        storage.save_results("C", [result("C", 2), result("C", 0)])
        storage.save_results("A", [result("A", 1, tiles=5)], replace=True)
        assert storage.load_results("B") == data.results["B"]
        assert storage.load_results("C") == [result("C", 0), result("C", 2)]
        assert [row.tiles_cleared for row in storage.load_results("A")] == [4, 5, 4, 4]

    def test_results_without_a_set(self, open_storage: OpenStorage, seed: int) -> None:
        """Results alone make a set that reaches to the last of them, its boards drawn from the base seed."""
        storage = open_storage(CONFIG, seed)
        storage.save_results("A", [])
        assert not storage.data_exists()
        storage.save_results("A", [result("A", 3), result("A", 1)])
        assert storage.load_data() == BenchmarkData(
            first_games(CONFIG, seed, 4), {"A": [result("A", 1), result("A", 3)]}, CONFIG, 4, seed
        )

    def test_results_beyond_the_set(self, open_storage: OpenStorage, seed: int) -> None:
        """The set grows to the last of them, every board drawn; a set that declares more stays as it is."""
        storage = open_storage(CONFIG, seed)
        storage.save_data(whole(seed, bots=("A",), games=2))
        storage.save_results("A", [result("A", 5)])
        drawn = first_games(CONFIG, seed, 6)
        rows = [result("A", game_id) for game_id in (0, 1, 5)]
        assert storage.load_data() == BenchmarkData(drawn, {"A": rows}, CONFIG, 6, seed)
        storage.save_data(BenchmarkData([], {}, CONFIG, 20, seed))
        storage.save_results("B", [result("B", 6)])
        loaded = storage.load_data()
        assert loaded is not None
        assert (len(loaded.games), loaded.num_games) == (7, 20)

    def test_a_gap_is_filled_by_what_is_needed(self, open_storage: OpenStorage, seed: int) -> None:
        """A game that the set lacks in its middle comes alone, and the declared size stays."""
        storage = open_storage(CONFIG, seed)
        drawn = first_games(CONFIG, seed, 6)
        storage.save_data(BenchmarkData([drawn[0], drawn[5]], {}, CONFIG, 3, seed))
        storage.save_results("A", [result("A", 2)])
        loaded = storage.load_data()
        assert loaded is not None
        assert (loaded.games, loaded.num_games) == ([drawn[0], drawn[2], drawn[5]], 3)

    def test_boards_that_do_not_follow(self, open_storage: OpenStorage, seed: int) -> None:
        """Boards of other seeds are kept as they are; results of unlisted games are refused then."""
        own = [
            GameSnapshot(0, board_json(draw_board(CONFIG, 7)), 7),
            GameSnapshot(3, "[[0,0,0],[1,2,3]]", None),
        ]
        storage = open_storage(CONFIG, seed)
        data = BenchmarkData(own, {"A": [result("A", 3)]}, CONFIG, 9, seed)
        storage.save_data(data)
        with pytest.raises(LayoutError, match="game 0 does not follow"):
            storage.save_results("A", [result("A", 1)])
        assert storage.load_data() == data

    # -- what is refused ------------------------------------------------------------------------

    def test_another_board_is_a_conflict(self, open_storage: OpenStorage, seed: int) -> None:
        """A board is never replaced, not even where results may be."""
        storage = open_storage(CONFIG, seed)
        data = whole(seed)
        storage.save_data(data)
        other = BenchmarkData([data.games[1]._replace(board="[[1,1,1],[1,1,1]]")], {}, CONFIG, 9, seed)
        for replace in (False, True):
            with pytest.raises(ConflictError, match=r"game 1, field board\["):
                storage.save_data(other, replace=replace)
        assert storage.load_data() == data

    def test_a_conflict_names_bot_game_field_and_values(self, open_storage: OpenStorage, seed: int) -> None:
        """And nothing of the call is kept."""
        storage = open_storage(CONFIG, seed)
        data = whole(seed)
        storage.save_data(data)
        with pytest.raises(ConflictError, match=r"bot 'A', field moves_made: given 9, .* 3"):
            storage.save_results("A", [result("A", 2, moves_made=9), result("A", 8)])
        assert storage.load_data() == data

    def test_the_data_of_another_set(self, open_storage: OpenStorage, seed: int) -> None:
        """They are refused, and do not count as compatible."""
        storage = open_storage(CONFIG, seed)
        storage.save_data(whole(seed))
        with pytest.raises(UsageError, match=f"base seed {seed}"):
            storage.save_data(whole(-seed))
        assert not storage.is_compatible(CONFIG, -seed)
        assert not storage.is_compatible(GameConfig(3, 2, 4), seed)
        assert open_storage(CONFIG, -seed - 1).load_data() is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"tiles_cleared": -1},
            {"tiles_cleared": None},
            {"singles_remaining": 1.0},
            {"moves_made": 2**31},
            {"moves_made": "3"},
            {"moves_made": True},
            {"completed": 1},
            {"completed": None},
            {"game_id": -1},
            {"bot_name": "a\0b"},
            {"bot_name": "\ud800"},
            {"bot_name": None},
            {"metadata": {"note": 1}},
            {"metadata": {"attributes": {"a": float("nan")}}},
        ],
        ids=str,
    )
    def test_impossible_results(self, open_storage: OpenStorage, seed: int, changes: dict[str, Any]) -> None:
        """A value that cannot be kept is named, and nothing is stored."""
        storage = open_storage(CONFIG, seed)
        with pytest.raises(ValueRefusedError, match="bot 'A'"):
            storage.save_results("A", [result("A", 0), result("A", 1)._replace(**changes)])
        assert not storage.data_exists()

    @pytest.mark.parametrize(
        "changes",
        [
            {"board": "[[1,1,1]]"},
            {"board": "[[1,1],[1,1]]"},
            {"board": "[[1,1,1],[1,1,4]]"},
            {"board": "[[1,1,1],[1,1,true]]"},
            {"board": "no board"},
            {"board": None},
            {"seed": 2**63},
            {"game_id": 2**31},
            {"metadata": {"origin": "regenerated"}},
        ],
        ids=str,
    )
    def test_impossible_games(self, open_storage: OpenStorage, seed: int, changes: dict[str, Any]) -> None:
        """The same for games."""
        storage = open_storage(CONFIG, seed)
        data = whole(seed)
        data.games[1] = data.games[1]._replace(**changes)
        with pytest.raises(ValueRefusedError, match="game"):
            storage.save_data(data)
        assert not storage.data_exists()

    def test_a_name_that_is_too_long_and_a_game_given_twice(
        self, open_storage: OpenStorage, seed: int
    ) -> None:
        """255 characters are kept, 256 are refused; a row may come twice if it is the same."""
        storage = open_storage(CONFIG, seed)
        name = "ü" * 255
        storage.save_results(name, [result(name, 0), result(name, 0)])
        assert storage.load_results(name) == [result(name, 0)]
        with pytest.raises(ValueRefusedError, match="255 characters"):
            storage.save_results(name + "x", [result("A", 0)])
        with pytest.raises(ValueRefusedError, match="game 1 is given twice"):
            storage.save_results("A", [result("A", 1), result("A", 1, tiles=5)])

    def test_numbers_and_boards_of_other_libraries(self, open_storage: OpenStorage, seed: int) -> None:
        """Whole numbers are taken for what they are, boards may be lists."""
        storage = open_storage(CONFIG, seed)
        one: Any = _IndexLike(1)
        data = whole(seed, games=2)
        cells: Any = [[one if cell == 1 else cell for cell in row] for row in data.games[0].cells]
        data.games[0] = data.games[0]._replace(board=cells)
        data.results["A"][1] = result("A", one, moves_made=one)
        storage.save_data(data)
        loaded = storage.load_data()
        assert loaded is not None
        assert loaded.games == first_games(CONFIG, seed, 2)
        assert loaded.results["A"][1] == result("A", 1, moves_made=1)
        assert type(loaded.results["A"][1].moves_made) is int

    # -- company --------------------------------------------------------------------------------

    def test_many_threads(self, open_storage: OpenStorage, seed: int) -> None:
        """Threads that save different bots, on one storage and on many, lose nothing of each other."""
        shared = open_storage(CONFIG, seed)

        def save(number: int) -> None:
            storage = shared if number % 2 else open_storage(CONFIG, seed)
            for at in range(3):
                storage.save_results(f"bot {number}", [result(f"bot {number}", at, tiles=number)])

        with ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(save, number) for number in range(6)]:
                done.result()
        loaded = open_storage(CONFIG, seed).load_data()
        assert loaded is not None
        assert loaded.results == {
            f"bot {n}": [result(f"bot {n}", at, tiles=n) for at in range(3)] for n in range(6)
        }
        assert loaded.games == first_games(CONFIG, seed, 3)

    def test_readers_beside_a_writer(self, open_storage: OpenStorage, seed: int) -> None:
        """Whoever reads while another saves sees a state between two saves."""
        writer, reader = open_storage(CONFIG, seed), open_storage(CONFIG, seed)
        writer.save_data(whole(seed, bots=(), games=6))

        def save() -> None:
            for at in range(6):
                rows = [result("A", at), result("A", at, tiles=0)]
                writer.save_data(BenchmarkData([], {"A": rows[:1], "B": rows[:1]}, CONFIG, 0, seed))

        with ThreadPoolExecutor(1) as pool:
            saving = pool.submit(save)
            while not saving.done():
                loaded = reader.load_data()
                assert loaded is not None
                ids = [[row.game_id for row in loaded.results.get(bot, [])] for bot in "AB"]
                assert ids[0] == ids[1] == list(range(len(ids[0])))
            saving.result()

    # -- what follows from the rows -------------------------------------------------------------

    def test_validate_results(self, open_storage: OpenStorage, seed: int) -> None:
        """Counted are possible rows of the bot itself, from game 0 on without a gap."""
        storage = open_storage(CONFIG, seed)
        good = [result("A", game_id) for game_id in range(3)]
        assert storage.validate_results("A", []) == 0
        assert storage.validate_results("A", good) == 3
        assert storage.validate_results("A", good[1:]) == 0
        assert storage.validate_results("A", [good[0], good[2]]) == 1
        assert storage.validate_results("A", [good[0], result("B", 1), good[2]]) == 1
        assert storage.validate_results("A", [*good[:2], result("A", 2, moves_made=-1)]) == 2

    def test_determine_missing_games(self, open_storage: OpenStorage, seed: int) -> None:
        """Missing is each game without a possible row of the bot, and no other."""
        storage = open_storage(CONFIG, seed)
        rows = {"A": [result("A", 3), result("A", 0), result("B", 1)]}
        assert storage.determine_missing_games("A", rows, 5) == [1, 2, 4]
        assert storage.determine_missing_games("A", rows, 0) == []
        assert storage.determine_missing_games("new", rows, 2) == [0, 1]

    def test_merge_results(self, open_storage: OpenStorage, seed: int) -> None:
        """What counts as valid stays, new rows come before the rest, and nothing is dropped for a gap."""
        storage = open_storage(CONFIG, seed)
        existing = [result("A", 0), result("A", 2), result("A", 4)]
        new = [result("A", 0, tiles=9), result("A", 1, tiles=9), result("A", 2, tiles=9)]
        merged = storage.merge_results(existing, new, 6, "A")
        assert [(row.game_id, row.tiles_cleared) for row in merged] == [(0, 4), (1, 9), (2, 9), (4, 4)]
        assert storage.merge_results(existing, new, 2, "A") == merged[:2]
