"""Rows that the first reading has kept, against those of a second reading."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdb.pickles import legacy
from sgdb.pickles.files import FileSource
from sgdb.pickles.legacy import LegacyFile
from tests.legacy import benchmark, dump, write_legacy
from tests.pickles.reading import BytesSource


@settings(max_examples=40, deadline=None)
@given(
    layout=st.sampled_from("ABCD"),
    config=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(2, 12)),
    num_games=st.integers(1, 40),
    num_results=st.integers(0, 40),
    shared_config=st.booleans(),
)
def test_kept_rows_equal_those_that_are_read_again(
    layout: str, config: tuple[int, int, int], num_games: int, num_results: int, shared_config: bool
) -> None:
    """Rows, notes and reported bytes are the same, as often as they are asked for."""
    data = benchmark(
        layout, config, num_games, bots=("A", "B"), num_results=num_results, shared_config=shared_config
    )
    raw = dump(data)
    seen = []
    for most in (0, legacy._MOST_KEPT):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(legacy, "_MOST_KEPT", most)
            file = LegacyFile.read(BytesSource(raw))
        assert (file._kept is None) == (most == 0)
        for _ in range(2):
            reported: list[int] = []
            rows = [row for part in file.rows(reported.append) for row in part.rows]
            assert sum(reported) == len(raw)
            seen.append((rows, file.notes))
    assert all(each == seen[0] for each in seen)


def test_no_rows_of_a_large_file_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many rows nor a few large ones, nor long texts; what was kept up to there is let go."""
    path = write_legacy(tmp_path / "many", num_games=300)
    monkeypatch.setattr(legacy, "_MOST_KEPT", 1000)
    assert LegacyFile.read(FileSource(path))._kept is None

    def large(data: dict[str, object]) -> None:
        data["games"][0].more = [[]] * 2000  # type: ignore[index]

    assert (
        LegacyFile.read(FileSource(write_legacy(tmp_path / "large", num_games=2, spoil=large)))._kept is None
    )
    small = FileSource(write_legacy(tmp_path / "small", num_games=2))
    assert LegacyFile.read(small)._kept is not None

    def wordy(data: dict[str, object]) -> None:
        data["games"][0].more = "x" * 3000  # type: ignore[index]

    monkeypatch.setattr(legacy, "_MOST_BYTES_KEPT", 3000)
    wordy_file = write_legacy(tmp_path / "wordy", num_games=2, spoil=wordy)
    assert LegacyFile.read(FileSource(wordy_file))._kept is None
    assert LegacyFile.read(small)._kept is not None


def test_a_kept_file_may_change_meanwhile(tmp_path: Path) -> None:
    """Its rows are those of the bytes whose hash it bears."""
    path = write_legacy(tmp_path / "x", num_games=5)
    file = LegacyFile.read(FileSource(path))
    rows = [row for part in file.rows() for row in part.rows]
    path.unlink()
    assert [row for part in file.rows() for row in part.rows] == rows
