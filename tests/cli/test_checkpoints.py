"""`sgdb checkpoints`."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sgdb.settings import Settings, load_settings
from sgdb.storage import TrainingRun
from tests.cli.conftest import Process, clean_environment
from tests.steps import count, tamper

LARGE = b"large" * 100


@pytest.fixture
def home(settings: Settings, database_url: str) -> str:
    """The home of a training of six epochs, every second of which has its weights in a file."""
    changed = load_settings({"home": settings.home, "database_url": database_url, "checkpoint_limit": 100})
    with TrainingRun("one", bot="Agent", settings=changed) as run:
        for epoch in range(6):
            run.log_checkpoint(
                epoch, b"small" if epoch % 2 else LARGE + b"%d" % epoch, None, {"loss": 6 - epoch}
            )
    return str(settings.home)


def test_list_and_show(sgdb_process: Process, home: str, engine: Engine) -> None:
    """All of them or those of a session, in every format; one with its lineage."""
    tamper(engine, "INSERT INTO bots (name, checkpoint_id) VALUES ('best', 2)")
    table = sgdb_process("checkpoints", "list", "--session", "one", SGDB_HOME=home).stdout
    assert "loss 6" in table
    assert "501 B" in table
    rows = list(csv.DictReader(io.StringIO(sgdb_process("checkpoints", "list", "-f", "csv").stdout)))
    assert [(row["epoch"], row["weights"], row["place"], row["metrics"]) for row in rows[:2]] == [
        ("0", "501", "file", '{"loss": 6}'),
        ("1", "5", "database", '{"loss": 5}'),
    ]
    documents = json.loads(sgdb_process("checkpoints", "list", "-f", "json").stdout)
    assert [document["epoch"] for document in documents] == list(range(6))
    assert list(documents[0]) == [
        "id",
        "session_id",
        "session",
        "agent",
        "epoch",
        "weights",
        "optimizer",
        "file_path",
        "metrics",
        "metadata",
        "created_at",
        "bots",
    ]
    shown = sgdb_process("checkpoints", "show", "2").stdout
    assert "best" in shown
    assert "session:     1, one, completed" in shown
    assert json.loads(sgdb_process("checkpoints", "show", "2", "-f", "json").stdout)["lineage"]["bots"] == [
        {"id": 2, "name": "best", "version": "1.0", "results": 0, "sets": 0}
    ]
    assert "bots:        none" in sgdb_process("checkpoints", "show", "3").stdout
    done = sgdb_process("checkpoints", "show", "99")
    assert (done.returncode, "there is no checkpoint 99" in done.stderr) == (2, True)


def test_get_and_put(sgdb_process: Process, home: str, tmp_path: Path) -> None:
    """Into a file and out of files; damage is input refused, a conflict is, too."""
    done = sgdb_process("checkpoints", "get", "1", "--to", "weights.pth", SGDB_HOME=home)
    assert (done.returncode, done.stdout) == (0, "weights.pth\n")
    assert (tmp_path / "weights.pth").read_bytes() == LARGE + b"0"
    again = sgdb_process("checkpoints", "get", "1", "--to", "weights.pth", SGDB_HOME=home)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    words = ["checkpoints", "put", "one", "--epoch", "7", "--weights", "weights.pth"]
    words += ["--metric", "loss=0.5", "--metric", "a=b=-3", "--metric", "far=inf"]
    for said in ("added", "is there already"):
        done = sgdb_process(*words, SGDB_HOME=home)
        assert (done.returncode, done.stderr) == (0, f"epoch 7 of session 1: {said}\n")
    document = json.loads(sgdb_process("checkpoints", "list", "-f", "json").stdout)[-1]
    assert document["metrics"] == {"loss": 0.5, "a=b": -3, "far": {"$float": "inf"}}
    done = sgdb_process(*words, "--metric", "loss=1", SGDB_HOME=home)
    assert (done.returncode, "with other metrics" in done.stderr) == (4, True)
    for wrong in (["--metric", "loss"], ["--metric", "=1"], ["--metric", "loss=high"], ["--epoch", "-1"]):
        done = sgdb_process("checkpoints", "put", "one", "--epoch", "8", *wrong, SGDB_HOME=home)
        assert done.returncode == 2, done
    for path in (Path(home) / "checkpoints").rglob("*"):
        if path.is_file():
            path.unlink()
    done = sgdb_process("checkpoints", "get", "1", "--to", "new.pth", SGDB_HOME=home)
    assert (done.returncode, "are gone" in done.stderr) == (4, True)
    assert not (tmp_path / "new.pth").exists()


def test_prune_asks(sgdb_process: Process, home: str, engine: Engine) -> None:
    """Without a terminal and without --yes the answer is no; what would go is told before."""
    words = ("checkpoints", "prune", "one", "--keep-last", "1")
    done = sgdb_process(*words, SGDB_HOME=home)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "5 checkpoints would go, 1.5 kB; kept: 1\n"
        "epochs that would go: 0, 1, 2, 3, 4\n"
        "nothing was changed (--yes goes on without asking)\n"
    )
    done = sgdb_process(*words, "--dry-run", SGDB_HOME=home)
    assert (done.returncode, "dry run: nothing was changed" in done.stderr) == (0, True)
    assert count(engine, "model_checkpoints") == 6
    dry = json.loads(sgdb_process(*words, "--dry-run", "-f", "json", SGDB_HOME=home).stdout)
    done = sgdb_process(*words, "--yes", "--format", "json", SGDB_HOME=home)
    document = json.loads(done.stdout)
    assert (done.returncode, document) == (0, {**dry, "dry_run": False})
    assert document["kept"] == [{"epoch": 5, "because": ["last"]}]
    assert [each["epoch"] for each in document["pruned"]] == list(range(5))
    assert document["freed_bytes"] == 3 * len(LARGE + b"0")
    done = sgdb_process(*words, SGDB_HOME=home)
    assert (done.returncode, done.stderr) == (0, "nothing to remove; kept: 1\n")


@pytest.mark.parametrize(("answer", "left"), [("y\n", 2), ("n\n", 6), ("\n", 6)])
def test_prune_on_a_terminal(
    home: str, database_url: str, engine: Engine, tmp_path: Path, answer: str, left: int
) -> None:
    """Only a yes is one."""
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sgdb",
            "checkpoints",
            "prune",
            "one",
            "--keep-best",
            "2",
            "--metric",
            "loss",
        ],
        env=clean_environment(SGDB_HOME=home, SGDB_DATABASE_URL=database_url),
        cwd=tmp_path,
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == (0 if left == 2 else 1), done
    assert count(engine, "model_checkpoints") == left


@pytest.mark.parametrize(
    "rules",
    [
        [],
        ["--keep-best", "1"],
        ["--metric", "loss"],
        ["--keep-last", "0"],
        ["--keep-last", "1", "--lowest"],
        ["--keep-best", "1", "--metric", "los"],
    ],
    ids=" ".join,
)
def test_rules_that_mean_nothing(sgdb_process: Process, home: str, engine: Engine, rules: list[str]) -> None:
    """A usage error, also with --yes, and nothing goes."""
    done = sgdb_process("checkpoints", "prune", "one", "--yes", *rules, SGDB_HOME=home)
    assert done.returncode == 2, done
    assert count(engine, "model_checkpoints") == 6


def test_status_and_sync_tell_of_trainings(sgdb_process: Process, home: str, settings: Settings) -> None:
    """Files that are in no backup; what could not be told while the database was away, until it is paid."""
    told = sgdb_process("status", SGDB_HOME=home).stdout
    assert "outside:  3 files of checkpoints, 1.5 kB, in no backup: " in told
    away = load_settings({"home": home, "database_url": "postgresql://x@127.0.0.1:1/y"})
    with TrainingRun("away", bot="Agent", settings=away) as run:
        run.log_checkpoint(0, b"w")
    assert "owed:     3 training events since " in sgdb_process("status", SGDB_HOME=home).stdout
    done = sgdb_process("sync", SGDB_HOME=home)
    assert (done.returncode, "owed to another database" in done.stderr) == (1, True)
    document = json.loads(sgdb_process("sync", "-f", "json", SGDB_HOME=home).stdout)
    (one,) = document["sessions"]
    assert (document["sets"], one["uid"], one["name"], one["status"], one["notes"]) == (
        [],
        str(run.uid),
        "away",
        "owed",
        3,
    )
    assert list(one) == [
        "uid",
        "name",
        "database",
        "since",
        "notes",
        "status",
        "paid",
        "checkpoints",
        "conflicts",
        "error",
    ]
    rows = list(csv.DictReader(io.StringIO(sgdb_process("sync", "-f", "csv", SGDB_HOME=home).stdout)))
    assert [(row["training"], row["notes"], row["status"]) for row in rows] == [(str(run.uid), "3", "owed")]
