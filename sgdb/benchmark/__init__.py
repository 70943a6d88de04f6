"""Bots play the boards of a benchmark set; what they reach is kept, and compared.

>>> from sgdb.benchmark import Benchmark
>>> with Benchmark(GameConfig(8, 8, 4), num_games=100) as benchmark:
...     benchmark.run_bots(["LargestGroupBot", "mybots:MyBot"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgdb.benchmark.benchmark import Benchmark
    from sgdb.benchmark.in_process import InProcess
    from sgdb.benchmark.pool import ProcessPool
    from sgdb.benchmark.ray_cluster import RayCluster
    from sgdb.benchmark.strategy import Strategy

__all__ = ["Benchmark", "InProcess", "ProcessPool", "RayCluster", "Strategy"]

_MODULES = {
    "Benchmark": "benchmark",
    "InProcess": "in_process",
    "ProcessPool": "pool",
    "RayCluster": "ray_cluster",
    "Strategy": "strategy",
}


def __getattr__(name: str) -> Any:
    """The classes above, loaded when they are asked for: processes that only play need no database."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
