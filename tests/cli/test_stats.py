"""`sgdb stats` as people, cron and Prometheus call it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text

from sgdb.cli.prometheus import Family, exposition
from sgdb.database.models import Base
from tests.cli.conftest import Process
from tests.legacy import write_legacy
from tests.steps import tamper, until


def test_a_table_for_people(sgdb_process: Process, engine: Engine) -> None:
    """Every table, and who holds a transaction open."""
    with engine.connect() as other:
        pid = other.scalar(text("SELECT pg_backend_pid()"))
        done = sgdb_process("stats")
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert {line[0] for line in lines if line} >= {*Base.metadata.tables, "address:", "cache:", "backup:"}
    assert any(line[2:4] == [str(pid), str(engine.url.username)] for line in lines)
    assert "not seen: the slowest statements" in done.stderr


def test_the_formats_agree(sgdb_process: Process) -> None:
    """JSON is the document; CSV, Markdown and Prometheus have every measure of it."""
    document = json.loads(sgdb_process("stats", "--format", "json").stdout)
    assert [table["table"] for table in document["tables"]] == list(Base.metadata.tables)
    rows = list(csv.DictReader(sgdb_process("stats", "-f", "csv").stdout.splitlines()))
    sizes = {row["of"]: row["value"] for row in rows if row["measure"] == "sgdb_index_size_bytes"}
    assert sizes == {f"{one['table']} {one['index']}": str(one["bytes"]) for one in document["indexes"]}
    assert sgdb_process("stats", "-f", "markdown").stdout.startswith("| measure | of | value |\n")


def test_prometheus_reads_it(sgdb_process: Process) -> None:
    """With the parser of its own client: each metric once, typed, explained, in base units."""
    done = sgdb_process("stats", "--format", "prometheus")
    assert done.returncode == 0
    families = {family.name: family for family in text_string_to_metric_families(done.stdout)}
    assert done.stdout.count("# TYPE") == len(families)
    assert all(family.documentation and family.samples for family in families.values())
    assert {family.type for family in families.values()} == {"gauge", "counter"}
    assert families["sgdb_up"].samples[0].value == 1
    tables = {sample.labels["table"] for sample in families["sgdb_table_rows"].samples}
    assert tables == set(Base.metadata.tables)
    for name, family in families.items():
        assert name.startswith("sgdb_")
        seen = [tuple(sorted(sample.labels.items())) for sample in family.samples]
        assert len(seen) == len(set(seen)), name


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 1e300, 2.0**60, float("inf"), float("nan")])
def test_every_number_and_label_comes_through(value: float) -> None:
    """Quotes, backslashes and line ends in labels and texts included."""
    family = Family("sgdb_odd", 'back\\slash, "quote"\nand line')
    hostile = 'a"b\\n\n{x="y"} 7\t\u2603'
    family.add(value, name=hostile, other="")
    family.add(None, name="nothing")
    (parsed,) = text_string_to_metric_families(exposition([family, Family("sgdb_none", "none")]) + "\n")
    (sample,) = parsed.samples
    assert sample.labels == {"name": hostile, "other": ""}
    assert sample.value == value or value != value
    assert parsed.documentation == family.help


def test_cron_hears_of_nothing_but_reasons(sgdb_process: Process, engine: Engine, tmp_path: Path) -> None:
    """Silence and 0 while all is well; afterwards one line a reason, and 1."""
    done = sgdb_process("stats", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    write_legacy(tmp_path / "a.pkl")
    assert sgdb_process("migrate-pickles", "a.pkl").returncode == 0
    tamper(engine, "DROP INDEX ix_games_seed")
    until(lambda: len(sgdb_process("stats", "--check").stdout.splitlines()) == 2)
    done = sgdb_process("stats", "--check")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[0].startswith("look: there is no proven backup of this database in ")
    assert done.stdout.splitlines()[0].endswith("; next: sgdb backup")
    assert "next: CREATE INDEX ix_games_seed ON games (seed);" in done.stdout
    done = sgdb_process("stats", "--check", "--format", "json")
    assert done.returncode == 1
    assert [reason["limit"] for reason in json.loads(done.stdout)["reasons"]] == ["backup_age", "index"]
    done = sgdb_process("stats")
    assert done.returncode == 0
    assert done.stderr.count("look: ") == 2


def test_limits_as_people_write_them(sgdb_process: Process) -> None:
    """Times with a unit, shares in percent or as they are; anything else is explained."""
    done = sgdb_process("stats", "--check", "--limit", "connections=0%", "--limit", "backup-age=1.5d")
    assert done.returncode == 1
    assert "of at most" in done.stdout
    for given, said in (
        ("conections=1", "did you mean connections?"),
        ("bloat=7d", "such as 80% or 0.8"),
        ("backup-age=80%", "such as 90s, 30m, 36h or 7d"),
        ("backup-age", "such as 90s"),
        ("lock-wait=\u0663", "such as 90s"),
        ("", "the limits are: backup-age, "),
    ):
        done = sgdb_process("stats", "--limit", given)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


@pytest.mark.parametrize("format", ["table", "json", "csv", "prometheus"])
def test_a_server_that_is_away(sgdb_process: Process, format: str) -> None:
    """Exit 3, and nothing on stdout, except that Prometheus is told so."""
    done = sgdb_process(
        "stats", "--check", "-f", format, SGDB_DATABASE_URL="postgresql://ann:geheim@127.0.0.1:1/games"
    )
    assert done.returncode == 3
    assert "geheim" not in done.stdout + done.stderr
    if format != "prometheus":
        assert done.stdout == ""
        return
    families = {family.name: family for family in text_string_to_metric_families(done.stdout)}
    assert families["sgdb_up"].samples[0].value == 0
    assert families["sgdb_debts"].samples[0].value == 0
    assert families["sgdb_training_debts"].samples[0].value == 0
    assert "sgdb_database_size_bytes" not in families
