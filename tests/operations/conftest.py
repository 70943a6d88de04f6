"""Homes for embedded servers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgdb.database.server import EmbeddedServer


@pytest.fixture
def short_home() -> Iterator[Path]:
    """A home that does not exist yet, short enough for a socket; its server is stopped afterwards."""
    with tempfile.TemporaryDirectory(prefix="sgdb-test-") as folder:
        home = Path(folder) / "home"
        yield home
        EmbeddedServer(home).stop("immediate")
