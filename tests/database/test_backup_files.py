"""Backups as files: whole pairs or nothing, and nothing wrong with them goes unnoticed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from sgdb.atomic import unfinished_file
from sgdb.database.backup_files import (
    Backup,
    checked_dump,
    default_name,
    list_backups,
    manifest_path,
    prune,
    publish,
    read_backup,
    replace_manifest,
    require_free,
)
from sgdb.database.manifest import Dump, Manifest, Origin
from sgdb.errors import AlreadyExistsError, BackupError, FileAccessError, NotFoundError
from tests.backups import names, pair
from tests.database.test_manifest import MANIFEST

MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)
CONTENT = b"PGDMP" + bytes(range(256)) * 3


def make(
    path: Path,
    content: bytes = CONTENT,
    *,
    hour: int = 0,
    proven: bool = True,
    origin: Origin = MANIFEST.origin,
    may_rename: bool = False,
) -> Backup:
    """Publishes a backup whose dump has this content."""
    at = MIDNIGHT + timedelta(hours=hour)
    manifest = replace(
        MANIFEST,
        created_at=at,
        proven_at=at if proven else None,
        origin=origin,
        dump=Dump(sha256(content).hexdigest(), len(content)),
    )
    with unfinished_file(path, mode=0o600) as unfinished:
        unfinished.file.write(content)
        unfinished.sync()
        return publish(unfinished, manifest, path, may_rename=may_rename)


def check(path: Path) -> Manifest:
    """What `verify` and a restore do first."""
    backup = read_backup(path)
    with checked_dump(backup) as dump:
        assert sha256(dump.read()).hexdigest() == backup.manifest.dump.sha256
    return backup.manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    path = tmp_path / "backups"
    path.mkdir()
    return path


class TestPublishing:
    def test_two_files_for_their_owner_only(self, folder: Path) -> None:
        """And no third one; the manifest is found by either name."""
        path = folder / "my backup"
        made = make(path)
        assert names(folder) == pair(path)
        assert [(folder / name).stat().st_mode & 0o777 for name in pair(path)] == [0o600, 0o600]
        assert read_backup(path) == made
        assert read_backup(manifest_path(path)) == made
        assert check(path) == made.manifest

    def test_a_file_is_never_replaced(self, folder: Path) -> None:
        """Not even by a backup, and its manifest stays its own."""
        path = folder / "a.dump"
        first = make(path)
        with pytest.raises(AlreadyExistsError):
            require_free(path)
        with pytest.raises(AlreadyExistsError) as caught:
            make(path, b"other")
        assert "--overwrite" not in str(caught.value.hint)
        assert read_backup(path) == first
        assert check(path) == first.manifest
        assert names(folder) == pair(path)

    def test_many_at_the_same_second(self, folder: Path) -> None:
        """Each finds a name of its own, and every dump keeps its own manifest."""
        name = default_name(MIDNIGHT)
        assert name == "sgdb-20261125T000000Z.dump"
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(lambda n: make(folder / name, b"%d" % n, may_rename=True), range(16)))
        assert len({backup.path for backup in made}) == 16
        for backup in made:
            assert check(backup.path) == backup.manifest
        assert {backup.path.name for backup in made} >= {name, "sgdb-20261125T000000Z-16.dump"}

    def test_a_manifest_that_a_killed_process_left_is_no_backup(self, folder: Path) -> None:
        """It is not listed, and the next backup of that name replaces it."""
        manifest_path(folder / "a.dump").write_bytes(MANIFEST.to_bytes())
        assert list_backups(folder) == ([], [])
        made = make(folder / "a.dump")
        assert check(folder / "a.dump") == made.manifest

    def test_a_manifest_is_rewritten_for_the_same_backup_only(self, folder: Path) -> None:
        """Not when another one has taken its place meanwhile."""
        unproven = make(folder / "a.dump", proven=False)
        proven = replace(unproven.manifest, proven_at=MIDNIGHT)
        assert replace_manifest(unproven, proven).manifest.proven
        assert check(folder / "a.dump") == proven
        with pytest.raises(BackupError, match="replaced meanwhile"):
            replace_manifest(unproven, replace(proven, why="never"))
        assert check(folder / "a.dump") == proven


class TestDamage:
    def test_flipped_bits(self, folder: Path) -> None:
        """In the dump; of the manifest, every single one is tried elsewhere."""
        path = make(folder / "a.dump").path
        for at in range(0, 8 * len(CONTENT), 7):
            wrong = bytearray(CONTENT)
            wrong[at // 8] ^= 1 << at % 8
            path.write_bytes(wrong)
            with pytest.raises(BackupError, match="SHA-256"):
                check(path)
        path.write_bytes(CONTENT)
        check(path)

    def test_lost_and_added_bytes(self, folder: Path) -> None:
        """Of either file, at any length."""
        made = make(folder / "a.dump")
        for path, raw in ((made.path, CONTENT), (manifest_path(made.path), made.manifest.to_bytes())):
            for length in (0, 1, 5, len(raw) // 2, len(raw) - 1):
                path.write_bytes(raw[:length])
                with pytest.raises(BackupError):
                    check(made.path)
            path.write_bytes(raw + b"\0")
            with pytest.raises(BackupError):
                check(made.path)
            path.write_bytes(raw)

    def test_parts_that_do_not_belong_together(self, folder: Path) -> None:
        """Dumps of the same length, swapped."""
        one, other = make(folder / "a.dump"), make(folder / "b.dump", CONTENT[::-1])
        one.path.rename(folder / "c")
        other.path.rename(one.path)
        (folder / "c").rename(other.path)
        for path in (one.path, other.path):
            with pytest.raises(BackupError, match="SHA-256"):
                check(path)

    def test_missing_parts(self, folder: Path) -> None:
        """Each is told apart from a backup that never was."""
        one, other = make(folder / "a.dump"), make(folder / "b.dump")
        manifest_path(one.path).unlink()
        other.path.unlink()
        with pytest.raises(BackupError, match="no manifest"):
            check(one.path)
        for path in (other.path, manifest_path(other.path)):
            with pytest.raises(BackupError, match="no dump"):
                check(path)
        for path in (folder / "c.dump", manifest_path(folder / "c.dump"), folder / "no" / "d", Path("a\0b")):
            with pytest.raises(NotFoundError):
                check(path)

    @pytest.mark.parametrize("which", ["dump", "manifest"])
    def test_what_is_no_file(self, folder: Path, which: str) -> None:
        """Nothing is waited for, and nothing endless read."""
        made = make(folder / "a.dump")
        path = made.path if which == "dump" else manifest_path(made.path)
        for replacement in (path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero")):
            path.unlink()
            replacement()
            with pytest.raises(BackupError, match="no regular file"):
                check(made.path)
            if path.is_dir():
                path.rmdir()
                path.touch()
        path.unlink()
        path.symlink_to(path)
        with pytest.raises(FileAccessError):
            check(made.path)
        path.unlink()
        path.write_bytes(bytes(2 << 20))
        with pytest.raises(BackupError):
            check(made.path)


class TestListing:
    def test_oldest_first_and_what_is_none(self, folder: Path) -> None:
        """Whatever the files are called; hidden ones are passed over, unusable ones told with the reason."""
        late, early = make(folder / "a.dump", hour=2), make(folder / "any name", hour=1)
        make(folder / "damaged.dump", hour=3)
        manifest_path(folder / "damaged.dump").write_bytes(b"{}")
        make(folder / "short.dump").path.write_bytes(b"x")
        (folder / "lonely.dump").touch()
        (folder / ".a.dump.00000000.part").touch()
        (folder / "notes.txt").touch()
        found, unusable = list_backups(folder)
        assert found == [early, late]
        assert [one.path.name for one in unusable] == ["damaged.dump", "lonely.dump", "short.dump"]
        assert ["damaged" in unusable[0].reason, "no manifest" in unusable[1].reason] == [True, True]
        assert "has 1 bytes" in unusable[2].reason

    def test_no_folder_and_no_right(self, folder: Path) -> None:
        """No folder holds no backups; a file where it should be is an error."""
        assert list_backups(folder / "none") == ([], [])
        (folder / "file").touch()
        with pytest.raises(FileAccessError):
            list_backups(folder / "file")


class TestPruning:
    def test_the_newest_proven_ones_stay(self, folder: Path) -> None:
        """As many as asked for, the one just made among them."""
        made = [make(folder / f"{hour}.dump", hour=hour) for hour in range(5)]
        assert prune(made[-1], 3) == ([made[0].path, made[1].path], [])
        assert names(folder) == sorted(name for backup in made[2:] for name in pair(backup.path))
        assert prune(made[-1], 3) == ([], [])
        assert prune(made[-1], 1) == ([made[2].path, made[3].path], [])

    def test_unproven_ones_neither_count_nor_go(self, folder: Path) -> None:
        """Nor does one that was just made without a proof."""
        old, proven = make(folder / "1.dump", hour=1, proven=False), make(folder / "2.dump", hour=2)
        newest = make(folder / "3.dump", hour=3, proven=False)
        assert prune(newest, 1) == ([], [])
        assert {old.path, proven.path, newest.path} <= set(folder.iterdir())

    def test_the_one_just_made_stays_though_the_clock_was_wrong(self, folder: Path) -> None:
        """Two others claim to be younger."""
        newest = make(folder / "now.dump", hour=1)
        make(folder / "1.dump", hour=5)
        make(folder / "2.dump", hour=6)
        assert prune(newest, 1)[0] == [folder / "1.dump"]
        assert check(newest.path) == newest.manifest

    def test_other_databases_are_left_alone(self, folder: Path) -> None:
        """Their backups may lie in the same folder."""
        other = make(folder / "other.dump", hour=1, origin=Origin("elsewhere", "sgdb", "1"))
        newest = make(folder / "now.dump", hour=2)
        assert prune(newest, 1) == ([], [])
        assert check(other.path) == other.manifest

    def test_damaged_ones_do_not_count(self, folder: Path) -> None:
        """Else the last good one could go; they stay where they are, and are told."""
        good, bad = make(folder / "good.dump", hour=1), make(folder / "bad.dump", hour=2)
        bad.path.write_bytes(CONTENT[::-1])
        newest = make(folder / "now.dump", hour=3)
        deleted, damaged = prune(newest, 2)
        assert deleted == []
        assert [one.path for one in damaged] == [bad.path]
        assert check(good.path) == good.manifest
