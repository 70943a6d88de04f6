"""Storages are opened by settings or by arguments, and find the pickles that are there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sgdb.errors import ConfigError, ConflictError, DamagedPickleError, SchemaError, UsageError
from sgdb.records import GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage import DualStorage, PickleStorage, PostgresStorage, open_storage
from sgdb.storage.factory import find_pickle
from sgdb.testing.contract import result
from tests.legacy import write_legacy

CONFIG = GameConfig(5, 7, 3)


def settings_with(tmp_path: Path, **named: object) -> Settings:
    return load_settings({"home": tmp_path / "sgdb-home", "pickle_dir": tmp_path, **named})


def test_the_settings_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SGDB_STORAGE says which, unless the caller does."""
    for kind, cls in (("pickle", PickleStorage), ("database", PostgresStorage), ("dual", DualStorage)):
        named = settings_with(tmp_path, storage=kind)
        assert type(open_storage(config=CONFIG, base_seed=1, settings=named)) is cls
    assert type(open_storage("pickle", config=CONFIG, base_seed=1, settings=named)) is PickleStorage
    monkeypatch.setenv("SGDB_STORAGE", "pickle")
    monkeypatch.setenv("SGDB_PICKLE_DIR", str(tmp_path))
    assert type(open_storage(config=CONFIG, base_seed=1)) is PickleStorage


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """Unknown words, sets that are none, and a pickle without a place."""
    named = settings_with(tmp_path)
    with pytest.raises(UsageError, match="no storage 'redis'"):
        open_storage("redis", config=CONFIG, base_seed=1, settings=named)  # type: ignore[arg-type]
    for config, seed in ((GameConfig(0, 1, 1), 1), (CONFIG, 2**63), (CONFIG, None), ("5x7x3", 1)):
        with pytest.raises(UsageError, match="names no benchmark set"):
            open_storage("pickle", config=config, base_seed=seed, settings=named)  # type: ignore[arg-type]
    for kind in ("pickle", "dual"):
        with pytest.raises(ConfigError, match="needs a pickle"):
            open_storage(kind, config=CONFIG, base_seed=1, settings=load_settings({"home": tmp_path}))  # type: ignore[arg-type]


def test_an_embedded_server_that_was_never_set_up(tmp_path: Path) -> None:
    """Is not set up by the way: `sgdb init` is named."""
    with pytest.raises(SchemaError) as caught:
        open_storage("database", config=CONFIG, base_seed=1, settings=settings_with(tmp_path)).data_exists()
    assert "sgdb init" in str(caught.value.hint)
    assert not (tmp_path / "sgdb-home").exists()


@pytest.mark.parametrize(
    "name", ["benchmark_5_7_3_42.pkl", "benchmark_7_5_3_42.pkl", "benchmark_5_7_3_42", "benchmark_7_5_3_42"]
)
def test_old_names_are_found(tmp_path: Path, name: str) -> None:
    """Rows first or columns first, with and without an extension: the content decides."""
    write_legacy(tmp_path / "benchmark_5_7_3_42.pkl", config=(7, 5, 3))
    path = write_legacy(tmp_path / name, config=(5, 7, 3))
    assert find_pickle(tmp_path, CONFIG, 42) == path


def test_a_new_name_never_takes_anothers(tmp_path: Path) -> None:
    """Where the name is taken by another set, the new file gets one of its own, and is found again."""
    assert find_pickle(tmp_path, CONFIG, 42) == tmp_path / "benchmark_5_7_3_42.pkl"
    other = write_legacy(tmp_path / "benchmark_5_7_3_42.pkl", config=(7, 5, 3)).read_bytes()
    storage = open_storage("pickle", config=CONFIG, base_seed=42, settings=settings_with(tmp_path))
    storage.save_results("A", [result("A", 0)])
    assert (tmp_path / "benchmark_5_7_3_42.sgdb.pkl").exists()
    assert (tmp_path / "benchmark_5_7_3_42.pkl").read_bytes() == other
    again = open_storage("pickle", config=CONFIG, base_seed=42, settings=settings_with(tmp_path))
    assert again.load_results("A") == [result("A", 0)]


def test_a_damaged_pickle_is_not_passed_by(tmp_path: Path) -> None:
    """Beginning anew beside it would hide it."""
    path = tmp_path / "benchmark_5_7_3_42.pkl"
    path.write_bytes(write_legacy(path, config=(5, 7, 3)).read_bytes()[:-5])
    storage = open_storage("pickle", config=CONFIG, base_seed=42, settings=settings_with(tmp_path))
    for ask in (storage.load_data, storage.data_exists, storage.bot_names):
        with pytest.raises(DamagedPickleError):
            ask()


def test_the_file_of_another_set_is_left_alone(tmp_path: Path) -> None:
    """It is a conflict, whatever is asked."""
    path = write_legacy(tmp_path / "a.pkl", config=(5, 5, 3))
    before = path.read_bytes()
    storage = PickleStorage(path, CONFIG, 42)
    for ask in (storage.load_data, lambda: storage.save_results("A", [result("A", 0)])):
        with pytest.raises(ConflictError, match="holds 5x5x3 with base seed 42"):
            ask()
    assert path.read_bytes() == before


def test_programs_that_begin_one_set_at_once_share_a_file(tmp_path: Path) -> None:
    """A file that appears while it is being looked for is that of the set, and not in its way."""
    path = tmp_path / "benchmark_5_7_3_42.pkl"
    barrier = threading.Barrier(8)

    def save(number: int) -> None:
        barrier.wait()
        storage = open_storage("pickle", config=CONFIG, base_seed=42, settings=settings_with(tmp_path))
        storage.save_results(f"bot {number}", [result(f"bot {number}", 0)])

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(save, number) for number in range(8)]:
            done.result()
    assert list(tmp_path.glob("*.pkl")) == [path]
    assert PickleStorage(path, CONFIG, 42).bot_names() == [f"bot {number}" for number in range(8)]
