"""Where programs keep benchmark sets: in the database, in pickles, or in both at once.

>>> from sgdb.storage import open_storage
>>> storage = open_storage("dual", config=GameConfig(8, 8, 4), base_seed=42)
>>> storage.save_results("MyAgent", results)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgdb.records import BenchmarkData, BotPerformance, GameConfig, GameSnapshot
    from sgdb.storage.base import BenchmarkStorage
    from sgdb.storage.dual import DualStorage
    from sgdb.storage.factory import open_storage
    from sgdb.storage.moves import MoveStorage
    from sgdb.storage.pickle_files import PickleStorage
    from sgdb.storage.postgres import PostgresStorage
    from sgdb.storage.training import TrainingRun

__all__ = [
    "BenchmarkData",
    "BenchmarkStorage",
    "BotPerformance",
    "DualStorage",
    "GameConfig",
    "GameSnapshot",
    "MoveStorage",
    "PickleStorage",
    "PostgresStorage",
    "TrainingRun",
    "open_storage",
]

_MODULES = {
    "BenchmarkData": "sgdb.records",
    "BenchmarkStorage": "sgdb.storage.base",
    "BotPerformance": "sgdb.records",
    "DualStorage": "sgdb.storage.dual",
    "GameConfig": "sgdb.records",
    "GameSnapshot": "sgdb.records",
    "MoveStorage": "sgdb.storage.moves",
    "PickleStorage": "sgdb.storage.pickle_files",
    "PostgresStorage": "sgdb.storage.postgres",
    "TrainingRun": "sgdb.storage.training",
    "open_storage": "sgdb.storage.factory",
}


def __getattr__(name: str) -> Any:
    """The names above, loaded when they are asked for: a process that needs one module of this room does not
    wait for the others."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
