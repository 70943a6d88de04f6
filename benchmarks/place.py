"""Where benchmarks are run: a server of their own in a temporary folder, and databases and pickles on demand.

Nothing of the user's settings and data plays a part, and nothing is left, however a run ends.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psycopg2
from sqlalchemy import URL, make_url

from benchmarks import ROOT
from benchmarks.legacy_files import write_legacy
from sgdb.database.engine import make_engine
from sgdb.database.schema import upgrade
from sgdb.database.server import EmbeddedServer
from sgdb.operations.migrate_pickles import MigratePicklesOptions, migrate_pickles
from sgdb.records import GameConfig
from sgdb.settings import Settings, load_settings, separate_environment

REAL = ROOT.parent / "shared" / "data" / "pickles" / "benchmark_5_7_3_42.pkl"
SMALL, LARGE = GameConfig(5, 7, 3), GameConfig(5, 5, 3)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done: turns of each comparison, games of the small sets and of the large one, and bots with
    results on each of its games where the number of results matters."""

    turns: int = 7
    games: int = 10_000
    large_turns: int = 3
    large_games: int = 1_000_000
    large_bots: int = 20


class Place:
    """A running server. Databases and files are made when they are first asked for."""

    def __init__(self, folder: Path, effort: Effort) -> None:
        self.folder = folder
        self.effort = effort
        self.home = folder / "home"
        self._server = EmbeddedServer(self.home)
        self._url = self._server.ensure_running()
        self._filled: dict[Path, Settings] = {}

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command that works on the server's own database."""
        return separate_environment(self.home)

    # -- files ----------------------------------------------------------------------------------

    @cached_property
    def small_pickle(self) -> Path:
        """10,000 games of 5x7 with two bots: the real file where it is at hand, else one like it."""
        if REAL.exists() and self.effort.games == Effort().games:
            return REAL
        return write_legacy(self.folder / "benchmark_5_7_3_42.pkl", SMALL, self.effort.games)

    @cached_property
    def small_of_large(self) -> Path:
        """As many games of the large pickle's board shape."""
        return write_legacy(self.folder / "small.pkl", LARGE, self.effort.games)

    @cached_property
    def large_pickle(self) -> Path:
        """A million games of 5x5 with two bots."""
        return write_legacy(self.folder / "large.pkl", LARGE, self.effort.large_games)

    # -- databases ------------------------------------------------------------------------------

    def settings(self, url: URL) -> Settings:
        """Settings for one of the server's databases."""
        address = url.render_as_string(hide_password=False)
        return load_settings({"database_url": address, "home": self.home}, folder=self.folder)

    def of_server(self, **overrides: object) -> Settings:
        """Settings as a user of the embedded server has them: its own database, with sgdb's tables."""
        return load_settings({"home": self.home, **overrides}, folder=self.folder)

    @contextmanager
    def empty(self) -> Iterator[Settings]:
        """A database with sgdb's tables and no rows; gone afterwards."""
        with self._copied(self._template) as settings:
            yield settings

    @contextmanager
    def copied_of(self, filled: Settings) -> Iterator[Settings]:
        """A copy of a database that `filled` gave, and that nobody is connected to; gone afterwards."""
        assert filled.database_url is not None
        name = make_url(filled.database_url.get_secret_value()).database
        assert name is not None
        with self._copied(name) as settings:
            yield settings

    @contextmanager
    def _copied(self, template: str) -> Iterator[Settings]:
        url = self._create(template)
        try:
            yield self.settings(url)
        finally:
            self._run(f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)')

    def filled(self, pickle: Path) -> Settings:
        """A database into which a pickle has been migrated: the same one for all who only look."""
        if pickle not in self._filled:
            settings = self.settings(self._create(self._template))
            migrate(pickle, settings)
            self._vacuum(settings)
            self._filled[pickle] = settings
        return self._filled[pickle]

    def checkpoint(self) -> None:
        """Has the server write out what is left of former work."""
        self._run("CHECKPOINT")

    @cached_property
    def _template(self) -> str:
        url = self._create("template0")
        engine = make_engine(url)
        try:
            upgrade(engine)
        finally:
            engine.dispose()
        assert url.database
        return url.database

    def _create(self, template: str) -> URL:
        name = f"bench_{secrets.token_hex(4)}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" ENCODING \'UTF8\'')
        return self._url.set(database=name)

    def _vacuum(self, settings: Settings) -> None:
        """Or autovacuum would do it while something is measured."""
        assert settings.database_url is not None
        self._run("VACUUM (ANALYZE)", settings.database_url.get_secret_value())

    def _run(self, statement: str, address: str | None = None) -> None:
        address = address or self._url.render_as_string(hide_password=False)
        connection = psycopg2.connect(address.replace("postgresql+psycopg2", "postgresql"))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()


def migrate(pickle: Path, settings: Settings) -> None:
    """Migrates one pickle in this process."""
    result = migrate_pickles(MigratePicklesOptions(paths=(pickle,)), settings)
    assert [file.status for file in result.files] == ["migrated"], result.files


@contextmanager
def place(effort: Effort) -> Iterator[Place]:
    """A place, and nothing of it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sgdb-bench-"))
    made: Place | None = None
    try:
        made = Place(folder, effort)
        yield made
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # clearing up is brief, and has to end
        try:
            EmbeddedServer(folder / "home").stop("immediate")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            signal.signal(signal.SIGINT, before)
