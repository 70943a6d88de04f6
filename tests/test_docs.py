"""The docs say what the program does. `make docs-check` sees to generated pages and examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from sgdb.operations.export import ExportOptions, export
from sgdb.records import ExportFormat
from sgdb.settings import Settings
from tests.legacy import write_legacy
from tests.steps import migrate

ROOT = Path(__file__).resolve().parent.parent


def test_the_program_in_the_storage_page_runs(database_url: str, tmp_path: Path) -> None:
    """The example of docs/storage.md does what it says, on a dual storage, from an empty set."""
    page = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
    program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    environment = {
        **os.environ,
        "SGDB_DATABASE_URL": database_url,
        "SGDB_HOME": str(tmp_path / "sgdb-home"),
        "SGDB_PICKLE_DIR": str(tmp_path / "pickles"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "10 {'MyAgent': 10}"
    assert [path.name for path in (tmp_path / "pickles").glob("*.pkl")] == ["benchmark_8_8_4_42.pkl"]


def test_the_program_in_the_benchmark_page_runs(database_url: str, tmp_path: Path) -> None:
    """The last example of docs/benchmark.md does what it says, from an empty database."""
    page = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[-1]
    environment = {**os.environ, "SGDB_DATABASE_URL": database_url, "SGDB_HOME": str(tmp_path / "sgdb-home")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["LargestGroupBot 50 0 []", "RandomBot 50 0 []"]
    assert lines[-1] == "50 0"


def test_the_queries_in_the_formats_page_run(settings: Settings, tmp_path: Path) -> None:
    """What docs/formats.md shows researchers reads what `export` writes."""
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    migrate(settings, write_legacy(tmp_path / "a.pkl", bots=("A", "B")))
    for format in (ExportFormat.PARQUET, ExportFormat.CSV, ExportFormat.JSONL):
        export(ExportOptions(tmp_path / "tables", format=format, overwrite=True), settings)
        for query in re.findall(r"`(read_(?:csv|json)\('[^`]*)`", page):
            if format in query:
                program = f'import duckdb\nprint(duckdb.sql("SELECT * FROM {query}"))'
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "base_seed" in done.stdout or "completion_rate" in done.stdout


def test_links_between_pages_lead_somewhere() -> None:
    """No page links to a page that is not there."""
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_guarantee_names_a_test_that_exists() -> None:
    """docs/guarantees.md promises nothing that no test proves."""
    page = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    promises = [row for row in rows if not row.startswith("| promise")]
    assert promises
    for row in promises:
        proofs = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        assert proofs, row
        for path, name in proofs:
            assert f"def {name}" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"


def test_every_module_is_named_in_the_design() -> None:
    """docs/design.md names every module of the rooms, so that a newcomer can guess the file."""
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    for room in ("benchmark", "timing", "storage", "interchange", "database", "pickles", "game"):
        for module in (ROOT / "sgdb" / room).glob("*.py"):
            names = (f"`{module.stem}`", f"`{module.stem}.py`")
            assert module.stem == "__init__" or any(name in design for name in names), module


def test_every_dependency_has_its_reason() -> None:
    """docs/design.md gives a reason for each dependency."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = project.split("dependencies = [", 1)[1].split("]", 1)[0]
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    for name in re.findall(r'"([A-Za-z0-9.-]+)', block):
        assert f"| {name} |" in design, name


def _programs_of_the_training_page() -> list[str]:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def _run_training(program: str, database_url: str, home: Path) -> str:
    environment = {**os.environ, "SGDB_DATABASE_URL": database_url, "SGDB_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_program_in_the_training_page_runs(database_url: str, tmp_path: Path) -> None:
    """The first example of docs/training.md does what it says."""
    said = _run_training(_programs_of_the_training_page()[0], database_url, tmp_path / "sgdb-home")
    assert said.endswith(" database []\n")


if find_spec("torch"):

    def test_the_program_with_torch_runs(database_url: str, tmp_path: Path) -> None:
        """So does the second, where PyTorch is installed; the bytes are what torch can load again."""
        program = _programs_of_the_training_page()[1]
        program += "\nassert torch.load(io.BytesIO(saved(model.state_dict())), weights_only=True)"
        program += "\nassert run.problems == []"
        assert _run_training(program, database_url, tmp_path / "sgdb-home") == ""
