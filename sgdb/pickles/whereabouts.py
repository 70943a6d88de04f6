"""Whether a file that was read once is still where it was, and still the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sgdb.errors import FileAccessError, NotAPickleError, NotFoundError
from sgdb.pickles.files import FileSource, HashedStream

_READ_SIZE = 1 << 20  # bytes


class Whereabouts(StrEnum):
    """What has become of a file."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    GONE = "gone"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at a path now: its SHA-256 where it was read, and why it could not be. Of a folder, `below`
    is the file in it that this is said of."""

    whereabouts: Whereabouts
    sha256: str | None = None
    error: str | None = None
    below: str | None = None


def look_for(
    path: Path, sha256: str, size: int | None = None, on_bytes: Callable[[int], object] | None = None
) -> Found:
    """Looks for the file with this SHA-256 at `path`. Where the `size` in bytes is known and another one, it
    is not read. Never raises for what is wrong with the file."""
    try:
        there = path.stat().st_size
        if size is not None and there != size:
            return Found(Whereabouts.CHANGED)
        found = hash_file(path, on_bytes)
    except (FileNotFoundError, NotADirectoryError, NotFoundError, ValueError):
        return Found(Whereabouts.GONE)
    except NotAPickleError:  # no regular file: something else has taken its name
        return Found(Whereabouts.CHANGED)
    except FileAccessError as error:
        return Found(Whereabouts.UNREADABLE, error=error.message)
    except OSError as error:
        return Found(Whereabouts.UNREADABLE, error=f"cannot look at {path}: {error.strerror}")
    return Found(Whereabouts.UNCHANGED if found == sha256 else Whereabouts.CHANGED, found)


def hash_file(path: Path, on_bytes: Callable[[int], object] | None = None) -> str:
    """The SHA-256 of a regular file's bytes, in hexadecimal. Raises like `FileSource.open`."""
    with FileSource(path).open() as raw:
        stream = HashedStream(raw, on_bytes and (lambda data: on_bytes(len(data))))
        while stream.read(_READ_SIZE):
            pass
        return stream.sha256
