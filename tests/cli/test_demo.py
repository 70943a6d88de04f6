"""`sgdb demo` as a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import run_sgdb


@pytest.mark.slow
def test_the_demo_runs_through_and_leaves_the_users_data_alone(tmp_path: Path) -> None:
    """Every command succeeds; neither the user's home nor the settings in the current folder are touched."""
    (tmp_path / "sgdb.toml").write_text('host = "127.0.0.1"\nport = 1\n')
    users_home = tmp_path / "users-home"
    before = sorted(tmp_path.iterdir())
    done = run_sgdb(tmp_path, "demo", SGDB_HOME=str(users_home), SGDB_PASSWORD="x", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    for command in ("init", "migrate-pickles pickles --dry-run", "migrate-pickles pickles", "verify pickles"):
        assert f"\n$ sgdb {command}\n" in done.stdout
    assert "85 inserted + 20 identical" in done.stderr
    assert "equal: 4 files" in done.stderr
    assert done.stdout.rstrip().endswith("sgdb migrate-pickles FOLDER")
    assert sorted(tmp_path.iterdir()) == before
