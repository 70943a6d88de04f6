"""`sgdb_process` starts the real command line."""

from __future__ import annotations

from tests.cli.conftest import sgdb_process

__all__ = ["sgdb_process"]
