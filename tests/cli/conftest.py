"""`sgdb_process` starts the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sgdb.database.server import EmbeddedServer

Process = Callable[..., "subprocess.CompletedProcess[str]"]


def clean_environment(**variables: str) -> dict[str, str]:
    """This test's scrubbed environment with these variables; nothing of a terminal's."""
    return {**os.environ, "COLUMNS": "200", "TERM": "dumb", **variables}


@pytest.fixture
def sgdb_process(database_url: str, tmp_path: Path) -> Process:
    """Runs `sgdb ARGUMENTS` on this test's database; further keywords are environment variables."""

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = clean_environment(**{"SGDB_DATABASE_URL": database_url, **variables})
        return subprocess.run(
            [sys.executable, "-m", "sgdb", *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture
def embedded_process(tmp_path: Path) -> Iterator[Process]:
    """Runs `sgdb ARGUMENTS` with an embedded server of its own, stopped afterwards."""
    home = tmp_path / "sgdb-home"

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sgdb", *map(str, arguments)],
            env=clean_environment(**{"SGDB_HOME": str(home), **variables}),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    yield run
    EmbeddedServer(home).stop("immediate")
