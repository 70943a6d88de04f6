"""A Ray cluster of two nodes plays as everybody else does, and stores what it plays by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sgdb.benchmark import Benchmark, InProcess, RayCluster
from sgdb.benchmark.benchmark import BotRun
from sgdb.errors import ClusterError
from sgdb.records import GameConfig
from sgdb.settings import Settings
from sgdb.storage import PostgresStorage

CONFIG = GameConfig(4, 5, 4)
_ROOT = Path(__file__).resolve().parents[2]
# Ray has threads, warnings and open files of its own, so it gets a process. The cluster is started once.
_PROGRAM = """
import os, sys

import ray
from ray.cluster_utils import Cluster

from sgdb.benchmark import Benchmark, RayCluster
from sgdb.records import GameConfig
from sgdb.settings import load_settings
from tests.benchmark import bots
from tests.benchmark.test_strategies import check_strategy

small = {"num_cpus": 1, "object_store_memory": 80_000_000}
cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **small})
second = cluster.add_node(**small)
cluster.wait_for_nodes()
try:
    with RayCluster(cluster.address, time_limit=1) as strategy:
        check_strategy(strategy)
        settings = load_settings()
        benchmark = Benchmark(GameConfig(4, 5, 4), 80, 7, "database", settings=settings, strategy=strategy)
        with benchmark:
            for run in benchmark.run_bots(["RandomBot", bots.First()], record_moves=True):
                assert (run.played, run.recorded, run.failures) == (80, 80, []), run
            for bot in (bots.Dying(), bots.Hanging()):
                small = Benchmark(GameConfig(4, 5, 4), 6, 7, "database", settings=settings, strategy=strategy)
                with small:
                    run, = small.run_bots([bot])
                print(run.bot, run.played, *(failure.game_id for failure in run.failures), sep=" ")

            # A node is lost in the middle: what it was at work on is played by the other one.
            ray.get([*strategy._workers])  # both have begun, on a slow machine as well
            play = strategy.play

            def losing(*arguments):
                for number, report in enumerate(play(*arguments)):
                    if number == 3:
                        cluster.remove_node(second, allow_graceful=False)
                    yield report

            strategy.play = losing
            run, = benchmark.run_bots([bots.Slower()])
            assert (run.played, run.failures) == (80, []), run
            assert "was lost" in strategy._last_loss, (strategy._last_loss, strategy._ready)
finally:
    cluster.shutdown()
print("done")
"""


@pytest.mark.slow
def test_a_cluster_of_two_nodes(settings: Settings, database_url: str, tmp_path: Path) -> None:
    """All that a strategy has to keep to; results and moves arrive in the shared database, stored by the
    workers; bots that hang or die cost their own games; a lost node costs none."""
    environment = {**os.environ, "SGDB_DATABASE_URL": database_url, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "done"
    with PostgresStorage(settings, CONFIG, 7) as storage:
        here = Benchmark(CONFIG, 80, 7, storage, strategy=InProcess())
        odd = [game.game_id for game in here.iter_games(0, 6) if sum(map(sum, game.cells)) % 2]
        said = " ".join(map(str, odd))
        told = [line for line in lines if line.startswith(("Dying", "Hanging"))]  # Ray talks, too
        assert told == [f"{bot} {6 - len(odd)} {said}" for bot in ("Dying", "Hanging")]
        assert here.run_bots() == [
            BotRun("LargestGroupBot", played=80),
            BotRun("GreedySinglesBot", played=80),
            BotRun("RandomBot", there=80),
        ]
        slow, first = (storage.load_results(bot) for bot in ("Slower", "First"))
        assert [row._replace(bot_name="First") for row in slow] == first
        assert storage.games_with_moves("RandomBot").pairs() == [(0, 80)]
        assert storage.games_with_moves("First").pairs() == [(0, 80)]


def test_no_cluster(settings: Settings) -> None:
    """It is said at once, whatever is wrong with the address."""
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999999"):
        with (
            Benchmark(CONFIG, settings=settings, strategy=RayCluster(address)) as benchmark,
            pytest.raises(ClusterError, match="nobody answers"),
        ):
            benchmark.run_bots(["tests.benchmark.bots:First"])
