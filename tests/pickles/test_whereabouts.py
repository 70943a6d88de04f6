"""Whether a file is still where it was, and the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sgdb.pickles.whereabouts import Whereabouts, look_for

CONTENT = b"some bytes" * 300_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def _cut(path: Path) -> None:
    path.write_bytes(CONTENT[:-1])


def _flip_a_bit(path: Path) -> None:
    path.write_bytes(CONTENT[:-1] + bytes((CONTENT[-1] ^ 1,)))


def _folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def _circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _no_folder(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("a file now")


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Path.touch, Whereabouts.UNCHANGED),
        (_cut, Whereabouts.CHANGED),
        (_flip_a_bit, Whereabouts.CHANGED),
        (_folder_instead, Whereabouts.CHANGED),
        (_pipe_instead, Whereabouts.CHANGED),
        (Path.unlink, Whereabouts.GONE),
        (_dangling_link, Whereabouts.GONE),
        (_no_folder, Whereabouts.GONE),
        (_circle, Whereabouts.UNREADABLE),
    ],
)
def test_what_has_become_of_a_file(
    tmp_path: Path, change: Callable[[Path], object], expected: Whereabouts, size: int | None
) -> None:
    """Whatever stands in its place, it is told, and nothing raised; what cannot be looked at has a reason."""
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    change(path)
    read: list[int] = []
    found = look_for(path, SHA256, size, read.append)
    assert found.whereabouts is expected
    assert (found.error is not None) is (expected is Whereabouts.UNREADABLE)
    if expected is Whereabouts.UNCHANGED:
        assert (found.sha256, sum(read)) == (SHA256, len(CONTENT))


def test_a_path_that_is_none(tmp_path: Path) -> None:
    """A text from the database may be no path of this system at all."""
    assert look_for(Path("a\0b"), SHA256).whereabouts is Whereabouts.GONE
    assert look_for(tmp_path / ("x" * 300), SHA256).whereabouts is Whereabouts.UNREADABLE
