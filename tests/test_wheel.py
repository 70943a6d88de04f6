"""The built wheel, installed where no checkout is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.legacy import write_legacy

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_wheel_installs_and_migrates_a_file_without_the_checkout(tmp_path: Path, empty_database: str) -> None:
    """The wheel holds everything: migrations, type marker, licence; its declared dependencies are enough."""
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "sgdb/_migrations/env.py" in names
    assert any(name.startswith("sgdb/_migrations/versions/0001") for name in names)
    assert "sgdb/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "docs/")) for name in names)

    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    # `python -m build` and pytest leave paths behind that would let the checkout shine through.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    install = [str(python), "-m", "pip", "install", "--quiet", str(wheel)]
    subprocess.run(install, check=True, env=environment, cwd=tmp_path)
    where = [str(python), "-c", "import sgdb; print(sgdb.__file__)"]
    found = subprocess.run(where, check=True, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert Path(found.stdout.strip()).is_relative_to(tmp_path)

    pickles = tmp_path / "pickles"
    pickles.mkdir()
    write_legacy(pickles / "benchmark_5_5_3_42.pkl", num_games=10)
    environment["SGDB_DATABASE_URL"] = empty_database
    sgdb = str(tmp_path / "env" / "bin" / "sgdb")
    subprocess.run([sgdb, "init"], check=True, env=environment, cwd=tmp_path, capture_output=True)
    done = subprocess.run(
        [sgdb, "migrate-pickles", "pickles", "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert json.loads(done.stdout)["totals"]["games"]["inserted"] == 10
