"""Which of the files that the user named are to be read."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from sgdb.errors import FileAccessError, NotAPickleError, NotFoundError, SgdbError
from sgdb.pickles.files import FileSource, find_files, what_it_is

_Why = TypeVar("_Why", str, SgdbError)


@dataclass(frozen=True, slots=True)
class Selection:
    """Files to read, what was passed over and why, and what is refused at first sight."""

    files: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    refused: list[tuple[Path, SgdbError]] = field(default_factory=list)
    single: bool = False
    """Whether one file, and no folder, was asked for."""

    def without(self, carried: Collection[str]) -> Selection:
        """The same without files at these real paths: they are no pickles, but belong to some."""

        def kept(found: list[tuple[Path, _Why]]) -> list[tuple[Path, _Why]]:
            return [each for each in found if os.path.realpath(each[0]) not in carried]

        return replace(self, skipped=kept(self.skipped), refused=kept(self.refused))

    def to_json(self) -> list[dict[str, str]]:
        """The skipped files as JSON."""
        return [{"path": str(path), "reason": reason} for path, reason in self.skipped]


def select_files(paths: Iterable[Path], *, recursive: bool, only: str | None) -> Selection:
    """Looks at every file's first bytes. In a folder, what is no pickle is skipped; a file that was named
    itself is refused. A file that is reached twice is taken once.

    Raises NotFoundError for a path that does not exist.
    """
    paths = list(paths)
    selection = Selection(single=len(paths) == 1 and not _is_folder(paths[0]))
    seen: set[Path] = set()
    for path in paths:
        named = not _is_folder(path)
        files, closed = find_files(path, recursive=recursive, only=only)
        selection.refused.extend(closed)
        for found in files:
            resolved = Path(os.path.realpath(found))
            if resolved in seen:
                continue
            seen.add(resolved)
            try:
                reason = what_it_is(FileSource(found))
            except NotAPickleError as error:
                reason = error.message
            except (FileAccessError, NotFoundError) as error:  # a broken link, or gone since it was listed
                selection.refused.append((found, error))
                continue
            if reason is None:
                selection.files.append(found)
            elif named:
                selection.refused.append(
                    (
                        found,
                        NotAPickleError(reason if "not a pickle" in reason else f"not a pickle: {reason}"),
                    )
                )
            else:
                selection.skipped.append((found, reason))
    return selection


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where we may not look


def reading_work(path: Path) -> int:
    """Bytes to be read of this file, which is gone over twice."""
    try:
        return 2 * path.stat().st_size
    except OSError:  # it has vanished, or its folder is closed to us: reading it will say so
        return 0
