"""Records to pickles of the old system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sgdb.pickles import attributes
from sgdb.pickles.files import FileSource
from sgdb.pickles.legacy import Games, LegacyFile
from sgdb.pickles.writer import rewrite, write_pickle
from sgdb.records import BotPerformance, Contents, GameConfig, GameSnapshot, IdRuns
from tests.legacy import plain, write_legacy

CONFIG = GameConfig(2, 3, 4)


def _games(count: int) -> list[GameSnapshot]:
    return [GameSnapshot(n, f"[[1,2,{n % 4}],[3,2,1]]", 70_000 + n) for n in range(count)]


def _read(path: Path) -> tuple[LegacyFile, list[GameSnapshot], dict[str, list[BotPerformance]]]:
    file = LegacyFile.read(FileSource(path))
    games: list[GameSnapshot] = []
    results: dict[str, list[BotPerformance]] = {key: [] for key in file.result_keys}
    for part in file.rows():
        if isinstance(part, Games):
            games.extend(part.rows)
        else:
            results[part.key].extend(part.rows)
    return file, games, results


@pytest.mark.parametrize("layout", ["A", "B", "C"])
def test_each_layout_is_read_back_as_it_was_written(tmp_path: Path, layout: str) -> None:
    """What the writer writes, over several batches and frames, the reader and the unpickler read the same."""
    count = 2500
    contents = Contents(layout, CONFIG, count, -5, IdRuns([(0, count)]), (("B", IdRuns([(0, count)])),))
    games = _games(count)
    results = {"B": [BotPerformance("other", n, 6, 300, 70_000, n % 2 == 0) for n in range(count)], "C": []}
    path = tmp_path / "benchmark.pkl"
    with path.open("wb") as file:
        write_pickle(file, contents, games, ((key, iter(rows)) for key, rows in results.items()))
    tree = plain(path)
    assert list(tree) == ["games", "results"] + (
        ["config", "num_games", "base_seed"] if layout != "A" else []
    )
    assert list(tree["results"]) == ["B", "C"]
    if layout != "A":
        read, games_read, results_read = _read(path)
        assert (read.contents.layout, read.contents.num_games, read.contents.base_seed) == (layout, count, -5)
        assert games_read == games
        assert results_read == results


@pytest.mark.parametrize("layout", ["A", "B", "C", "D"])
@pytest.mark.parametrize("oddity", ["none", "shared", "results first", "no games"])
@pytest.mark.no_cover
def test_a_file_is_rewritten_with_every_value(tmp_path: Path, layout: str, oddity: str) -> None:
    """The copy holds the same objects as the file, whatever the order of its lists; a file without classes
    gets those of the newest layout."""

    def spoil(data: dict[str, Any]) -> dict[str, Any]:
        if oddity == "results first":
            return dict(reversed(data.items()))
        if oddity == "no games" and layout != "A":  # whose games tell the config
            data["games"].clear()
        return data

    path = write_legacy(
        tmp_path / "a.pkl",
        layout=layout,
        num_games=2500,
        bots=("LargestGroupBot", "MockBot"),
        spoil=spoil,
        optimize=oddity == "shared",
        shared_config=oddity != "shared",
    )
    copy = tmp_path / "copy.pkl"
    with copy.open("wb") as file:
        rewrite(file, LegacyFile.read(FileSource(path), base_seed=42))
    if layout == "D":
        read = _read(copy)
        assert read[0].contents.layout == "C"
        assert (read[1], read[2]) == _read(path)[1:]
    else:
        assert plain(copy) == plain(path)


# What PostgreSQL can hold: neither NUL nor lone surrogates.
_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=300)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | _text,
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(_text, inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to write over and over."""
    return tmp_path_factory.mktemp("writer") / "file.pkl"


@given(value=_values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_plain_value_comes_back_as_it_was(scratch: Path, value: object) -> None:
    """Further entries of a file travel through JSON and the writer to the unpickler without a change."""
    stored = attributes.to_json(value, "entry")
    contents = Contents("C", CONFIG, 0, 1, IdRuns(), extra={"entry": stored})
    with scratch.open("wb") as file:
        write_pickle(file, contents, [], [])
    assert repr(plain(scratch)["entry"]) == repr(value)
