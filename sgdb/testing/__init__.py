"""For those who write a storage of their own: what to test it with. Needs the extra `sgdb[testing]`.

>>> class TestMyStorage(StorageContract):
...     @pytest.fixture
...     def open_storage(self): ...
"""

from sgdb.testing.contract import OpenStorage, StorageContract
from sgdb.testing.data import benchmark_data, performances

__all__ = ["OpenStorage", "StorageContract", "benchmark_data", "performances"]
