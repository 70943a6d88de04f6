"""Finding files that may be pickles, opening them safely, and telling what they are by content."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from sgdb.errors import FileAccessError, NotAPickleError, NotFoundError
from sgdb.pickles.window import ByteStream

# Two names as GLOBAL or INST have them, and what comes next: an object, or somebody's attack.
_OLD_GLOBAL = re.compile(rb"\(?[ci][A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n(?:[()q]|p\d+\n)")
_HEAD = 512  # bytes looked at to tell what a file is
_OLD_TORCH = bytes.fromhex("80 02 8a 0a 6c fc 9c 46 f9 20 6a a8 50 19")  # torch's own magic number, pickled


class HashedStream:
    """A byte stream that hashes and counts what is read, and passes it on to `tee`."""

    def __init__(self, stream: ByteStream, tee: Callable[[bytes], object] | None = None) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._tee = tee
        self.size = 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        data = self._stream.read(size)
        self._hash.update(data)
        self.size += len(data)
        if self._tee is not None and data:
            self._tee(data)
        return data

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of what has been read so far."""
        return self._hash.hexdigest()


class Copy(Protocol):
    """Takes the file's bytes while they are read for the first time."""

    def restart(self) -> None:
        """Forget what came so far: the file is being read from its beginning again."""

    def write(self, data: bytes, /) -> object:
        """The next bytes."""


def tee(copy: Copy | None, on_bytes: Callable[[int], object] | None) -> Callable[[bytes], object]:
    """What passes bytes on to a copy, and their number to `on_bytes`."""

    def pass_on(data: bytes) -> None:
        if copy is not None:
            copy.write(data)
        if on_bytes is not None:
            on_bytes(len(data))

    return pass_on


class Source(Protocol):
    """Where a legacy file's bytes come from; opened anew for every reading."""

    @property
    def name(self) -> str:
        """The file's name without folders: only ever a hint."""

    def open(self) -> AbstractContextManager[ByteStream]:
        """The bytes from the beginning."""


class _File:
    """An open file whose errors are sgdb's."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        try:
            return os.read(self._descriptor, size)
        except OSError as error:
            raise FileAccessError(
                f"cannot read {self._path}: {error.strerror}", hint="check the disk that the file is on"
            ) from error


class _HeldFile:
    """An open file as a source of its own: every reading begins anew, on the same file."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.name = path.name
        self._descriptor = descriptor
        self._path = path

    @contextmanager
    def open(self) -> Iterator[ByteStream]:
        """The bytes from the beginning."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        yield _File(self._descriptor, self._path)


class FileSource:
    """A file on disk. Only regular files are opened, and opening never waits (as it would for a pipe)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name

    @contextmanager
    def open(self) -> Iterator[ByteStream]:
        """The bytes from the beginning. Raises FileAccessError, NotFoundError or NotAPickleError; reading
        raises FileAccessError."""
        with self.hold() as held, held.open() as stream:
            yield stream

    @contextmanager
    def hold(self) -> Iterator[Source]:
        """This very file for several readings, whatever takes its name meanwhile. Raises like `open`."""
        try:
            # Looked at first, because opening alone does something to a pipe or a device.
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise NotAPickleError("not a regular file")
            descriptor = os.open(
                self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            )
        except (FileNotFoundError, ValueError):  # a path with a NUL is a ValueError
            raise NotFoundError(f"no such file: {self.path}", hint="check the path") from None
        except OSError as error:
            raise FileAccessError(
                f"cannot open {self.path}: {error.strerror}", hint="check the file's permissions"
            ) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotAPickleError("not a regular file")
            yield _HeldFile(descriptor, self.path)
        finally:
            os.close(descriptor)


def find_files(
    path: Path, *, recursive: bool, only: str | None
) -> tuple[list[Path], list[tuple[Path, FileAccessError]]]:
    """The files that `path` stands for: itself, or a folder's files (and those below, if `recursive`),
    sorted; and what could not be looked at. `only` is a glob for names. Links to folders are not
    followed, and sgdb's own locks and half-written files are passed over. Raises NotFoundError."""
    closed: list[tuple[Path, FileAccessError]] = []
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise NotFoundError(f"no such file or folder: {path}", hint="check the path") from None
    except OSError as error:
        refused = FileAccessError(f"cannot open {path}: {error.strerror}", hint="check its permissions")
        return [], [(path, refused)]
    if not is_folder:
        return ([path] if only is None or fnmatch(path.name, only) else []), closed
    found: list[Path] = []

    def note(error: OSError) -> None:
        refused = FileAccessError(
            f"cannot list {error.filename}: {error.strerror}", hint="check its permissions"
        )
        closed.append((Path(error.filename), refused))

    for folder, folders, names in os.walk(path, onerror=note):
        if not recursive:
            folders.clear()
        found.extend(
            Path(folder, name)
            for name in names
            if (only is None or fnmatch(name, only)) and not is_own_file(name)
        )
    return sorted(found), closed


def is_own_file(name: str) -> bool:
    """Whether a file of this name is one that sgdb itself keeps beside others while it works."""
    return name[0] == "." and name.endswith((".part", ".lock"))


def what_it_is(source: Source) -> str | None:
    """None for a pickle of protocol 2 or later; otherwise the reason why it is not taken for one."""
    with source.open() as stream:
        return reason_not_pickle(stream.read(_HEAD))


def looks_like_old_pickle(head: bytes) -> bool:
    """Whether these first bytes are those of a pickle of protocol 0 or 1."""
    return (
        head[:3] in (b"(dp", b"(lp", b"(tp")
        or head[:2] in (b"}q", b"]q", b"(}")
        or _OLD_GLOBAL.match(head) is not None
    )


def reason_not_pickle(head: bytes) -> str | None:
    """Tells from a file's first bytes why it is no pickle, or None when it may be one."""
    if head.startswith(_OLD_TORCH):
        return "a torch checkpoint"
    if len(head) >= 2 and head[0] == 0x80 and head[1] < 0x20:
        return None
    if looks_like_old_pickle(head):
        return None
    if not head:
        return "empty file"
    for magic, what in (
        (b"\x1f\x8b", "compressed with gzip: unpack it first (gunzip)"),
        (b"BZh", "compressed with bzip2: unpack it first (bunzip2)"),
        (b"\xfd7zXZ", "compressed with xz: unpack it first (unxz)"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first (unzstd)"),
        (b"PK\x03\x04", "a zip archive (a torch checkpoint is one)"),
        (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
        (b"\x93NUMPY", "a numpy array file"),
        (b"\x89HDF", "an HDF5 file"),
        (b"SQLite format 3", "a SQLite database"),
        (b"PGDMP", "a PostgreSQL dump"),
    ):
        if head.startswith(magic):
            return what
    text = head.lstrip()
    if text[:1] in (b"{", b"[") and b"\0" not in head:
        return "JSON text, not a pickle"
    return "text, not a pickle" if _is_text(head) else "not a pickle"


def _is_text(head: bytes) -> bool:
    """Whether this is UTF-8 without control characters that no text has; the last character may be cut."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start == 0 or error.start < len(head) - 3:
            return False
    return not any(byte < 9 for byte in head)
