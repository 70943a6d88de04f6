"""Exported folders for tests: what they hold, and changes that a person might make to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def contents_of(folder: Path) -> dict[str, Any]:
    """A folder's files by path, but for what tells when it was written."""
    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    found["manifest.json"] = json.loads(found["manifest.json"]) | {"created_at": None}
    return found


def rewrite(folder: Path, path: str, change: Callable[[str], str]) -> None:
    """Changes a file, and what the manifest says about its bytes, as a person would."""
    file = folder / path
    raw = change(file.read_bytes().decode()).encode()
    file.write_bytes(raw)
    edit(folder, lambda manifest: _entry(manifest, path).update(described(raw)))


def described(raw: bytes) -> dict[str, Any]:
    """What a manifest says about these bytes."""
    return {"size_bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def _entry(manifest: dict[str, Any], path: str) -> dict[str, Any]:
    entries = [*manifest["files"].values(), *(e for one in manifest["sets"] for e in one["files"].values())]
    return next(entry for entry in entries if entry["path"] == path)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a folder's manifest."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))
