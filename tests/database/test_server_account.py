"""What root must give away so that the server can run as a system user, and what it must not."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from sgdb.database import server_account
from sgdb.database.server_account import SYSTEM_USER, ServerAccount
from sgdb.errors import ServerError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="an ordinary user runs the server itself")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@as_root
def test_folders_on_the_way_can_be_passed_but_not_listed(tmp_path: Path) -> None:
    """o+x is added where it lacks, o+r never, and each change is told once."""
    private = tmp_path / "private"
    (private / "home").mkdir(parents=True)
    private.chmod(0o700)
    notices: list[str] = []
    account = ServerAccount(notices)
    account.let_through(private / "home")
    assert mode(private) == 0o701
    told = [notice for notice in notices if notice.startswith(f"{private} ")]
    assert len(told) == 1
    assert SYSTEM_USER in told[0]
    notices.clear()
    account.let_through(private / "home")
    assert notices == []


@as_root
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs a folder whose mode root cannot change")
def test_a_folder_that_cannot_be_opened_up_is_told() -> None:
    """On a read-only file system, say."""
    with pytest.raises(ServerError, match="/proc/self/fd") as caught:
        ServerAccount([]).let_through(Path("/proc/self/fd"))
    assert "SGDB_HOME" in str(caught.value.hint)


def test_another_users_data_folder_is_told_as_that() -> None:
    """PostgreSQL itself would speak of a file that it cannot open. Nobody but root owns the root folder."""
    with pytest.raises(ServerError, match="/ belongs to user root") as caught:
        ServerAccount([]).require_owner(Path("/"))
    assert "sudo -u root sgdb" in str(caught.value.hint)


@as_root
def test_programs_installed_for_root_alone_become_usable(tmp_path: Path) -> None:
    """After an install under umask 077 the system user can run the programs; one notice says so."""
    tree = tmp_path / "programs"
    (tree / "bin").mkdir(parents=True)
    program = tree / "bin" / "hello"
    program.write_text("#!/bin/sh\ncat $(dirname $0)/../text\n")
    (tree / "text").write_text("hello")
    for path, bits in ((tree, 0o700), (tree / "bin", 0o700), (program, 0o700), (tree / "text", 0o600)):
        path.chmod(bits)
    notices: list[str] = []
    account = ServerAccount(notices)
    account.let_read(tree)
    assert [notice for notice in notices if str(tree) in notice] == notices[-1:]
    result = subprocess.run([program], cwd="/", capture_output=True, text=True, **account.process_options)
    assert result.stdout == "hello"
    assert mode(tree / "text") == 0o604


@as_root
def test_the_server_user_is_not_root() -> None:
    """Processes get the system user's ids and none of root's groups."""
    options = ServerAccount([]).process_options
    result = subprocess.run(["id"], cwd="/", capture_output=True, text=True, check=True, **options)
    assert f"({SYSTEM_USER})" in result.stdout
    assert "0(root)" not in result.stdout


@as_root
def test_a_user_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without useradd and adduser the error names the way out."""
    monkeypatch.setattr(server_account, "SYSTEM_USER", "sgdb-nobody-here")
    monkeypatch.setattr(server_account, "_CREATE_USER", (("no-such-program",),))
    with pytest.raises(ServerError, match="cannot be created") as caught:
        ServerAccount([])
    assert "SGDB_DATABASE_URL" in str(caught.value.hint)


@as_user
def test_an_ordinary_user_changes_nothing(tmp_path: Path) -> None:
    """No ids to switch to, and no mode is touched."""
    (tmp_path / "private").mkdir(mode=0o700)
    notices: list[str] = []
    account = ServerAccount(notices)
    account.let_through(tmp_path / "private")
    account.let_read(tmp_path / "private")
    assert account.process_options == {}
    assert mode(tmp_path / "private") == 0o700
    assert notices == []


def test_a_private_folder_is_told_from_an_open_one(tmp_path: Path) -> None:
    """Only a real folder of the account, closed to everybody else, counts as its own."""
    account = ServerAccount([])
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    account.own(folder)
    assert account.owns(folder)
    (tmp_path / "link").symlink_to(folder)
    assert not account.owns(tmp_path / "link")
    folder.chmod(0o750)
    assert not account.owns(folder)
