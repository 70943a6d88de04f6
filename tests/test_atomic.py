"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sgdb.atomic import atomic_file, make_folder, remove_leftovers
from sgdb.errors import AlreadyExistsError, FileAccessError


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    path = tmp_path / "folder"
    path.mkdir()
    return path


def test_the_file_appears_only_when_it_is_whole(folder: Path) -> None:
    """While it is being written, nothing stands under its name."""
    path = folder / "file"
    with atomic_file(path, overwrite=False) as file:
        file.write(b"all of it")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert _names(folder) == ["file"]


def test_an_error_leaves_nothing_behind(folder: Path) -> None:
    """Neither the file nor a temporary one stays when the writing fails; an old file stays as it was."""
    path = folder / "file"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_file(path, overwrite=True) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert _names(folder) == ["file"]


def test_an_existing_file_is_not_replaced_unasked(folder: Path) -> None:
    """Neither one that stands there before, nor one that appears while writing."""
    path = folder / "file"
    with pytest.raises(AlreadyExistsError), atomic_file(path, overwrite=False) as file:
        path.write_bytes(b"somebody else's")
        file.write(b"ours")
    assert path.read_bytes() == b"somebody else's"
    with pytest.raises(AlreadyExistsError), atomic_file(path, overwrite=False) as file:
        raise AssertionError
    assert _names(folder) == ["file"]


def test_what_is_no_regular_file_is_never_replaced(folder: Path) -> None:
    """A pipe, a link to a device and a folder stay; and nobody is told that --overwrite helps."""
    os.mkfifo(folder / "pipe")
    (folder / "device").symlink_to(os.devnull)
    (folder / "folder").mkdir()
    for name in ("pipe", "device", "folder"):
        path = folder / name
        kind = path.lstat().st_mode
        with (
            pytest.raises(FileAccessError, match="no regular file"),
            atomic_file(path, overwrite=True) as file,
        ):
            file.write(b"ours")
        with pytest.raises(AlreadyExistsError) as error, atomic_file(path, overwrite=False):
            raise AssertionError
        assert (error.value.hint, path.lstat().st_mode) == ("name another file", kind)
    assert _names(folder) == ["device", "folder", "pipe"]


def test_in_a_folder_of_others_only_our_own_leftovers_go(folder: Path) -> None:
    """Those that were to get one of our names."""
    for name in (".a.0123abcd.part", ".b.0123abcd.part", ".a.0123abcd.part.0123abcd.part", "a.0123abcd.part"):
        (folder / name).write_bytes(b"")
    remove_leftovers(folder, {"a"})
    assert _names(folder) == [".a.0123abcd.part.0123abcd.part", ".b.0123abcd.part", "a.0123abcd.part"]


def test_a_folder_that_is_a_file_is_a_clear_error(folder: Path) -> None:
    """The error names the path and what the system said."""
    (folder / "file").write_bytes(b"")
    with pytest.raises(FileAccessError, match="folder"):
        make_folder(folder / "file" / "below")
    with (
        pytest.raises(FileAccessError, match="cannot write"),
        atomic_file(folder / "no" / "x", overwrite=False),
    ):
        raise AssertionError


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(folder: Path) -> None:
    """A real limit on the file's size: DiskFullError, and no file."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from sgdb.errors import DiskFullError\n"
        "from sgdb.atomic import atomic_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with atomic_file(Path(sys.argv[1]), overwrite=False) as file:\n"
        "        file.write(bytes(100_000))\n"
        "except DiskFullError as error:\n"
        "    sys.exit(error.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder / "file")], check=False)
    assert done.returncode == 3
    assert _names(folder) == []


@contextmanager
def _writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has begun to write `path` and does not go on."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sgdb.atomic import atomic_file\n"
        "with atomic_file(Path(sys.argv[1]), overwrite=False) as file:\n"
        "    file.write(b'begun')\n"
        "    file.flush()\n"
        "    print('begun', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_a_killed_process_left_is_removed_and_nothing_else(folder: Path) -> None:
    """Not while its writer lives, nor files that only look alike; the dead one's file goes."""
    (folder / ".config.part").write_bytes(b"")
    (folder / ".link.00000000.part").symlink_to(folder / "somewhere else")
    os.mkfifo(folder / ".pipe.00000000.part")
    others = [".config.part", ".link.00000000.part", ".pipe.00000000.part"]
    with _writer(folder / "file") as process:
        (hidden,) = set(_names(folder)) - set(others)
        remove_leftovers(folder)
        assert _names(folder) == sorted([*others, hidden])
        process.kill()
        process.wait()
        remove_leftovers(folder)
    assert _names(folder) == others
    remove_leftovers(folder / "no such folder")


def test_a_mode_is_the_files_and_the_folders(folder: Path) -> None:
    """From the first moment, for what is not for everybody's eyes."""
    make_folder(folder / "a" / "b", mode=0o700)
    assert (folder / "a" / "b").stat().st_mode & 0o777 == 0o700
    with atomic_file(folder / "file", overwrite=False, mode=0o600):
        (hidden,) = (name for name in _names(folder) if name.endswith(".part"))
        assert (folder / hidden).stat().st_mode & 0o777 == 0o600
    assert (folder / "file").stat().st_mode & 0o777 == 0o600
