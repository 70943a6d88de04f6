"""Notes in a folder of the journal: finding them, and keeping others away from one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sgdb.atomic import file_error


def notes(folder: Path, prefix: str = "", suffix: str = ".json") -> Iterator[Path]:
    """The notes whose names begin and end so, by name. Raises FileAccessError."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except FileNotFoundError:
        return
    except OSError as error:
        raise file_error(error, f"cannot look into {folder}") from error
    for name in names:
        if name.startswith(prefix) and name.endswith(suffix):
            yield folder / name


@contextmanager
def locked(path: Path, *, wait: bool = True, is_unique: bool = True) -> Iterator[bool]:
    """Keeps every other process and thread away from the file at `path`; yields False when one is there
    already and `wait` is not asked for. The lock is a file beside it. That of a name which is never used
    again goes with its file; any other stays, since somebody may be waiting for it."""
    lock = FileLock(path.with_suffix(".lock"), timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise file_error(error, f"cannot lock {path}") from error
    try:
        yield True
    finally:
        if is_unique and not path.exists():
            with suppress(OSError):
                Path(lock.lock_file).unlink()
        lock.release()
