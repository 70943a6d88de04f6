"""`sgdb server start|stop|status` as people and scripts call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Process


def test_through_its_life(embedded_process: Process, tmp_path: Path) -> None:
    """Every step exits with 0 and tells the state; doing it twice is said and does no harm."""
    done = embedded_process("server", "status")
    assert done.returncode == 0
    assert "server:   not set up yet" in done.stdout
    done = embedded_process("server", "stop")
    assert (done.returncode, done.stderr) == (0, "it was not running\n")
    assert not (tmp_path / "sgdb-home").exists()
    done = embedded_process("server", "start")
    assert done.returncode == 0
    assert "server:   running, pid " in done.stdout
    done = embedded_process("server", "start")
    assert (done.returncode, done.stderr) == (0, "it was running already\n")
    done = embedded_process("server", "stop")
    assert (done.returncode, done.stderr) == (0, "")
    assert "server:   stopped" in done.stdout


def test_json_for_scripts(embedded_process: Process) -> None:
    """`running` is true or false; the rest says where to look."""

    def status() -> dict[str, object]:
        document: dict[str, object] = json.loads(embedded_process("server", "status", "-f", "json").stdout)
        return document

    assert status()["running"] is False
    started = json.loads(embedded_process("server", "start", "-f", "json").stdout)
    assert (started["running"], started["changed"]) == (True, True)
    assert status()["pid"] == started["pid"]
    stopped = json.loads(embedded_process("server", "stop", "-f", "json").stdout)
    assert (stopped["running"], stopped["exists"], stopped["changed"]) == (False, True, True)


@pytest.mark.parametrize("action", ["start", "stop", "status"])
def test_a_server_of_ones_own_is_not_ruled(sgdb_process: Process, action: str) -> None:
    """A wrong call: exit 2, and the command that does show that server."""
    done = sgdb_process("server", action)
    assert (done.returncode, done.stdout) == (2, "")
    assert "sgdb status" in done.stderr


def test_without_an_action_the_help_is_shown(sgdb_process: Process) -> None:
    """All three are named."""
    done = sgdb_process("server")
    for action in ("start", "stop", "status"):
        assert f"  {action} " in done.stdout + done.stderr
