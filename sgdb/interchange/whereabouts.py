"""Whether a folder that was imported is still where it was, and still holds what it held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sgdb.errors import SgdbError
from sgdb.interchange.manifest import Manifest
from sgdb.pickles.whereabouts import Found, Whereabouts, look_for


def look_for_folder(
    manifest: Path, sha256: str, size: int, on_bytes: Callable[[int], object] | None = None
) -> Found:
    """Looks for the folder with this manifest, and in it for every file that the manifest names; `below` is
    the first that is not as it was. Never raises for what is wrong with the folder."""
    found = look_for(manifest, sha256, size, on_bytes)
    if found.whereabouts is not Whereabouts.UNCHANGED:
        return found
    try:
        entries = Manifest.from_bytes(manifest.read_bytes()).all_files()
    except (SgdbError, OSError):  # changed since it was hashed, or imported by a newer program
        return Found(Whereabouts.CHANGED)
    for entry in entries:
        one = look_for(manifest.parent / entry.path, entry.sha256, entry.size_bytes, on_bytes)
        if one.whereabouts is not Whereabouts.UNCHANGED:
            return replace(one, below=entry.path)
    return found
