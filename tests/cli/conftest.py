"""`sgdb_process` starts the real command line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sgdb.database.server import EmbeddedServer
from tests.preloaded import start

Process = Callable[..., "subprocess.CompletedProcess[str]"]


def clean_environment(**variables: str) -> dict[str, str]:
    """This test's scrubbed environment with these variables; nothing of a terminal's."""
    return {**os.environ, "COLUMNS": "200", "TERM": "dumb", **variables}


def run_sgdb(folder: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `sgdb ARGUMENTS` in `folder`, with these environment variables and nobody to ask."""
    return start(folder, [str(argument) for argument in arguments], clean_environment(**variables)).end()


@pytest.fixture
def sgdb_process(database_url: str, tmp_path: Path) -> Process:
    """Runs `sgdb ARGUMENTS` on this test's database; further keywords are environment variables."""

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return run_sgdb(tmp_path, *arguments, **{"SGDB_DATABASE_URL": database_url, **variables})

    return run


@pytest.fixture
def embedded_process(tmp_path: Path) -> Iterator[Process]:
    """Runs `sgdb ARGUMENTS` with an embedded server of its own, stopped afterwards."""
    home = tmp_path / "sgdb-home"

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return run_sgdb(tmp_path, *arguments, **{"SGDB_HOME": str(home), **variables})

    yield run
    EmbeddedServer(home).stop("immediate")
