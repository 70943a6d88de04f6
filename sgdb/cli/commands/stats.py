"""`sgdb stats`."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sgdb.cli.output import Format, Output, harmless, size
from sgdb.cli.session import session
from sgdb.errors import UsageError

if TYPE_CHECKING:
    from sgdb.operations.stats import DatabaseStats, Limits, StatsResult

_SHOWN = 5  # of a kind
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_AGES = ("backup-age", "debt-age", "transaction-age", "lock-wait")


class StatsFormat(StrEnum):
    """How the statistics are printed: as all data, or for Prometheus."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    PROMETHEUS = "prometheus"


def stats(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 where somebody should look, and say why.")
    ] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="Another limit for the reasons: backup-age (7d), debt-age (1h), transaction-age (1h) or "
            "lock-wait (60s); connections (80%), dead-rows (30%), bloat (50%), sequences (80%), "
            "transaction-ids (50%) or, as the least, cache-hits (0%). Give it again for others.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    format: Annotated[
        StatsFormat, typer.Option("--format", "-f", help="How to print the data.", case_sensitive=False)
    ] = StatsFormat.TABLE,
) -> None:
    """How the database fares: sizes, upkeep of tables and indexes, sessions, locks, backups, debts.

    Read are the server's own statistics, so it takes the same moment however much is stored; numbers of rows
    are estimates (`sgdb status` counts). No right but to read is needed; what this user cannot see is said on
    stderr. With --check and no other format, only the reasons to look are printed, so that cron is silent
    while all is well. docs/monitoring.md says what everything means, and how to have Prometheus collect it.
    """
    from sgdb.operations import stats as operations

    current = session(context)
    options = operations.StatsOptions(_limits(limit or [], operations.Limits()))
    result = operations.stats(options, current.settings(), current.output.progress())
    if format is StatsFormat.PROMETHEUS:
        from sgdb.cli.prometheus import exposition, families

        document = result.to_json()
        current.output.text(exposition(families(document, is_up=result.database is not None)))
    if result.fault is not None:
        raise result.fault
    if format is StatsFormat.TABLE:
        if not check:
            _show(result, current.output)
    elif format is not StatsFormat.PROMETHEUS:
        _print(result, Format(format.value), current.output)
    is_for_cron = check and format is StatsFormat.TABLE
    for sentence in () if is_for_cron else result.unseen:
        current.output.message(f"not seen: {sentence}")
    say = current.output.text if is_for_cron else current.output.message
    for reason in result.reasons:
        say(f"look: {harmless(reason.says)}; next: {harmless(reason.next_step)}")
    if check and result.reasons:
        raise typer.Exit(1)


def _limits(given: list[str], limits: Limits) -> Limits:
    """The limits with those that were given as NAME=VALUE."""
    known = [one.name.replace("_", "-") for one in fields(limits)]
    for text in given:
        name, _, value = text.partition("=")
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise UsageError(
                f"there is no limit {name!a}" + (f"; did you mean {near[0]}?" if near else ""),
                hint="the limits are: " + ", ".join(known),
            )
        is_age = name in _AGES
        pattern = r"([0-9]{1,9}(?:\.[0-9]+)?)([smhd]?)" if is_age else r"([0-9]{1,3}(?:\.[0-9]+)?)(%?)"
        found = re.fullmatch(pattern, value)
        if found is None:
            how = "a time, such as 90s, 30m, 36h or 7d" if is_age else "a share, such as 80% or 0.8"
            raise UsageError(f"{value!a} is no value for the limit {name}", hint=f"give {how}")
        number = float(found[1])
        factor = _SECONDS[found[2]] if is_age else (0.01 if found[2] else 1.0)
        limits = replace(limits, **{name.replace("-", "_"): number * factor})
    return limits


def _print(result: StatsResult, format: Format, output: Output) -> None:
    """Everything as one document, or every measure as a line."""
    document = result.to_json()
    if format is Format.JSON:
        output.json(document)
        return
    from sgdb.cli.prometheus import families

    rows = [
        {"measure": family.name, "of": " ".join(labels.values()), "value": _plain(value)}
        for family in families(document, is_up=True)
        for labels, value in family.samples
    ]
    output.data(format, ("measure", "of", "value"), rows, None)


def _plain(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _show(result: StatsResult, output: Output) -> None:
    database = result.database
    assert database is not None
    for name, value in _lines(result, database):
        output.text(f"{name + ':':<13} {harmless(value)}")
    sections: list[tuple[tuple[str, ...], list[dict[str, Any]]]] = [
        (
            ("table", "rows", "dead", "size", "indexes", "bloat", "last_vacuum", "last_analyze"),
            [
                {
                    "table": one.table,
                    "rows": one.rows,
                    "dead": one.dead_rows,
                    "size": size(one.bytes),
                    "indexes": size(one.index_bytes),
                    "bloat": None if one.bloat_bytes is None else size(one.bloat_bytes),
                    "last_vacuum": one.last_vacuum and f"{one.last_vacuum:%Y-%m-%d %H:%M}",
                    "last_analyze": one.last_analyze and f"{one.last_analyze:%Y-%m-%d %H:%M}",
                }
                for one in database.upkeep.tables
            ],
        ),
        (
            ("waiting", "pid", "user", "wants", "behind"),
            [
                {
                    "waiting": f"{one.seconds:.0f} s",
                    "pid": one.pid,
                    "user": one.user,
                    "wants": one.wants,
                    "behind": " ".join(map(str, one.blocked_by)),
                }
                for one in database.activity.waiting[:_SHOWN]
            ],
        ),
        (
            ("open", "pid", "user", "state", "statement"),
            [
                {
                    "open": f"{one.seconds:.0f} s",
                    "pid": one.pid,
                    "user": one.user,
                    "state": one.state,
                    "statement": _short(one.query),
                }
                for one in database.activity.transactions[:_SHOWN]
            ],
        ),
        (
            ("seconds", "calls", "mean_ms", "statement"),
            [
                {
                    "seconds": one.total_seconds,
                    "calls": one.calls,
                    "mean_ms": one.mean_seconds * 1000,
                    "statement": _short(one.query),
                }
                for one in (database.activity.statements or ())[:_SHOWN]
            ],
        ),
    ]
    for columns, rows in sections:
        if rows:
            output.text("")
            output.data(Format.TABLE, columns, rows, None)


def _short(query: str) -> str:
    return query if len(query) <= 100 else f"{query[:97]}..."


def _lines(result: StatsResult, database: DatabaseStats) -> list[tuple[str, str]]:
    busy, kept = database.activity, database.upkeep
    ratio = busy.cache.hit_ratio
    states = ", ".join(f"{count} {state}" for state, count in busy.connections.by_state.items())
    lines = [
        ("address", result.address),
        ("server", f"PostgreSQL {database.server_version}, up since {busy.started_at:%Y-%m-%d %H:%M}"),
        ("size", size(database.database_bytes)),
        (
            "connections",
            f"{busy.connections.used} of at most {busy.connections.most}; in this database: {states}",
        ),
        (
            "cache",
            "nothing read yet" if ratio is None else f"{ratio * 100:.1f} % of the blocks were in memory",
        ),
        ("transactions", f"{database.transaction_ids * 100:.1f} % of the ids used up"),
    ]
    used = max((one for one in kept.sequences if one.used is not None), key=_used, default=None)
    if used is not None:
        lines.append(
            ("sequences", f"{_used(used) * 100:.1f} % used up at most, by {used.table}.{used.column}")
        )
    unused = [one for one in kept.indexes if not one.scans and not one.unique and one.valid]
    if unused:
        named = ", ".join(one.index for one in unused[:_SHOWN])
        more = f" and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
        lines.append(("unused", f"{named}{more} ({size(sum(one.bytes for one in unused))})"))
    backup = result.backup
    lines.append(
        ("backup", f"none that is proven in {result.backups_folder}")
        if backup is None
        else ("backup", f"{backup.created_at:%Y-%m-%d %H:%M}, proven: {backup.path}")
    )
    if result.owed_since:
        lines.append(("owed", f"{result.owed} since {result.owed_since:%Y-%m-%d %H:%M}: sgdb sync"))
    return lines


def _used(sequence: Any) -> float:
    return sequence.used or 0.0
