"""Who brought what."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from sgdb.database.engine import transaction
from sgdb.database.ids import SequenceIds
from sgdb.database.provenance import (
    complete_source_file,
    find_saved_source,
    has_saved_since,
    is_registered,
    make_run,
    make_saved_source,
    path_text,
    record_rejection,
    recorded_path,
    remember_files,
    set_ids,
    sources,
)
from sgdb.records import Contents, GameConfig, IdRuns
from sgdb.settings import Settings
from tests.legacy import write_legacy
from tests.steps import ask, database_state, migrate, tamper


def test_any_path_becomes_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute, and with escapes for bytes that are no UTF-8."""
    monkeypatch.chdir(tmp_path)
    assert path_text(Path("a \u2603")) == str(tmp_path / "a \u2603")
    path_text(Path(os.fsdecode(b"/x\xff"))).encode("utf-8")
    assert path_text(Path(os.fsdecode(b"/x\xff"))) != path_text(Path(os.fsdecode(b"/x\xfe")))


@pytest.mark.parametrize("name", [b"plain", "\u2603".encode(), b"x\xff\xfe", b"a \\udcff b", b"\\x41"])
def test_a_recorded_path_leads_back_to_the_file(tmp_path: Path, name: bytes) -> None:
    """Also where its name is no UTF-8, or only looks as if it had been escaped."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.write_text("here")
    assert recorded_path(path_text(path)).read_text() == "here"


def test_a_program_leaves_word_of_the_files_it_has_seen(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    """As of the last time it stored something; without word it may have seen all of them."""
    migrate(settings, write_legacy(tmp_path / "a", num_games=5))
    with transaction(engine) as connection:
        saved = make_saved_source(connection, SequenceIds(), 7)
        complete_source_file(connection, saved, benchmark_set_id=1)
        assert has_saved_since(connection, 1, 10**10)
        remember_files(connection, saved, 1)
        assert has_saved_since(connection, 1, 1)
        assert not has_saved_since(connection, 1, 2)
    migrate(settings, write_legacy(tmp_path / "b", num_games=6))
    (newest,) = ask(engine, "SELECT max(id) FROM source_files")[0]
    with transaction(engine) as connection:
        assert not has_saved_since(connection, 1, newest)
        remember_files(connection, saved, 1)
        assert has_saved_since(connection, 1, newest)
        assert find_saved_source(connection, 1) == (saved, 7)
    state = database_state(engine)
    with transaction(engine) as connection:
        remember_files(connection, saved, 1)
        assert not has_saved_since(connection, 2, 0)
    assert database_state(engine) == state, "nothing is written, and no other writer waits, without need"


def test_a_program_in_a_set_without_files_leaves_word_too(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    """A file that comes later is not taken to have been seen."""
    migrate(settings, write_legacy(tmp_path / "a", num_games=5))
    with transaction(engine) as connection:
        saved = make_saved_source(connection, SequenceIds(), 7)
        complete_source_file(connection, saved, benchmark_set_id=1)
        connection.execute(text("UPDATE source_files SET status = 'rolled-back' WHERE status = 'migrated'"))
        remember_files(connection, saved, 1)
        assert not has_saved_since(connection, 1, 1)


def test_a_refusal_is_recorded_once(engine: Engine, tmp_path: Path) -> None:
    """The same file, bytes and reason; anything else is another refusal. A run is made only when needed."""

    def record(name: str, sha256: str | None, error: str) -> None:
        with transaction(engine) as connection:
            record_rejection(
                connection,
                SequenceIds(),
                lambda: make_run(connection, SequenceIds(), "migrate-pickles", {}),
                tmp_path / name,
                sha256,
                error,
                {},
            )

    for refusal in (("a", None, "x"), ("a", "0" * 64, "x"), ("a", "0" * 64, "y"), ("b", None, "x")):
        record(*refusal)
        record(*refusal)
    assert ask(engine, "SELECT count(*), count(DISTINCT run_id), min(status) FROM source_files") == [
        (4, 4, "rejected")
    ]


def test_sources_give_back_what_a_file_holds(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    """By set and by content, oldest first; refused files are no sources."""
    for number, values in enumerate([{}, {"num_games": 20, "num_results": 5}, {"base_seed": 9}]):
        migrate(settings, write_legacy(tmp_path / f"{number}.pkl", **values))  # type: ignore[arg-type]
    migrate(settings, write_legacy(tmp_path / "bad", spoil_bytes=lambda raw: raw[:-1]))
    with transaction(engine, read_only=True) as connection:
        assert [row.path for row in sources(connection)] == [str(tmp_path / f"{n}.pkl") for n in range(3)]
        assert [row.id for row in sources(connection, set_id=1)] == [1, 2]
        second = sources(connection, set_id=1)[1]
        assert [row.id for row in sources(connection, sha256=second.sha256)] == [2]
        assert set_ids(connection) == [1, 2]
        assert is_registered(connection, second.sha256, 1, with_archive=True)
        assert not is_registered(connection, second.sha256, 2, with_archive=False)
    assert second.contents == Contents(
        "C", GameConfig(5, 5, 3), 20, 42, IdRuns([(0, 20)]), (("LargestGroupBot", IdRuns([(0, 5)])),)
    )
    tamper(engine, "UPDATE source_files SET archive_id = NULL")
    with transaction(engine, read_only=True) as connection:
        assert is_registered(connection, second.sha256, 1, with_archive=False)
        assert not is_registered(connection, second.sha256, 1, with_archive=True)
