"""The one program that unpickles."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sgdb.errors import InternalError
from sgdb.timing.process import program
from tests.hostile.cases import call
from tests.legacy import stream, text, write_legacy

MODULE = "sgdb.timing.old_way"
PACKAGE = Path(__file__).resolve().parents[2] / "sgdb"
QUESTION = {"bot": "LargestGroupBot", "start": 3, "stop": 5}


def _load(path: Path, **question: Any) -> Any:
    with path.open("r+b") as file, program(MODULE, about="loads the pickle whole", file=file) as ask:
        return ask(QUESTION | question)


def test_the_whole_is_loaded_for_every_part(tmp_path: Path) -> None:
    """Each part comes with its rows, takes as long as the whole at least, and the whole's memory."""
    path = write_legacy(tmp_path / "a.pkl", num_games=2000, bots=("LargestGroupBot", "MockBot"))
    found = _load(path)
    assert {what: (each["games"], each["results"]) for what, each in found.items()} == {
        "whole": (2000, 4000),
        "bot": (0, 2000),
        "part": (2, 4),
    }
    for what in ("bot", "part"):
        pairs = zip(found[what]["seconds"], found["whole"]["seconds"], strict=True)
        assert all(part >= whole > 0 for part, whole in pairs)
        assert found[what]["memory"] == found["whole"]["memory"]
    assert found["whole"]["memory"] > 1_000_000


def test_a_set_without_results_has_no_performance(tmp_path: Path) -> None:
    """Which is no failure."""
    found = _load(write_legacy(tmp_path / "a.pkl", bots=()), bot=None)
    assert (found["whole"]["games"], found["bot"]["results"]) == (10, 0)


def test_it_knows_no_class_but_empty_ones(tmp_path: Path) -> None:
    """Even a hostile file, which never gets there, could call nothing."""
    marker = tmp_path / "marker"
    path = tmp_path / "hostile.pkl"
    path.write_bytes(stream(call("os", "mkdir", text(str(marker)))))
    with pytest.raises(InternalError, match=re.escape("no class of a benchmark: os.mkdir")):
        _load(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # the file does what it is made for
    assert marker.is_dir()


def test_it_is_the_only_one_that_unpickles() -> None:
    """No other module imports an unpickler, or spells one in a text for another Python; and none imports this
    one."""
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        imported = set(_imported(ast.parse(source)))
        assert MODULE not in imported, path
        if path != PACKAGE / "timing" / "old_way.py":
            assert not imported & {"pickle", "_pickle", "cPickle", "shelve"}, path
            assert not re.search(r"\bpickle\.(loads?|_?Unpickler)\b", source), path


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
