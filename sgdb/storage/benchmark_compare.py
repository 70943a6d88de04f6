"""A benchmark's file against the rows of its set, value by value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from sqlalchemy import Connection

from sgdb.database.compare import Difference, compare_game, compare_result
from sgdb.database.coverage import (
    listed,
    regenerated_games,
    saved_games,
    saved_results,
    stored_games,
    stored_results,
)
from sgdb.database.presence import (
    Presence,
    games_there,
    gathered,
    gathered_by_key,
    most_games,
    results_there,
)
from sgdb.database.provenance import SourceRow, find_saved_source, sources
from sgdb.database.runs import IMPORT
from sgdb.database.sets import describe_set, fetch_games, fetch_results, find_bots, find_set
from sgdb.pickles import attributes
from sgdb.pickles.legacy import LegacyFile, Parts
from sgdb.records import BotPerformance, Contents, GameSnapshot, IdRuns


class BenchmarkComparison:
    """Compares one file after the other, in a transaction that sees one moment.

    `set_ids` are the sets that the files belong to. Rows of a set that no file explains are reported with the
    first file of it.
    """

    def __init__(self, connection: Connection) -> None:
        self.set_ids: set[int] = set()
        self._connection = connection
        # No pickle has a time. Rows without a source, or of an import, may.
        self._with_times: set[int | None] = {None}
        self._searched: set[int] = set()  # sets that have been searched for rows that no file explains

    def compare(
        self,
        file: LegacyFile,
        row: SourceRow | None,
        path: str,
        on_bytes: Callable[[int], None],
    ) -> Iterator[Difference] | None:
        """What differs, found while the file is read; None where its set is not there.

        `row` is what was written down about this very content, `path` (as in source_files) where the file
        lies, empty for a stored original. Reading on raises what reading the file raises.
        """
        contents = file.contents
        if row is not None:
            set_id = row.benchmark_set_id
        else:
            found = find_set(self._connection, contents.config, contents.base_seed)
            if found is None:
                return None
            set_id = found[0]
        self.set_ids.add(set_id)
        return self._differences(file, set_id, row, path, on_bytes)

    def _differences(
        self,
        file: LegacyFile,
        set_id: int,
        row: SourceRow | None,
        path: str,
        on_bytes: Callable[[int], None],
    ) -> Iterator[Difference]:
        contents = file.contents
        of_set = sources(self._connection, set_id=set_id)
        self._with_times |= {row.id for row in of_set if row.kind == IMPORT}
        yield from self._compare_set(set_id, contents, of_set)
        if row is not None:
            yield from _compare_contents(contents, row.contents)
        else:
            yield from _compare_extras(contents, of_set)
            former = next((known for known in reversed(of_set) if known.path == path), None)
            if former is not None:
                yield from _compare_with_former(contents, former.contents)
        bots = find_bots(self._connection, file.result_keys)
        for key in file.result_keys:
            if key not in bots:
                yield Difference(None, key, "bot", "present", None)
        parts = Parts(file.rows(on_bytes))
        for games in gathered(parts.games(), most_games(contents.config)):
            yield from self._compare_games(set_id, games)
        for key, rows in gathered_by_key(parts.results()):
            yield from self._compare_results(set_id, key, bots.get(key), rows)
        for games in file.regenerated_batches():
            yield from self._compare_games(set_id, games)
        if len(file.missing):
            yield from self._compare_origins(set_id, file.missing, of_set)
        if set_id not in self._searched:
            self._searched.add(set_id)
            yield from self._unexplained(set_id, [*of_set, contents])

    def _compare_set(self, set_id: int, contents: Contents, of_set: list[SourceRow]) -> Iterator[Difference]:
        stored = describe_set(self._connection, set_id)
        for name in ("num_rows", "num_cols", "num_colors"):
            ours, theirs = getattr(contents.config, name), getattr(stored.config, name)
            if ours != theirs:
                yield Difference(None, None, f"config.{name}", ours, theirs)
        if contents.base_seed != stored.base_seed:
            yield Difference(None, None, "base_seed", contents.base_seed, stored.base_seed)
        # Of several files of one set, and the programs that store in it, the largest declares its size.
        declared = max(contents.num_games, *(row.contents.num_games for row in of_set), 0)
        saved = find_saved_source(self._connection, set_id)
        if saved is not None:
            declared = max(declared, saved[1])
        if stored.num_games != declared:
            yield Difference(None, None, "num_games", declared, stored.num_games)

    def _compare_games(self, set_id: int, games: list[GameSnapshot]) -> Iterator[Difference]:
        if games_there(self._connection, set_id, games) is Presence.THE_SAME:
            return
        stored = fetch_games(self._connection, set_id, [game.game_id for game in games])
        for game in games:
            there = stored.get(game.game_id)
            if there is None:
                yield Difference(game.game_id, None, "row", "present", None)
                continue
            yield from compare_game(game, there)

    def _compare_results(
        self, set_id: int, key: str, bot_id: int | None, rows: list[BotPerformance]
    ) -> Iterator[Difference]:
        if (
            bot_id is not None
            and results_there(self._connection, set_id, key, bot_id, rows) is Presence.THE_SAME
        ):
            return
        ids = [row.game_id for row in rows]
        stored = {} if bot_id is None else fetch_results(self._connection, set_id, bot_id, ids)
        for row in rows:
            there = stored.get(row.game_id)
            if there is None:
                yield Difference(row.game_id, key, "row", "present", None)
                continue
            yield from compare_result(key, row, there)
            if there.execution_time_ms is not None and there.source_file_id not in self._with_times:
                yield Difference(row.game_id, key, "execution_time_ms", None, there.execution_time_ms)

    def _compare_origins(self, set_id: int, missing: IdRuns, of_set: list[SourceRow]) -> Iterator[Difference]:
        """Boards that no file lists, and no program has stored, are marked as drawn by sgdb."""
        listed_by_files = IdRuns([pair for row in of_set for pair in row.contents.games.pairs()])
        unlisted = missing.minus(listed_by_files).minus(saved_games(self._connection, set_id))
        absent = unlisted.minus(stored_games(self._connection, set_id))  # said already
        unmarked = unlisted.minus(regenerated_games(self._connection, set_id)).minus(absent)
        for index in unmarked:
            yield Difference(index, None, "metadata.origin", "regenerated", None)

    def _unexplained(self, set_id: int, files: list[SourceRow | Contents]) -> Iterator[Difference]:
        """Rows of the set that none of these files has, and no program has stored."""
        games, results = listed(files)
        unlisted = stored_games(self._connection, set_id).minus(games)
        for index in unlisted.minus(saved_games(self._connection, set_id)):
            yield Difference(index, None, "row", None, "present")
        saved = saved_results(self._connection, set_id)
        for bot, stored in stored_results(self._connection, set_id).items():
            for index in stored.minus(results.get(bot, IdRuns())).minus(saved.get(bot, IdRuns())):
                yield Difference(index, bot, "row", None, "present")


def _compare_contents(contents: Contents, recorded: Contents) -> Iterator[Difference]:
    """What was written down about the file when it was migrated: export follows it."""
    ours, theirs = contents.to_json(), recorded.to_json()
    keys = [[key for key, _ in which.results] for which in (contents, recorded)]
    if keys[0] != keys[1]:
        yield Difference(None, None, "bot keys", *keys)
        return
    for name in ours:
        if json.dumps(ours[name], sort_keys=True) != json.dumps(theirs[name], sort_keys=True):
            yield Difference(None, None, f"recorded {name}", ours[name], theirs[name])


def _compare_extras(contents: Contents, of_set: list[SourceRow]) -> Iterator[Difference]:
    """What stands on no row, of a file whose very bytes were never migrated: some file has to have brought
    it, or else the database does not hold it."""
    for what, ours, theirs in (
        ("top-level entry", contents.extra, [row.contents.extra for row in of_set]),
        ("attribute of the config", contents.config_extra, [row.contents.config_extra for row in of_set]),
    ):
        known = {name: value for entries in theirs for name, value in entries.items()}
        for name, value in ours.items():
            if name not in known or not attributes.same(value, known[name]):
                yield Difference(None, None, f"{what} {name!a}", value, known.get(name))


def _compare_with_former(contents: Contents, former: Contents) -> Iterator[Difference]:
    """What a file has lost that stood under the same path when it was migrated. What it has gained shows in
    the rows."""
    if contents.num_games < former.num_games:
        yield Difference(None, None, "num_games", contents.num_games, former.num_games)
    for what, ours, theirs in (
        ("top-level entry", contents.extra, former.extra),
        ("attribute of the config", contents.config_extra, former.config_extra),
    ):
        for name in theirs.keys() - ours.keys():
            yield Difference(None, None, f"{what} {name!a}", None, theirs[name])
    for index in former.games.minus(contents.games):
        yield Difference(index, None, "row", None, "present")
    rows = dict(contents.results)
    for key, known in former.results:
        for index in known.minus(rows.get(key, IdRuns())):
            yield Difference(index, key, "row", None, "present")
