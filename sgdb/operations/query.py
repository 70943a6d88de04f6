"""`sgdb query`: what the database knows, in parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import Any

from sqlalchemy import Connection

from sgdb.database import history, queries
from sgdb.database.access import ready_engine
from sgdb.database.engine import transaction
from sgdb.database.liveness import AT_WORK, BROKEN_OFF, broken_off
from sgdb.database.provenance import RUNNING
from sgdb.database.sets import bots_with_results, describe_set, unknown_bot
from sgdb.errors import NotFoundError, UsageError
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings

SET_FIELDS = (
    "id", "name", "num_rows", "num_cols", "num_colors", "base_seed", "num_games", "games", "bots", "results",
    "created_at",
)  # fmt: skip
GAME_FIELDS = ("game_index", "seed", "board", "metadata")
RESULT_FIELDS = (
    "game_index", "tiles_cleared", "singles_remaining", "moves_made", "completed", "execution_time_ms",
    "metadata",
)  # fmt: skip
RUN_FIELDS = (
    "id", "kind", "status", "started_at", "finished_at", "migrated", "identical", "rejected", "rolled_back",
    "games_inserted", "games_regenerated", "results_inserted", "checkpoints_inserted", "sgdb_version",
    "options",
)  # fmt: skip
RUN_FILE_FIELDS = (
    "id", "path", "status", "benchmark_set_id", "sha256", "size_bytes", "games_inserted", "games_regenerated",
    "results_inserted", "checkpoints_inserted", "archived", "error", "notes",
)  # fmt: skip
MISMATCH_FIELDS = (
    "pickle_file", "num_rows", "num_cols", "num_colors", "base_seed", "game_id", "bot", "field", "pickle",
    "database", "found_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PartOptions:
    """Which games of a set: from `start` up to but without `stop`. `bot` is needed for results."""

    set_id: int
    start: int | None = None
    stop: int | None = None
    bot: str | None = None


@contextmanager
def _reading(settings: Settings, progress: Progress | None) -> Iterator[Connection]:
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine, transaction(engine, read_only=True) as connection:
        yield connection


def sets(settings: Settings, progress: Progress | None = None) -> list[dict[str, Any]]:
    """All benchmark sets, with SET_FIELDS."""
    with _reading(settings, progress) as connection:
        return queries.benchmark_sets(connection)


def runs(settings: Settings, progress: Progress | None = None) -> list[dict[str, Any]]:
    """All runs, oldest first, with RUN_FIELDS.

    `status` is "at work", "broken off" (it was killed, or lost the database, and could not say how it ended),
    "done", "interrupted", "failed" or "rolled-back". Counted are its files by outcome, and the rows that they
    brought, also where these have been taken back since.
    """
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine:
        with transaction(engine, read_only=True) as connection:
            rows = history.list_runs(connection)
        silent = broken_off(engine, [row["id"] for row in rows if row["status"] == RUNNING])
    for row in rows:
        if row["status"] == RUNNING:
            row["status"] = BROKEN_OFF if row["id"] in silent else AT_WORK
    return rows


def run_files(run_id: int, settings: Settings, progress: Progress | None = None) -> list[dict[str, Any]]:
    """The files that a run looked at and wrote down, with RUN_FILE_FIELDS. Raises NotFoundError.

    `archived` tells whether the original's bytes are stored. A file that brought nothing new and was known
    already is not written down again.
    """
    with _reading(settings, progress) as connection:
        if not history.run_exists(connection, run_id):
            raise NotFoundError(f"there is no run {run_id}", hint="list them with `sgdb query runs`")
        return history.list_files(connection, run_id)


def games(
    options: PartOptions, settings: Settings, progress: Progress | None = None
) -> Iterator[dict[str, Any]]:
    """Games with GAME_FIELDS, fetched as they are asked for.

    Raises NotFoundError for an unknown set, and UsageError, before it returns.
    """

    def rows() -> Iterator[dict[str, Any]]:
        with _reading(settings, progress) as connection:
            describe_set(connection, options.set_id)
            yield from queries.games(connection, options.set_id, options.start, options.stop)

    _check_range(options)
    return _begun(rows())


def results(
    options: PartOptions, settings: Settings, progress: Progress | None = None
) -> Iterator[dict[str, Any]]:
    """One bot's results with RESULT_FIELDS, fetched as they are asked for.

    Raises NotFoundError for an unknown set or bot, and UsageError, before it returns.
    """
    bot = options.bot
    if bot is None:
        raise UsageError("no bot was named", hint="give --bot NAME (see `sgdb query bot-performance`)")

    def rows() -> Iterator[dict[str, Any]]:
        with _reading(settings, progress) as connection:
            describe_set(connection, options.set_id)
            names = bots_with_results(connection, options.set_id)
            if bot not in names:
                raise unknown_bot(bot, names, f" in set {options.set_id}")
            yield from queries.results(connection, options.set_id, bot, options.start, options.stop)

    _check_range(options)
    return _begun(rows())


def mismatches(settings: Settings) -> list[dict[str, Any]]:
    """The values that dual storages found to differ between pickle and database, with MISMATCH_FIELDS.

    They stand in the journal, so no database is asked. Raises FileAccessError.
    """
    from sgdb.storage.journal import Journal  # no other query needs a storage

    return [
        {
            "pickle_file": found.pair.pickle,
            **asdict(found.pair.config),
            "base_seed": found.pair.base_seed,
            **found.difference._asdict(),
            "found_at": found.found_at,
        }
        for found in Journal(settings.journal_folder).mismatches()
    ]


def _begun(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same rows, the first of which has been fetched: whoever prints them has nothing to take back."""
    first = list(islice(rows, 1))
    return chain(first, rows)


def _check_range(options: PartOptions) -> None:
    if options.start is not None and options.stop is not None and options.stop < options.start:
        raise UsageError(
            f"--stop {options.stop} lies before --start {options.start}", hint="games count from 0"
        )
