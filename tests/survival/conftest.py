"""The server that is killed, once a test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.survival.child_server import ChildServer, new_server


@pytest.fixture(scope="session")
def _child_server() -> Iterator[ChildServer]:
    with new_server() as server:
        yield server


@pytest.fixture
def child_server(_child_server: ChildServer) -> ChildServer:
    """A running server that tests may kill."""
    _child_server.restart()
    return _child_server
