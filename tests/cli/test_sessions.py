"""`sgdb sessions`."""

from __future__ import annotations

import csv
import io
import json

import pytest

from sgdb.records import GameConfig
from sgdb.settings import Settings
from sgdb.storage import TrainingRun
from tests.cli.conftest import Process


@pytest.fixture
def run(settings: Settings) -> TrainingRun:
    """A training that is over, with a name that would like to rewrite the terminal."""
    with TrainingRun(
        "one\x1b[2J|",
        bot="Agent",
        settings=settings,
        config=GameConfig(5, 7, 3),
        hyperparameters={"lr": 1e-5},
    ) as run:
        run.log_checkpoint(1000, b"weights", b"adam", {"loss": float("nan"), "reward": 1.25})
        run.finish({"loss": 0.5})
    return run


def test_list(sgdb_process: Process, run: TrainingRun) -> None:
    """One line a session in every format, harmless on a terminal; json has stable keys."""
    table = sgdb_process("sessions", "list").stdout
    assert "\x1b" not in table
    assert "one\\x1b[2J|" in table
    assert "5x7x3" in table
    (row,) = csv.DictReader(io.StringIO(sgdb_process("sessions", "list", "--format", "csv").stdout))
    assert (row["name"], row["bot"], row["status"], row["checkpoints"], row["last_epoch"]) == (
        "one\x1b[2J|",
        "Agent",
        "completed",
        "1",
        "1000",
    )
    markdown = sgdb_process("sessions", "list", "-f", "markdown").stdout.splitlines()
    assert markdown[2].startswith("| 1 | one\\\\x1b[2J\\| | Agent | completed | 5x7x3 |")
    (document,) = json.loads(sgdb_process("sessions", "list", "--format", "json").stdout)
    assert {name: document[name] for name in ("id", "uid", "status", "config", "last_epoch")} == {
        "id": 1,
        "uid": str(run.uid),
        "status": "completed",
        "config": {"num_rows": 5, "num_cols": 7, "num_colors": 3},
        "last_epoch": 1000,
    }
    assert list(document) == [
        "id",
        "uid",
        "name",
        "bot",
        "status",
        "config",
        "started_at",
        "ended_at",
        "heartbeat_at",
        "checkpoints",
        "last_epoch",
    ]
    assert json.loads(sgdb_process("sessions", "list", "--status", "failed", "-f", "json").stdout) == []
    done = sgdb_process("sessions", "list", "--status", "asleep")
    assert (done.returncode, "no status 'asleep'" in done.stderr) == (2, True)


def test_show(sgdb_process: Process, run: TrainingRun) -> None:
    """Everything that is known, and the checkpoints; a name that is not there is told."""
    shown = sgdb_process("sessions", "show", str(run.uid)).stdout
    assert '{"lr": 1e-05}' in shown
    assert "loss nan, reward 1.25" in shown
    assert " 1000 " in shown
    document = json.loads(sgdb_process("sessions", "show", "1", "--format", "json").stdout)
    assert document["hyperparameters"] == {"lr": 1e-5}
    assert document["final_metrics"] == {"loss": 0.5}
    (epoch,) = document["epochs"]
    assert epoch["metrics"] == {"loss": {"$float": "nan"}, "reward": 1.25}
    assert epoch["weights"]["place"] == "database"
    done = sgdb_process("sessions", "show", "none")
    assert (done.returncode, "there is no training session 'none'" in done.stderr) == (2, True)
