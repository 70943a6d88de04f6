"""Files: found, opened without waiting, and told apart by content."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import zipfile
from pathlib import Path

import pytest

from sgdb.errors import FileAccessError, NotAPickleError, NotFoundError
from sgdb.pickles.files import FileSource, HashedStream, find_files, reason_not_pickle, what_it_is
from tests.legacy import write_legacy


def test_what_is_read_is_what_is_hashed() -> None:
    """Bytes, their number and their hash, passed on as they come."""
    seen: list[bytes] = []
    stream = HashedStream(io.BytesIO(b"abcde"), seen.append)
    while stream.read(2):
        pass
    assert seen == [b"ab", b"cd", b"e"]
    assert stream.size == 5
    assert stream.sha256 == hashlib.sha256(b"abcde").hexdigest()


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A pipe, a device or a folder is refused at once, a missing file named; a link to a file is the file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(NotAPickleError, match="not a regular file"), FileSource(path).open():
            pass
    for path in (tmp_path / "none", tmp_path / "nul\0"):
        with pytest.raises(NotFoundError, match="no such file"), FileSource(path).open():
            pass
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    (tmp_path / "link").symlink_to(file)
    with FileSource(tmp_path / "link").open() as stream:
        assert stream.read(10) == b"abc"
    with pytest.raises(FileAccessError, match="cannot open"), FileSource(file / "x").open():
        pass


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_errors_while_reading_are_ours() -> None:
    """A failing disk, here a file whose first bytes cannot be read."""
    with (
        FileSource(Path("/proc/self/mem")).open() as stream,
        pytest.raises(FileAccessError, match="cannot read"),
    ):
        stream.read(10)


def test_nothing_stays_open(tmp_path: Path) -> None:
    """Whatever becomes of a file."""
    file = write_legacy(tmp_path / "x")
    folder = Path("/proc/self/fd")
    before = len(list(folder.iterdir())) if folder.exists() else 0
    for path in (file, tmp_path):
        with pytest.raises((NotAPickleError, ZeroDivisionError)), FileSource(path).open():
            raise ZeroDivisionError
    assert not folder.exists() or len(list(folder.iterdir())) == before


def test_files_are_found(tmp_path: Path) -> None:
    """Sorted, by glob, below only if asked for; no links to folders followed, no half-written files."""
    for name in ("b.pkl", "a", ".b.pkl.1234abcd.part", "sub/c.pkl", "sub/.hidden.pkl"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "loop").symlink_to(tmp_path)

    def names(**options: object) -> list[str]:
        found, closed = find_files(tmp_path, **{"recursive": False, "only": None, **options})  # type: ignore[arg-type]
        assert not closed
        return [str(path.relative_to(tmp_path)) for path in found]

    assert names() == ["a", "b.pkl"]
    assert names(only="*.pkl") == ["b.pkl"]
    assert names(recursive=True) == ["a", "b.pkl", "sub/.hidden.pkl", "sub/c.pkl"]
    assert names(recursive=True, only="[!.]*.pkl") == ["b.pkl", "sub/c.pkl"]
    assert find_files(tmp_path / "a", recursive=False, only=None) == ([tmp_path / "a"], [])
    assert find_files(tmp_path / "a", recursive=False, only="*.pkl") == ([], [])
    for missing in ("none", "a/none", "nul\0"):
        with pytest.raises(NotFoundError, match="no such file or folder"):
            find_files(tmp_path / missing, recursive=False, only=None)


def test_folders_that_cannot_be_looked_at(tmp_path: Path) -> None:
    """A circle of links is the operating system's no."""
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    found, ((path, error),) = find_files(tmp_path / "circle", recursive=False, only=None)
    assert found == []
    assert path == tmp_path / "circle"
    assert isinstance(error, FileAccessError)
    assert "cannot open" in error.message


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    return file.getvalue()


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "empty file"),
        (gzip.compress(b"x", mtime=0), "compressed with gzip: unpack it first (gunzip)"),
        (bz2.compress(b"x"), "compressed with bzip2: unpack it first (bunzip2)"),
        (lzma.compress(b"x"), "compressed with xz: unpack it first (unxz)"),
        (b"\x28\xb5\x2f\xfd...", "compressed with zstd: unpack it first (unzstd)"),
        (_zip(), "a zip archive (a torch checkpoint is one)"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer: fetch the file itself with `git lfs pull`",
        ),
        (b"\x93NUMPY\x01\x00", "a numpy array file"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"SQLite format 3\0", "a SQLite database"),
        (b"PGDMP\x01", "a PostgreSQL dump"),
        (bytes.fromhex("80028a0a6cfc9c46f9206aa850192e80024d"), "a torch checkpoint"),
        (b' {"games": []}', "JSON text, not a pickle"),
        (b"[1]", "JSON text, not a pickle"),
        (b"Benchmark report\n", "text, not a pickle"),
        ("Gr\u00fc\u00df".encode()[:-1], "text, not a pickle"),
        (b"\x00\x01\x02", "not a pickle"),
        (b"\x80", "not a pickle"),
        (b"\x80PNG", "not a pickle"),
        (b"\x80\x04\x95", None),
        (b"\x80\x02}q\x00", None),
        (b"(dp0\n", None),
        (b"}q\x00.", None),
        (b"ccopy_reg\n_reconstructor\np0\n(csamegamerl", None),
        (b"cos\nsystem\n(S'true'\ntR.", None),
        (b"(iposix\nsystem\nq\x00", None),
        (b"(csubprocess\nPopen\nq\x00oq\x01.", None),
        (b"commit\nmessage\nof some text\n", "text, not a pickle"),
        (b"commit\nmessage\npage 5\n", "text, not a pickle"),
    ],
)
def test_content_tells_what_a_file_is(head: bytes, reason: str | None) -> None:
    """Not the extension; old protocols go on to the parser, which names them."""
    assert reason_not_pickle(head) == reason


def test_what_it_is_looks_at_the_file(tmp_path: Path) -> None:
    """Whatever its name."""
    assert what_it_is(FileSource(write_legacy(tmp_path / "notes.txt"))) is None
    (tmp_path / "benchmark.pkl").write_bytes(b"")
    assert what_it_is(FileSource(tmp_path / "benchmark.pkl")) == "empty file"
