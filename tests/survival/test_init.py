"""`init` struck in the middle: no database, an empty one, or a whole schema; never a part."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import URL

from sgdb.database.engine import transaction
from sgdb.database.revisions import SchemaStatus, state
from sgdb.errors import DatabaseMissingError
from sgdb.operations.init import InitOptions, init
from sgdb.operations.verify import VerifyOptions, verify
from tests.preloaded import Command, start
from tests.steps import ask
from tests.survival.child_server import ChildServer, environment_for, settings_for
from tests.survival.killing import FEW, Round, Survivor, many, survivors


def _survive(server: ChildServer, rounds: list[Round], folder: Path) -> None:
    def begin(url: URL) -> Command:
        server.run(f"DROP DATABASE {url.database}")
        return start(folder, ["init"], environment_for(url))

    for survivor in survivors(server, rounds, begin):
        _require_nothing_or_all(survivor)
        init(InitOptions(), settings_for(survivor.url))
        assert verify(VerifyOptions(), settings_for(survivor.url)).equal


def _require_nothing_or_all(survivor: Survivor) -> None:
    try:
        with transaction(survivor.engine, read_only=True) as connection:
            status = state(connection).status
    except DatabaseMissingError:
        return
    tables = ask(survivor.engine, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
    assert status is SchemaStatus.CURRENT or (status is SchemaStatus.MISSING and not tables)


def test_a_few_blows(child_server: ChildServer, tmp_path: Path) -> None:
    """Nothing, or all tables and the record of it; the next `init` completes."""
    _survive(child_server, FEW, tmp_path)


@pytest.mark.survival
@many(100, others=25)
def test_at_every_moment(child_server: ChildServer, tmp_path: Path, rounds: list[Round]) -> None:
    """The same hundreds of times."""
    _survive(child_server, rounds, tmp_path)
