"""Who brought what."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.database.engine import transaction
from sgdb.database.ids import SequenceIds
from sgdb.database.provenance import is_registered, make_run, path_text, record_rejection, set_ids, sources
from sgdb.records import Contents, GameConfig, IdRuns
from sgdb.settings import Settings
from tests.legacy import write_legacy
from tests.steps import ask, migrate, tamper


def test_any_path_becomes_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute, and with escapes for bytes that are no UTF-8."""
    monkeypatch.chdir(tmp_path)
    assert path_text(Path("a \u2603")) == str(tmp_path / "a \u2603")
    path_text(Path(os.fsdecode(b"/x\xff"))).encode("utf-8")
    assert path_text(Path(os.fsdecode(b"/x\xff"))) != path_text(Path(os.fsdecode(b"/x\xfe")))


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
