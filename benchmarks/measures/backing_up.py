"""A backup that is not proven, against the same pg_dump by hand."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, compared
from benchmarks.place import Place
from benchmarks.timing import in_turn, simply
from sgdb.database.dump import COMPRESSION
from sgdb.database.programs import install_folder
from sgdb.operations.backup import BackupOptions, backup


def measure(place: Place) -> Iterator[Figure]:
    """The small set."""
    yield of_pickle(place, place.small_pickle, place.effort.games, place.effort.turns)


def of_pickle(place: Place, pickle: Path, games: int, turns: int) -> Figure:
    """The database with this pickle."""
    settings = place.filled(pickle)
    assert settings.database_url is not None
    address = settings.database_url.get_secret_value().replace("postgresql+psycopg2", "postgresql")
    folder = place.folder / "backups"
    folder.mkdir(exist_ok=True)

    def ours() -> None:
        backup(BackupOptions(to=folder / f"{secrets.token_hex(4)}.dump", prove=False), settings)

    def floor() -> None:
        subprocess.run(
            [
                install_folder() / "bin" / "pg_dump",
                *("--format=custom", f"--compress={COMPRESSION}", f"--dbname={address}"),
                f"--file={folder / secrets.token_hex(4)}.by-hand",
            ],
            check=True,
        )

    found = in_turn(simply(ours), simply(floor), turns)
    return compared(f"backup --no-prove of {games:,} games", "pg_dump", found, at_most=1.15)
