"""The bytes of a pickle as a window that moves over the file, and its frames.

Positions are counted in the window; `base` is the offset in the file of its first byte. What is read
stays available from the current position on; the window moves in `boundary` and `need` only, which
return the new position of the byte they were asked about.
"""

from __future__ import annotations

from typing import Protocol

from sgdb.errors import DamagedPickleError, UnsafePickleError

WINDOW = 1 << 20  # bytes read at a time
MARGIN = 1 << 10  # bytes at hand at every boundary: more than an opcode without `need` takes
NO_FRAME = 1 << 62


class ByteStream(Protocol):
    """Anything with a blocking `read`."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty only at the end."""


class Window:
    """Reads a pickle's bytes piece by piece and watches over its frames.

    A reader goes on without a check up to `stop_at` and calls `boundary` there: a frame, the window or
    the file may end. `buf` changes whenever the window moves.
    """

    __slots__ = ("_ended", "_read", "base", "buf", "frame_end", "stop_at")

    def __init__(self, stream: ByteStream) -> None:
        self._read = stream.read
        self._ended = False  # whether buf reaches to the end of the file
        self.buf = b""
        self.base = 0
        self.frame_end = NO_FRAME
        self.stop_at = 0

    def damaged(self, what: str, pos: int) -> DamagedPickleError:
        """The error, with the byte offset."""
        return DamagedPickleError(f"{what} at byte {self.base + pos}")

    def unsafe(self, what: str, pos: int, hint: str | None = None) -> UnsafePickleError:
        """The error, with the byte offset."""
        return UnsafePickleError(f"{what} at byte {self.base + pos}", hint=hint)

    def truncated(self) -> DamagedPickleError:
        """The error for a file that ends too early."""
        return DamagedPickleError(
            f"the file ends in the middle of the pickle, after {self.base + len(self.buf)} bytes"
        )

    def ends_before(self, pos: int) -> bool:
        """Whether the file is known to end before this position."""
        return self._ended and pos >= len(self.buf)

    def boundary(self, pos: int) -> int:
        """To be called at `stop_at`: closes a frame, moves the window. At least one byte is at hand
        afterwards. Raises DamagedPickleError at the end of the file or inside an opcode."""
        if pos > self.frame_end:
            raise self.damaged("an opcode crosses the end of its frame", pos)
        if pos == self.frame_end:
            self.frame_end = NO_FRAME
        if len(self.buf) - pos < MARGIN and not self._ended:
            pos = self._move(pos, MARGIN)
        if pos >= len(self.buf):
            raise self.truncated()
        self._set_stop()
        return pos

    def need(self, pos: int, count: int) -> int:
        """Makes `count` bytes at `pos` available."""
        if len(self.buf) - pos < count:
            if not self._ended:
                pos = self._move(pos, count)
            if len(self.buf) - pos < count:
                raise self.truncated()
            self._set_stop()
        return pos

    def _move(self, pos: int, count: int) -> int:
        """Drops what is read and reads on until `count` bytes are at hand or the file ends."""
        parts = [self.buf[pos:]]
        have = len(parts[0])
        while have < count and not self._ended:
            parts.append(self._read(WINDOW))
            have += len(parts[-1])
            self._ended = not parts[-1]
        self.buf = b"".join(parts)
        self.base += pos
        if self.frame_end != NO_FRAME:
            self.frame_end -= pos
        return 0

    def _set_stop(self) -> None:
        self.stop_at = min(len(self.buf) - (0 if self._ended else MARGIN - 1), self.frame_end)

    def open_frame(self, pos: int) -> int:
        """Reads a FRAME's length; returns where its content begins."""
        if self.frame_end != NO_FRAME:
            raise self.damaged("a frame inside a frame", pos - 1)
        pos = self.need(pos, 8) + 8
        length = int.from_bytes(self.buf[pos - 8 : pos], "little")
        if length >= NO_FRAME >> 1:
            raise self.damaged("a frame of impossible length", pos - 9)
        self.frame_end = pos + length
        self._set_stop()
        return pos

    def finish(self, pos: int) -> None:
        """To be called after STOP. Raises DamagedPickleError unless frame and file end here."""
        if self.frame_end not in (NO_FRAME, pos):
            raise self.damaged("the pickle stops inside a frame", pos - 1)
        if pos < len(self.buf) or self._read(1):
            raise self.damaged("more bytes follow after the end of the pickle", pos)
