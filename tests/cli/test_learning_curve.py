"""`sgdb query learning-curve` as a process."""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy import Engine

from tests.backups import execute
from tests.cli.conftest import Process
from tests.operations.test_learning_curve import TRAININGS


def test_a_training_in_numbers_and_as_charts(sgdb_process: Process, engine: Engine, tmp_path: Path) -> None:
    """In every format; a chart a metric."""
    execute(engine, TRAININGS)
    done = sgdb_process("query", "learning-curve", "first", "-f", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["points"]) == 4
    done = sgdb_process("query", "learning-curve", "first", "--metric", "loss", "-f", "csv")
    assert done.stdout == "epoch,metric,value,checkpoint_id\n2,loss,1.0,2\n10,loss,0.5,1\n"
    done = sgdb_process("query", "learning-curve", "first", "--plot")
    assert done.stdout.count("session 1 (first): agent\n") == 2
    assert done.stdout.count("\nepoch\n") == 2
    assert done.stderr == "not drawn, since not finite: 1 value of 'reward'\n"
    done = sgdb_process("query", "learning-curve", "first", "--plot", "curve.svg")
    assert "wrote curve.svg" in done.stderr
    assert "0.500" in done.stdout
    assert (tmp_path / "curve.svg").read_bytes().startswith(b"<?xml")
    done = sgdb_process("query", "learning-curve", "3", "--plot")
    assert (done.returncode, done.stdout) == (0, "")
    assert "bears a number" in done.stderr
