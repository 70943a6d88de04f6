"""Where programs keep benchmark sets: in the database, in pickles, or in both at once.

>>> from sgdb.storage import open_storage
>>> storage = open_storage("dual", config=GameConfig(8, 8, 4), base_seed=42)
>>> storage.save_results("MyAgent", results)
"""

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
