"""Bytes that are to be kept, in memory or in a file, known by their hash."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sgdb.atomic import file_error
from sgdb.errors import NotFoundError, UsageError, ValueRefusedError

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Contents:
    """Some bytes: `data`, or `size_bytes` from `offset` on in the file at `path`."""

    sha256: str
    size_bytes: int
    data: bytes | None = None
    path: Path | None = None
    offset: int = 0

    @classmethod
    def given(cls, value: object, what: str) -> Contents:
        """What a program hands in: bytes, or the path of a file, which is read once for its hash.

        Raises UsageError for anything else, NotFoundError, FileAccessError, and ValueRefusedError for what is
        no regular file; `what` names it.
        """
        if isinstance(value, bytes | bytearray | memoryview):
            data = bytes(value)
            return cls(hashlib.sha256(data).hexdigest(), len(data), data)
        if isinstance(value, str | os.PathLike):
            return cls._in_file(Path(value), what)
        raise UsageError(
            f"{what}: {type(value).__name__} is neither bytes nor a path",
            hint="write it into an io.BytesIO or a file, as torch.save does, and give its bytes or the path",
        )

    @classmethod
    def _in_file(cls, path: Path, what: str) -> Contents:
        hashed, size = hashlib.sha256(), 0
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueRefusedError(f"{what}: {path} is no regular file")
            with path.open("rb") as file:
                while piece := file.read(_PIECE):
                    hashed.update(piece)
                    size += len(piece)
        except FileNotFoundError:
            raise NotFoundError(f"{what}: there is no file {path}") from None
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        return cls(hashed.hexdigest(), size, path=path)

    def pieces(self) -> Iterator[bytes]:
        """The bytes, a piece at a time. Raises FileAccessError, and ValueRefusedError at the end when the
        file does not hold any more what it held."""
        if self.data is not None:
            yield self.data
            return
        assert self.path is not None
        hashed, left = hashlib.sha256(), self.size_bytes
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                while left and (piece := file.read(min(_PIECE, left))):
                    hashed.update(piece)
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if left or hashed.hexdigest() != self.sha256:
            raise ValueRefusedError(f"{self.path} has changed while it was read, or is damaged")

    def read(self) -> bytes:
        """All of them. Raises as `pieces` does."""
        return b"".join(self.pieces())


def _unreadable(path: Path, error: OSError | ValueError) -> Exception:
    if isinstance(error, OSError):
        return file_error(error, f"cannot read {path}")
    return ValueRefusedError(f"{str(path)!a:.80} is no path")
