"""What a whole set holds, told as one file: what its source files say, one after the other, then what came in
otherwise."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from sgdb.database.coverage import listed, stored_games, stored_results
from sgdb.database.provenance import sources
from sgdb.database.sets import StoredSet
from sgdb.errors import IncompleteSetError
from sgdb.records import Contents, IdRuns


def merged_contents(connection: Connection, stored: StoredSet) -> Contents:
    """The contents of a file of layout C that holds all of the set, in the order in which it came."""
    extra: dict[str, Any] = {}
    config_extra: dict[str, Any] = {}
    games: list[IdRuns] = []
    results: dict[str, list[IdRuns]] = {}
    found = sources(connection, set_id=stored.id)
    for source in found:
        extra = {**source.contents.extra, **extra}
        config_extra = {**source.contents.config_extra, **config_extra}
        games.append(source.contents.games)
        for key, runs in source.contents.results:
            results.setdefault(key, []).append(runs)
    # What no file explains came in otherwise; boards drawn for results are explained by these.
    own = stored_games(connection, stored.id).minus(listed(found)[0])
    for bot, stored_runs in stored_results(connection, stored.id).items():
        results.setdefault(bot, []).append(stored_runs)
    return Contents(
        layout="C",
        config=stored.config,
        num_games=stored.num_games,
        base_seed=stored.base_seed,
        games=_one_after_the_other([*games, own]),
        results=tuple((key, _one_after_the_other(runs)) for key, runs in results.items()),
        extra=extra,
        config_extra=config_extra,
    )


def require_complete(connection: Connection, set_id: int, contents: Contents) -> None:
    """Raises IncompleteSetError where the set lacks a row that these contents list."""
    games, results = listed([contents])
    for index in games.minus(stored_games(connection, set_id)):
        raise lacks(set_id, f"game {index}")
    there = stored_results(connection, set_id)
    for key, runs in results.items():
        for index in runs.minus(there.get(key, IdRuns())):
            raise lacks(set_id, f"the result of {key!a} on game {index}")


def lacks(set_id: int, what: str) -> IncompleteSetError:
    """The error for a row that should be there."""
    return IncompleteSetError(
        f"set {set_id} lacks {what}, which its source files have",
        hint="see `sgdb verify`; migrating the file again brings back what is missing",
    )


def _one_after_the_other(sequences: list[IdRuns]) -> IdRuns:
    """The first sequence as it is, then of each other what has not come yet, in its order."""
    merged = IdRuns(sequences[0].pairs())
    for runs in sequences[1:]:
        fresh = runs.minus(merged)
        if runs == runs.distinct():
            for start, stop in fresh.pairs():
                merged.extend(start, stop)
        else:
            pending = set(fresh)
            for number in runs:
                if number in pending:
                    pending.remove(number)
                    merged.append(number)
    return merged
