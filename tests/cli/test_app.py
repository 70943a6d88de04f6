"""Exit codes, streams and errors of the command line as a whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import sgdb
from sgdb.cli.app import app
from tests.cli.conftest import Process, clean_environment

# The real command line, with a command that waits.
_WAITING = """
import sys, time
from sgdb.cli.app import app, run

@app.command()
def wait():
    print("ready", flush=True)
    time.sleep(60)

sys.exit(run(["wait"]))
"""


def test_version_in_both_ways(sgdb_process: Process) -> None:
    """The quick way and the way through the options say the same."""
    quick = sgdb_process("--version")
    slow = sgdb_process("--debug", "--version")
    assert quick.stdout == slow.stdout == f"sgdb {sgdb.__version__}\n"
    assert quick.returncode == slow.returncode == 0


def test_every_command_has_help(sgdb_process: Process) -> None:
    """`--help` works everywhere and exits with 0."""
    first = sgdb_process("--help")
    assert first.returncode == 0
    for command in ("init", "status", "migrate-pickles", "verify", "query", "export", "server", "demo"):
        assert f"  {command} " in first.stdout
        done = sgdb_process(command, "--help")
        assert done.returncode == 0
        assert "Usage: sgdb" in done.stdout


def test_every_command_is_where_its_group_says() -> None:
    """None is loaded before it is named, so nobody else would notice."""

    def walk(command: Any, path: str) -> list[str]:
        assert command.help, path
        children = getattr(command, "commands", {})
        below = [each for name, child in children.items() for each in walk(child, f"{path} {name}")]
        assert all(child.name == name for name, child in children.items())
        return [path, *below]

    found = walk(get_command(app), "sgdb")
    assert len(found) == len(set(found)) > 35
    assert {"sgdb migrate-pickles", "sgdb query sql", "sgdb checkpoints prune"} <= set(found)


# What commands that do little must not wait for: each of these takes a noticeable part of their time.
_DATABASE = {"alembic", "psycopg2", "sqlalchemy"}
_MODELS = {"sgdb.database.models", "sqlalchemy.orm"}
_COMMANDS = {"sgdb.cli.commands.backup", "sgdb.cli.commands.standings", "sgdb.cli.commands.stats"}
_SELDOM = {"alembic", "filelock", "numpy", "scipy", "sgdb.pickles.parser", "sgdb.storage.base", "tqdm"}


@pytest.mark.parametrize(
    ("arguments", "needless"),
    [
        (["--version"], {"typer", "sgdb.cli.app"}),
        (["--help"], _DATABASE | _SELDOM | {"pydantic_settings", "rich.table", "sgdb.settings"}),
        (["query", "--help"], _DATABASE | _SELDOM | {"pydantic_settings", "rich.table", "sgdb.settings"}),
        (["query", "bot-performance"], _SELDOM | _MODELS | _COMMANDS),
        (["query", "bot-performance", "--format", "json"], _SELDOM | _MODELS | {"rich.table"}),
        (["query", "sets"], _SELDOM),
    ],
    ids=["version", "help", "query help", "bot-performance", "bot-performance as json", "sets"],
)
def test_a_small_command_loads_nothing_heavy(
    arguments: list[str], needless: set[str], database_url: str, tmp_path: Path
) -> None:
    """Libraries are loaded by the commands that need them."""
    script = (
        "import sys\n"
        "from sgdb.__main__ import main\n"
        "assert main() == 0\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=clean_environment(SGDB_DATABASE_URL=database_url),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert needless & set(done.stderr.splitlines()) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["no-such-command"],
        ["query", "games"],
        ["query", "games", "--set", "many"],
        ["query", "bot-performance", "--config", "5x5"],
        ["query", "bot-performance", "--sort", "beauty"],
        ["query", "games", "--set", "1", "--start", "5", "--stop", "2"],
        ["migrate-pickles", "no-such-file"],
        ["migrate-pickles"],
        ["export", "--to", "out"],
        ["export", "--to", "out", "--all", "--set", "1"],
        ["verify", "--format", "yaml"],
    ],
)
def test_a_wrong_call_exits_with_2_and_says_why(sgdb_process: Process, arguments: list[str]) -> None:
    """On stderr, without a traceback; stdout stays empty."""
    done = sgdb_process(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_server_exits_with_3_and_hides_the_password(sgdb_process: Process) -> None:
    """Message and next step on stderr; the password nowhere, not even under --debug."""
    url = "postgresql://someone:geheim@127.0.0.1:1/nowhere"
    for debug in ([], ["--debug"]):
        done = sgdb_process(*debug, "query", "sets", SGDB_DATABASE_URL=url)
        assert done.returncode == 3
        assert done.stdout == ""
        assert "127.0.0.1:1" in done.stderr
        assert "next:" in done.stderr
        assert "geheim" not in done.stderr
        assert ("Traceback" in done.stderr) is bool(debug)


def test_a_database_without_tables_names_the_next_command(sgdb_process: Process, empty_database: str) -> None:
    """Exit 3 and `sgdb init`."""
    done = sgdb_process("migrate-pickles", ".", "--dry-run", SGDB_DATABASE_URL=empty_database)
    assert done.returncode == 3
    assert "sgdb init" in done.stderr


def test_an_unknown_variable_is_told_and_the_command_goes_on(sgdb_process: Process) -> None:
    """A typo in a variable's name does not pass silently."""
    done = sgdb_process("query", "sets", "--format", "json", SGDB_PICKEL_DIR="x")
    assert done.returncode == 0
    assert json.loads(done.stdout) == []
    assert "SGDB_PICKEL_DIR" in done.stderr
    assert "SGDB_PICKLE_DIR" in done.stderr


def test_python_dash_m_and_the_script_are_the_same(database_url: str, tmp_path: Path) -> None:
    """The console script runs the same program."""
    script = Path(sys.executable).with_name("sgdb")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "sgdb"]
    done = subprocess.run(
        [*command, "query", "sets", "--format", "csv"],
        env=clean_environment(SGDB_DATABASE_URL=database_url),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("id,name,num_rows")


def test_an_empty_path_is_not_the_current_folder(sgdb_process: Process) -> None:
    """An unset variable in a script must not migrate or fill the wrong folder."""
    for arguments in (["migrate-pickles", ""], ["verify", ""], ["export", "--all", "--to", ""]):
        done = sgdb_process(*arguments)
        assert done.returncode == 2
        assert "empty path" in done.stderr
    assert sgdb_process("--database-url", "", "query", "sets").returncode == 2


def test_a_reader_that_goes_away_is_not_an_answer(database_url: str, tmp_path: Path) -> None:
    """The command ends by SIGPIPE, as others do, not with the exit code that means no."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "sgdb", "query", "sets", "--format", "json"]
    environment = clean_environment(SGDB_DATABASE_URL=database_url)
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_a_full_disk_behind_stdout_is_the_environments_fault(database_url: str, tmp_path: Path) -> None:
    """Exit 3 with a sentence, not a bug."""
    full = Path("/dev/full")
    if not full.exists():
        return  # no such device on this system
    with full.open("w") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "sgdb", "query", "sets"],
            env=clean_environment(SGDB_DATABASE_URL=database_url),
            cwd=tmp_path,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert "cannot write the output" in done.stderr


def test_a_looking_command_sets_up_no_server(embedded_process: Process, tmp_path: Path) -> None:
    """Without a database there is nothing to look at; the way to one is named."""
    done = embedded_process("query", "sets")
    assert done.returncode == 3
    assert "sgdb init" in done.stderr
    assert not (tmp_path / "sgdb-home").exists()


def test_ctrl_c_says_so(database_url: str, tmp_path: Path) -> None:
    """Exit 130 and a word, whatever the command was doing."""
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", _WAITING],
        env=clean_environment(SGDB_DATABASE_URL=database_url),
        cwd=tmp_path,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(write)
        assert os.read(read, 100).startswith(b"ready")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    os.close(read)
    assert process.returncode == 130
    assert said == "interrupted\n"
