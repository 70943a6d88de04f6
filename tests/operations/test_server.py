"""Starting, stopping and looking at the embedded server."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgdb.errors import UsageError
from sgdb.operations.server import ServerAction, server
from sgdb.settings import load_settings


def test_through_its_life(short_home: Path) -> None:
    """Absent, started, running already, stopped, stopped already, started again."""
    settings = load_settings({"home": short_home})

    def do(action: ServerAction) -> tuple[bool, bool, bool]:
        result = server(action, settings)
        assert result.status.running is (result.status.pid is not None)
        return result.exists, result.status.running, result.changed

    for looking in (ServerAction.STATUS, ServerAction.STOP):
        assert do(looking) == (False, False, False)
    assert not short_home.exists()
    assert do(ServerAction.START) == (True, True, True)
    assert do(ServerAction.START) == (True, True, False)
    assert do(ServerAction.STATUS) == (True, True, False)
    assert do(ServerAction.STOP) == (True, False, True)
    assert do(ServerAction.STOP) == (True, False, False)
    assert do(ServerAction.STATUS) == (True, False, False)
    assert do(ServerAction.START) == (True, True, True)


def test_an_empty_folder_is_no_server(short_home: Path) -> None:
    """It would be filled by the first start."""
    (short_home / "postgres").mkdir(parents=True)
    assert not server(ServerAction.STATUS, load_settings({"home": short_home})).exists


def test_the_json_document(short_home: Path) -> None:
    """Its keys are a promise to scripts; a running server tells its process, socket and start."""
    settings = load_settings({"home": short_home})
    absent = server(ServerAction.STATUS, settings).to_json()
    assert absent == {
        "running": False,
        "exists": False,
        "changed": False,
        "pid": None,
        "version": absent["version"],
        "data_folder": str(short_home / "postgres"),
        "socket_folder": None,
        "log_file": str(short_home / "server.log"),
        "started_at": None,
    }
    running = server(ServerAction.START, settings).to_json()
    assert list(running) == list(absent)
    assert running["running"]
    assert isinstance(running["pid"], int)
    assert running["started_at"].endswith("+00:00")
    assert Path(running["socket_folder"]).is_dir()


@pytest.mark.parametrize("action", list(ServerAction))
@pytest.mark.parametrize(
    "address", [{"database_url": "postgresql://ann:hush@db/games"}, {"host": "db"}, {"database": "games"}]
)
def test_a_server_of_ones_own_is_not_ruled(action: ServerAction, address: dict[str, object]) -> None:
    """However it is named, and without a connection being tried."""
    with pytest.raises(UsageError, match="server of your own") as caught:
        server(action, load_settings(address))
    assert "sgdb status" in str(caught.value.hint)
    assert "hush" not in f"{caught.value} {caught.value.hint}"
