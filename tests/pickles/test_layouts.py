"""Layouts: what is recognised, what silence means, and what is no benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sgdb.errors import InputRefusedError, LayoutError, SgdbError, ValueRefusedError
from sgdb.records import GameConfig, IdRuns
from tests.legacy import CLASSES, MODULES, benchmark, dump, write_legacy
from tests.legacy import GameConfig as Config
from tests.pickles.reading import read

Spoil = Callable[[dict[str, Any]], Any]


def drop(*keys: str) -> Spoil:
    return lambda data: {key: value for key, value in data.items() if key not in keys}


def put(**entries: Any) -> Spoil:
    return lambda data: {**data, **entries}


def refused(path: Path, kind: type[SgdbError], message: str, **options: Any) -> None:
    with pytest.raises(kind) as caught:
        read(write_legacy(path / "x", **options))
    assert message in caught.value.message


@pytest.mark.parametrize("layout", "BC")
def test_missing_numbers_are_those_of_the_old_loader(tmp_path: Path, layout: str) -> None:
    """num_games 1000 and base_seed 42, each with a note."""
    found = read(write_legacy(tmp_path / "x", layout=layout, spoil=drop("num_games", "base_seed")))
    assert (found.file.contents.num_games, found.file.contents.base_seed) == (1000, 42)
    assert found.file.notes == [
        "num_games is missing: 1000, as the old loader takes it",
        "base_seed is missing: 42, as the old loader takes it",
        "declares 1000 games and lists 10",
    ]


def test_a_missing_base_seed_may_be_given(tmp_path: Path) -> None:
    """`base_seed` takes the place of the old loader's 42; a recorded one stands, with a note."""
    path = write_legacy(tmp_path / "x", base_seed=7, spoil=drop("base_seed"))
    assert read(path, base_seed=7).file.contents.base_seed == 7
    assert "base seed 7 as given; the games' seeds follow from it" in read(path, base_seed=7).file.notes
    silent = read(path)  # the seeds prove another one than the old loader takes
    assert silent.file.contents.base_seed == 7
    assert silent.file.notes == ["base_seed is missing: 7, from which the games' seeds follow"]
    unprovable = write_legacy(tmp_path / "z", base_seed=123_456_789, spoil=drop("base_seed"))
    assert read(unprovable).file.contents.base_seed == 42
    assert "seed that does not follow from the base seed: 10, first game 0" in read(unprovable).file.notes[-1]
    path = write_legacy(tmp_path / "y", base_seed=7)
    assert read(path, base_seed=8).file.contents.base_seed == 7
    assert read(path, base_seed=8).file.notes == ["the file itself says base seed 7; 8 as given is not used"]
    assert read(path, base_seed=7).file.notes == []


def test_missing_results_are_none(tmp_path: Path) -> None:
    """With a note, except in layout D, which never has any."""
    found = read(write_legacy(tmp_path / "x", spoil=drop("results")))
    assert found.file.contents.results == ()
    assert found.file.notes == ["results is missing: taken as none"]
    assert read(write_legacy(tmp_path / "y", layout="D")).file.notes == []


def test_empty_lists(tmp_path: Path) -> None:
    """No games although twenty are declared, no results, a bot without results."""
    found = read(write_legacy(tmp_path / "x", spoil=put(games=[], results={"a": []}, num_games=20)))
    assert found.file.contents.results == (("a", IdRuns()),)
    assert (found.games, found.results) == ([], {})
    assert found.file.notes == ["declares 20 games and lists 0"]
    found = read(write_legacy(tmp_path / "y", layout="D", spoil=put(games=[])))
    assert found.file.contents.layout == "D"


def test_results_without_any_game(tmp_path: Path) -> None:
    """Their boards are generated, and the note says that nothing proves the base seed."""
    found = read(write_legacy(tmp_path / "x", spoil=put(games=[])))
    assert found.file.notes == [
        "declares 10 games and lists 0",
        "results for 10 games that are not listed, and no listed game to prove the base seed by",
    ]
    assert list(found.file.regenerated()) == [
        game._replace(metadata={"origin": "regenerated"}) for game in read(write_legacy(tmp_path / "y")).games
    ]


def test_further_entries_are_kept(tmp_path: Path) -> None:
    """On the top level, in the config and in its attributes."""

    def spoil(data: dict[str, Any]) -> dict[str, Any]:
        data["config"].weights = (1.0, float("inf"))
        return {**data, "comment\n": "made by hand", "version": [1, 2]}

    found = read(write_legacy(tmp_path / "x", spoil=spoil))
    assert found.file.contents.extra == {"comment\n": "made by hand", "version": [1, 2]}
    assert found.file.contents.config_extra == {"weights": {"$tuple": [1.0, {"$float": "inf"}]}}
    assert found.file.notes == [
        r"kept further top-level entries: 'comment\n', 'version'",
        "kept further attributes of the config ('weights')",
    ]


def test_the_config_may_be_a_plain_dict(tmp_path: Path) -> None:
    """In any layout."""
    found = read(
        write_legacy(tmp_path / "x", spoil=lambda data: {**data, "config": dict(vars(data["config"]))})
    )
    assert found.file.contents.config == GameConfig(5, 5, 3)


def test_layout_d_with_configs_in_its_games(tmp_path: Path) -> None:
    """They have to be the file's."""

    def spoil(cols: int) -> Spoil:
        def change(data: dict[str, Any]) -> None:
            for game in data["games"]:
                game["config"] = {**data["config"], "num_cols": cols}

        return change

    assert read(write_legacy(tmp_path / "x", layout="D", spoil=spoil(5))).games[0].metadata is None
    refused(
        tmp_path,
        ValueRefusedError,
        "game 0, field config: 5x6x3, but the file's is 5x5x3",
        layout="D",
        spoil=spoil(6),
    )


@pytest.mark.parametrize("data", [None, 1, "text", [], (1,), [{"board_state": 1}]])
def test_other_pickles_are_no_benchmarks(data: object) -> None:
    """Sound pickles of something else."""
    with pytest.raises(LayoutError, match=r"the file holds .*, not a benchmark"):
        read(dump(data))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            drop("games"),
            "no benchmark: a dict without 'games' (it has 'results', 'config', 'num_games', 'base_seed')",
        ),
        (lambda data: {}, "no benchmark: a dict without 'games' (it has nothing)"),
        (drop("config"), "the key 'config' is missing, without which this layout cannot be read"),
        (put(games=None), "games is None, not a list of games"),
        (put(games={}), "games is a dict, not a list of games"),
        (put(games=[1]), "games is a list, not a list of games"),
        (
            lambda data: {**data, "games": tuple(data["games"])},
            "games or results in something else than a list",
        ),
        (lambda data: {**data, "games": data["results"]["LargestGroupBot"]}, "games holds results"),
        (lambda data: {**data, "results": {"a": data["games"]}}, "results of 'a' holds games"),
        (
            lambda data: {**data, "results": data["games"]},
            "results is a list of games or results, not a dict",
        ),
        (put(results=None), "results is None, not a dict of lists by bot"),
        (put(results=[]), "results is a list, not a dict of lists by bot"),
        (put(results={"a\n": None}), r"results of 'a\n' is None, not a list of results"),
        (
            lambda data: data["games"].extend(data["results"]["LargestGroupBot"]),
            "games and results in one list",
        ),
        (lambda data: {**data, "more": data["games"][:1]}, "in an unexpected place"),
        (lambda data: {**data, "more": {"x": benchmark()["games"]}}, "in an unexpected place"),
        (put(config=None), "config is no GameConfig"),
        (put(config={}), "config has no num_rows"),
        (lambda data: delattr(data["config"], "num_cols"), "config has no num_cols"),
        (lambda data: {**data, "config": data["games"][0]}, "config is no GameConfig"),
        (lambda data: {**data, "config": Config()}, "config is no GameConfig"),
    ],
)
def test_what_no_layout_allows(tmp_path: Path, spoil: Spoil, message: str) -> None:
    """Refused with what is there instead."""
    refused(tmp_path, LayoutError, message, spoil=spoil)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put(num_games=-1), "field num_games: -1 is not a whole number from 0 to 2147483647"),
        (put(num_games=True), "field num_games: True is not a whole number"),
        (put(num_games=1.0), "field num_games: 1.0 is not a whole number"),
        (put(num_games=2**31), "field num_games: 2147483648 is not a whole number"),
        (put(base_seed=None), "field base_seed: None is not a whole number"),
        (put(base_seed="42"), "field base_seed: '42' is not a whole number"),
        (
            put(base_seed=2**63),
            "field base_seed: 9223372036854775808 is not a whole number from -9223372036854775808",
        ),
        (
            put(config={"num_rows": 0, "num_cols": 5, "num_colors": 3}),
            "config, field num_rows: 0 is not a positive",
        ),
        (
            put(config={"num_rows": 5, "num_cols": 5.0, "num_colors": 3}),
            "config, field num_cols: 5.0 is not a positive",
        ),
        (
            put(config={"num_rows": 5, "num_cols": 5, "num_colors": True}),
            "field num_colors: True is not a positive",
        ),
        (
            put(**{"a\0": 1}),
            r"top-level entry, field 'a\x00': the name holds a character that PostgreSQL cannot",
        ),
        (
            put(note="\ud800"),
            r"top-level entry, field 'note': '\ud800' holds a character that PostgreSQL cannot",
        ),
        (lambda data: setattr(data["config"], "x", "\0"), r"config, field 'x': '\x00' holds a character"),
        (put(results={"a\0": []}), r"bot 'a\x00': the name holds a character that PostgreSQL cannot store"),
        (
            put(results={"\ud800": []}),
            r"bot '\ud800': the name holds a character that PostgreSQL cannot store",
        ),
        (put(results={"x" * 256: []}), "xxx...: the name is longer than 255 characters"),
    ],
)
def test_values_that_cannot_be_stored(tmp_path: Path, spoil: Spoil, message: str) -> None:
    """Refused naming place, field and value; a text bytes cannot show is escaped."""
    refused(tmp_path, ValueRefusedError, message, spoil=spoil)


def test_extreme_numbers_are_stored(tmp_path: Path) -> None:
    """A base seed of 64 bits, negative or not; a name of 255 characters of any kind."""
    for seed in (-(2**63), 2**63 - 1):
        assert read(write_legacy(tmp_path / "x", base_seed=seed)).file.contents.base_seed == seed
    names = ("é" * 255, "", " ", "\x1b[31m\n", "a\tb\\N", "DQN small_20250101_120000_deadbeef")
    found = read(write_legacy(tmp_path / "x", bots=names))
    assert tuple(found.results) == names
    assert found.file.notes == []


@pytest.mark.parametrize("game_id", [-1, None, True, 1.0, "1", 2**31, float("nan")])
def test_game_ids_are_whole_numbers(tmp_path: Path, game_id: Any) -> None:
    """Refused with the list in which the id stands."""
    wrong = f"field game_id: {'nan' if game_id != game_id else repr(game_id)} is not a whole number from 0"

    def game(data: dict[str, Any]) -> None:
        data["games"][3].game_id = game_id

    def result(data: dict[str, Any]) -> None:
        data["results"]["LargestGroupBot"][3].game_id = game_id

    refused(tmp_path, ValueRefusedError, f"games, {wrong}", spoil=game)
    refused(tmp_path, ValueRefusedError, f"results of 'LargestGroupBot', {wrong}", spoil=result)


def test_rows_without_an_id(tmp_path: Path) -> None:
    """The field is named as the layout names it."""
    message = "games, field game_id is missing"
    refused(tmp_path, ValueRefusedError, message, spoil=lambda data: delattr(data["games"][3], "game_id"))
    message = "games, field game_index is missing"
    refused(
        tmp_path,
        ValueRefusedError,
        message,
        layout="D",
        spoil=lambda data: data["games"][3].clear() or data["games"][3].update(board_state=[]),
    )


def test_a_game_has_a_field_once(tmp_path: Path) -> None:
    """Under the name of the records or of the export, not both."""
    refused(
        tmp_path,
        LayoutError,
        "a game with both names of one field: 'game_index', 'board_state', 'seed', 'board'",
        layout="D",
        spoil=lambda data: data["games"][0].update(board=1),
    )


def test_mixed_modules(tmp_path: Path) -> None:
    """Rows of two old versions in one file: read alike."""
    old = benchmark("B", bots=("b",))

    def spoil(data: dict[str, Any]) -> None:
        data["results"]["b"] = old["results"]["b"]

    found = read(write_legacy(tmp_path / "x", spoil=spoil))
    assert list(found.results) == ["LargestGroupBot", "b"]
    assert CLASSES[MODULES["B"], "BotPerformance"] is type(old["results"]["b"][0])


def test_layout_a_needs_games(tmp_path: Path) -> None:
    """Its config stands nowhere else."""
    with pytest.raises(InputRefusedError, match="neither the file nor a game in it has a config"):
        read(write_legacy(tmp_path / "x", layout="A", num_games=0))
