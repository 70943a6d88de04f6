"""A disk with little room, for commands and servers.

It is a file system in memory, mounted where only chosen processes see it: as root in a mount namespace of its
own, otherwise in a user namespace as well. Where a machine allows neither, no file may grow beyond the size
of the disk, which programs meet in much the same way.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FILLER = "filler"
_BLOCK = 4096  # bytes


class SmallDisk:
    """`path` is where this process sees it, `inside` where commands do that are run by `wrapper`."""

    is_real = True

    def __init__(self, inside: Path, path: Path, wrapper: list[str]) -> None:
        self.inside = inside
        self.path = path
        self.wrapper = wrapper

    def fill(self, leave: int = 0) -> None:
        """Takes all room but so many bytes."""
        self.make_room()
        free = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize
        with (self.path / _FILLER).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(_BLOCK, free - leave) // _BLOCK * _BLOCK)

    def make_room(self) -> None:
        """Gives back what `fill` took."""
        (self.path / _FILLER).unlink(missing_ok=True)


class _Limited(SmallDisk):
    """A plain folder. Files may not grow beyond a tenth of what is left, for what is filled is spread over
    several; that holds for this process and for whatever it starts from then on, a server included."""

    is_real = False

    def fill(self, leave: int = 0) -> None:
        self._limit(leave // 10)

    def make_room(self) -> None:
        self._limit(None)

    def _limit(self, size: int | None) -> None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def _limited(folder: Path) -> Iterator[SmallDisk]:
    disk = _Limited(folder, folder, [])
    try:
        yield disk
    finally:
        disk.make_room()


@contextmanager
def small_disk(inside: Path, megabytes: int) -> Iterator[SmallDisk]:
    """A disk at the folder `inside`, empty there for everybody else."""
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        yield from _limited(inside)
        return
    is_root = os.geteuid() == 0
    mount = f'mount -t tmpfs -o size={megabytes}m,mode=0755 tmpfs "$0" && echo ready && exec cat'
    holder = subprocess.Popen(
        ["unshare", "-m" if is_root else "-rm", "sh", "-c", mount, str(inside)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        if holder.stdout.readline() != b"ready\n":
            yield from _limited(inside)
            return
        enter = ["nsenter", "-m", "-t", str(holder.pid)]
        if not is_root:
            ids = [f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}"]
            enter += ["-U", "--preserve-credentials", "unshare", "-U", *ids]
        yield SmallDisk(inside, Path(f"/proc/{holder.pid}/root{inside}"), enter)
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()
