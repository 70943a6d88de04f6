"""Whole commands, from the start of the process to its end, on a server that runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import ROOT
from benchmarks.figures import Figure, compared
from benchmarks.place import Place, migrate
from benchmarks.timing import in_turn, simply
from sgdb.database.engine import database_url
from sgdb.database.revisions import VERSION_TABLE, head
from sgdb.operations.init import InitOptions, init

# What `alembic init` writes, without its comments, its logging and its way to work without a connection.
_ENV = """
from alembic import context
from sqlalchemy import engine_from_config, pool

connectable = engine_from_config(
    context.config.get_section(context.config.config_ini_section, {}),
    prefix="sqlalchemy.",
    poolclass=pool.NullPool,
)
with connectable.connect() as connection:
    context.configure(connection=connection, target_metadata=None, version_table="%s")
    with context.begin_transaction():
        context.run_migrations()
"""


def measure(place: Place) -> Iterator[Figure]:
    """A query, and two commands that need no database."""
    settings = place.of_server()
    init(InitOptions(), settings)
    migrate(place.small_pickle, settings)
    ini = _alembic(place, database_url(settings).render_as_string(hide_password=False))
    assert head() in _run(place, "-m", "alembic", "-c", str(ini), "current")
    assert "LargestGroupBot" in _run(place, "-m", "sgdb", "query", "bot-performance")
    nothing = _command(place, "-c", "pass")
    for what, arguments, floor_name, floor, at_most in (
        (
            "sgdb query bot-performance, whole process",
            ("query", "bot-performance"),
            "alembic current",
            _command(place, "-m", "alembic", "-c", str(ini), "current"),
            1.0,
        ),
        ("sgdb --version, whole process", ("--version",), "python -c pass", nothing, 3.0),
        ("(sgdb --help, whole process)", ("--help",), "python -c pass", nothing, None),
    ):
        ours = _command(place, "-m", "sgdb", *arguments)
        turns = in_turn(simply(ours), simply(floor), 2 * place.effort.turns)
        yield compared(what, floor_name, turns, at_most=at_most)


def _alembic(place: Place, address: str) -> Path:
    """A configuration of Alembic for the same database and the same migrations."""
    folder = place.folder / "by-hand"
    folder.mkdir(exist_ok=True)
    (folder / "env.py").write_text(_ENV % VERSION_TABLE)
    ini = folder / "alembic.ini"
    ini.write_text(
        f"[alembic]\nscript_location = {folder}\nversion_locations = {ROOT / 'migrations' / 'versions'}\n"
        f"path_separator = os\nsqlalchemy.url = {address.replace('%', '%%')}\n"
    )
    return ini


def _command(place: Place, *arguments: str) -> Callable[[], object]:
    return lambda: _run(place, *arguments)


def _run(place: Place, *arguments: str) -> str:
    """Runs `python ARGUMENTS`; returns what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return done.stdout
