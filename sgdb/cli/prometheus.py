"""Measures in the text format that Prometheus reads, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(slots=True)
class Family:
    """One metric: its name, what it means, "gauge" or "counter", and its values by label."""

    name: str
    help: str
    type: str = "gauge"
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)

    def add(self, value: float | None, **labels: str) -> None:
        """One value; what is not known is left out."""
        if value is not None:
            self.samples.append((labels, float(value)))

    def lines(self) -> Iterable[str]:
        """The metric as the format has it."""
        yield f"# HELP {self.name} {_escaped(self.help, quote=False)}"
        yield f"# TYPE {self.name} {self.type}"
        for labels, value in self.samples:
            told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            yield f"{self.name}{{{told}}} {_number(value)}" if told else f"{self.name} {_number(value)}"


def exposition(families: Iterable[Family]) -> str:
    """The document, without its last line end. Metrics without a value are left out."""
    return "\n".join(line for family in families if family.samples for line in family.lines())


def _escaped(text: str, *, quote: bool = True) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quote else text


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def families(document: Mapping[str, Any], *, is_up: bool) -> list[Family]:
    """What `sgdb stats --format json` says, as metrics in base units."""
    found = [_single("sgdb_up", "Whether the database could be asked (1) or not (0).", float(is_up))]
    if is_up:
        found += _of_server(document)
        found += _of_tables(document["tables"])
        found += _of_indexes(document)
    backup = document["backup"] or {}
    found += [
        _single(
            "sgdb_last_proven_backup_timestamp_seconds",
            "When the newest proven backup of this database was made.",
            _timestamp(backup.get("created_at")),
        ),
        _single("sgdb_debts", "Saves that have not reached both sides of a dual storage.", document["debts"]),
        _single(
            "sgdb_training_debts",
            "What trainings could not tell the database, as events.",
            document["training_debts"],
        ),
        _single(
            "sgdb_oldest_debt_timestamp_seconds",
            "Since when the oldest of both is owed.",
            _timestamp(document["owed_since"]),
        ),
        _single(
            "sgdb_mismatches", "Values that a pickle and the database have otherwise.", document["mismatches"]
        ),
        _single(
            "sgdb_check_reasons",
            "Reasons to look that sgdb stats --check gives.",
            len(document["reasons"]),
        ),
        _single("sgdb_unseen", "Parts that could not be looked at.", len(document["unseen"])),
    ]
    return found


def _single(name: str, help: str, value: float | None, type: str = "gauge") -> Family:  # noqa: A002
    family = Family(name, help, type)
    family.add(value)
    return family


def _timestamp(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _of_server(document: Mapping[str, Any]) -> list[Family]:
    connections = document["connections"]
    by_state = Family("sgdb_connections", "Sessions on this database by state.")
    for state, count in connections["by_state"].items():
        by_state.add(count, state=state)
    statement_seconds = Family(
        "sgdb_statement_seconds_total", "Time that the slowest statements have taken.", "counter"
    )
    statement_calls = Family("sgdb_statement_calls_total", "How often they were called.", "counter")
    for statement in document["statements"] or ():
        statement_seconds.add(statement["total_seconds"], queryid=str(statement["id"]))
        statement_calls.add(statement["calls"], queryid=str(statement["id"]))
    cache = document["cache"]
    transactions = [one["seconds"] for one in document["transactions"]]
    waiting = [one["seconds"] for one in document["waiting"]]
    return [
        _single(
            "sgdb_database_size_bytes", "Bytes of the whole database on disk.", document["database_bytes"]
        ),
        _single(
            "sgdb_server_start_timestamp_seconds",
            "When the server was started.",
            _timestamp(document["started_at"]),
        ),
        by_state,
        _single("sgdb_server_connections", "Sessions in all databases of the server.", connections["used"]),
        _single("sgdb_server_connections_max", "Sessions that the server takes.", connections["max"]),
        _single(
            "sgdb_cache_hit_blocks_total", "Blocks found in the server's memory.", cache["hits"], "counter"
        ),
        _single(
            "sgdb_cache_read_blocks_total",
            "Blocks not found in the server's memory.",
            cache["reads"],
            "counter",
        ),
        _single(
            "sgdb_deadlocks_total",
            "Deadlocks that the server has ended.",
            document["deadlocks"],
            "counter",
        ),
        _single(
            "sgdb_longest_transaction_seconds",
            "Age of the oldest transaction that is open.",
            max(transactions, default=0),
        ),
        _single("sgdb_waiting_sessions", "Sessions that wait for a lock.", len(waiting)),
        _single(
            "sgdb_longest_lock_wait_seconds",
            "How long the one has waited that waits longest.",
            max(waiting, default=0),
        ),
        _single(
            "sgdb_transaction_ids_used_ratio",
            "Share of the transaction ids that is used up.",
            document["transaction_ids_used"],
        ),
        statement_seconds,
        statement_calls,
    ]


def _of_tables(tables: Iterable[Mapping[str, Any]]) -> list[Family]:
    sizes = Family("sgdb_table_size_bytes", "Bytes on disk of each table: its rows, large values, indexes.")
    rows = Family("sgdb_table_rows", "Rows, as the server estimates.")
    dead = Family("sgdb_table_dead_rows", "Dead rows, as the server estimates.")
    bloat = Family("sgdb_table_bloat_bytes", "Bytes that a table written anew would save, estimated.")
    vacuum = Family("sgdb_table_last_vacuum_timestamp_seconds", "When VACUUM last ran, by itself or not.")
    analyze = Family("sgdb_table_last_analyze_timestamp_seconds", "When ANALYZE last ran, by itself or not.")
    scans = Family("sgdb_table_scans_total", "Scans of the whole table, and by an index.", "counter")
    for one in tables:
        name = one["table"]
        for part, column in (("rows", "table_bytes"), ("large", "toast_bytes"), ("indexes", "index_bytes")):
            sizes.add(one[column], table=name, part=part)
        rows.add(one["rows"], table=name)
        dead.add(one["dead_rows"], table=name)
        bloat.add(one["bloat_bytes"], table=name)
        vacuum.add(_timestamp(one["last_vacuum"]), table=name)
        analyze.add(_timestamp(one["last_analyze"]), table=name)
        scans.add(one["sequential_scans"], table=name, kind="sequential")
        scans.add(one["index_scans"], table=name, kind="index")
    return [sizes, rows, dead, bloat, vacuum, analyze, scans]


def _of_indexes(document: Mapping[str, Any]) -> list[Family]:
    sizes = Family("sgdb_index_size_bytes", "Bytes on disk of each index.")
    scans = Family("sgdb_index_scans_total", "How often each index was used.", "counter")
    valid = Family("sgdb_index_valid", "Whether the server uses the index (1) or making it failed (0).")
    for one in document["indexes"]:
        labels = {"table": one["table"], "index": one["index"]}
        sizes.add(one["bytes"], **labels)
        scans.add(one["scans"], **labels)
        valid.add(float(one["valid"]), **labels)
    used = Family("sgdb_sequence_used_ratio", "Share of a column's numbers that is used up.")
    for one in document["sequences"]:
        used.add(one["used"], table=one["table"], column=one["column"])
    missing = _single(
        "sgdb_missing_indexes",
        "Indexes of sgdb's schema that are not there.",
        len(document["missing_indexes"]),
    )
    return [sizes, scans, valid, missing, used]
