"""Rules of the house that import-linter cannot see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "sgdb"


def _modules_with(pattern: str) -> set[str]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if re.search(pattern, path.read_text(encoding="utf-8")):
            found.add(path.relative_to(PACKAGE).as_posix())
    return found


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        (r"sys\.std(out|err)|\bprint\(", {"cli/output.py", "__main__.py"}),
        (r"\.create_all\(", set()),
        (r"\.commit\(\)", {"database/engine.py"}),
        (r"\beval\(|\bexec\(", set()),
    ],
)
def test_some_things_happen_in_one_place_only(pattern: str, allowed: set[str]) -> None:
    """Writing to the terminal has its module; tables made beside Alembic and hand-made commits have none."""
    assert _modules_with(pattern) <= allowed


def test_only_the_settings_read_sgdb_variables() -> None:
    """The environment is passed on by others, at most, never asked for a setting."""
    assert _modules_with(r"environ(\.get\(|\[).?[\"']SGDB") <= {"settings.py"}
