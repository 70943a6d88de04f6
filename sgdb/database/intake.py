"""Taking one file's rows into a benchmark set, inside the caller's transaction and behind the set's lock.

What is already there is compared; what is missing is copied in; a value that differs is a conflict that
refuses the file. Whether something is missing is decided by looking at the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection

from sgdb.database.bulk import copy_lines
from sgdb.database.compare import Difference, compare_game, compare_result, conflict
from sgdb.database.ids import GameKeys, IdSource
from sgdb.database.lines import GAME_COLUMNS, RESULT_COLUMNS, game_lines, result_lines
from sgdb.database.presence import (
    Presence,
    games_there,
    gathered,
    gathered_by_key,
    most_games,
    results_there,
)
from sgdb.database.sets import (
    extend_set,
    fetch_games,
    fetch_keys,
    fetch_results,
    find_bots,
    find_set,
    make_bots,
    make_set,
    remove_results,
)
from sgdb.records import BotPerformance, Contents, GameSnapshot, is_run


@dataclass
class Tally:
    """Rows of one kind: what was read and what became of it."""

    inserted: int = 0
    identical: int = 0
    replaced: int = 0


class Intake:
    """One file on its way into its set. `open` first; then all games, then all results.

    `make_source` makes the row of source_files and returns its id; it is called at most once, when the
    first thing has to be written, so that a file that brings nothing new leaves no trace. With `replace`, a
    result of another value takes the stored one's place instead of being a conflict; boards never do.
    `called` is what messages call the side that the rows come from.
    """

    def __init__(
        self,
        connection: Connection,
        ids: IdSource,
        contents: Contents,
        make_source: Callable[[], int],
        *,
        replace: bool = False,
        called: str = "file",
    ) -> None:
        self._connection = connection
        self._ids = ids
        self._contents = contents
        self._make_source = make_source
        self._replace = replace
        self._called = called
        self._source: int | None = None
        self._bots: dict[str, int] = {}
        self._keys = GameKeys()
        self.games = Tally()
        self.regenerated = Tally()
        self.results = Tally()
        self.set_id = 0
        self.is_new = False
        self.extended_from: int | None = None  # the size that the set declared before, where it was raised

    @property
    def source(self) -> int:
        """The id in source_files that the new rows bear."""
        if self._source is None:
            self._source = self._make_source()
        return self._source

    @property
    def wrote(self) -> bool:
        """Whether anything was changed."""
        return self.extended_from is not None or self._source is not None

    def open(self, known: tuple[int, int] | None = None) -> None:
        """Finds or makes the set and the bots; what `find_set` has found already may be given. Raises
        ConflictError."""
        contents = self._contents
        found = known or find_set(self._connection, contents.config, contents.base_seed)
        if found is None:
            self.is_new = True
            self.set_id = make_set(
                self._connection,
                self._ids,
                contents.config,
                contents.base_seed,
                contents.num_games,
                self.source,
            )
        else:
            self.set_id, declared = found
            if contents.num_games > declared:
                extend_set(self._connection, self.set_id, contents.num_games)
                self.extended_from = declared
        names = [key for key, _ in contents.results]
        self._bots = find_bots(self._connection, names)
        new = [name for name in names if name not in self._bots]
        if new:
            make_bots(self._connection, self._ids, new, self.source)
            self._bots = find_bots(self._connection, names)

    def add_games(self, batches: Iterable[list[GameSnapshot]], total: int, tally: Tally) -> None:
        """Games in batches, `total` at most, counted in `tally`. Raises ConflictError."""
        if self.is_new and total:
            self._copy_games(batches, total, tally)
            return
        for games in gathered(batches, most_games(self._contents.config)):
            missing = self._missing_games(games, tally)
            if missing:
                self._copy_games([missing], len(missing), tally)

    def _missing_games(self, games: list[GameSnapshot], tally: Tally) -> list[GameSnapshot]:
        """Those of these games that the set lacks; the others are counted as identical."""
        presence = games_there(self._connection, self.set_id, games)
        if presence is Presence.NOTHING:
            return games
        if presence is Presence.THE_SAME:
            tally.identical += len(games)
            return []
        stored = fetch_games(self._connection, self.set_id, [game.game_id for game in games])
        missing, conflicts = [], list[Difference]()
        for game in games:
            there = stored.get(game.game_id)
            if there is None:
                missing.append(game)
                continue
            conflicts += compare_game(game, there)
            tally.identical += 1
        if conflicts:
            raise conflict(conflicts, "database", self._called)
        return missing

    def _copy_games(self, batches: Iterable[list[GameSnapshot]], total: int, tally: Tally) -> None:
        # Keys and source are asked for before COPY begins: nothing else can be asked while it runs.
        ids, source = self._ids.take(self._connection, "games", total), self.source

        def lines() -> Iterator[str]:
            for batch in batches:
                keys = list(islice(ids, len(batch)))
                self._remember(batch, keys)
                tally.inserted += len(batch)
                yield from game_lines(batch, keys, self.set_id, source)

        copy_lines(self._connection, "games", GAME_COLUMNS, lines())

    def _remember(self, batch: list[GameSnapshot], keys: list[int]) -> None:
        """Notes the new games' keys, which their results need."""
        if is_run([game.game_id for game in batch]):
            self._keys.add_run(batch[0].game_id, keys)
            return
        start = 0
        for at in range(1, len(batch) + 1):
            if at == len(batch) or batch[at].game_id != batch[at - 1].game_id + 1:
                self._keys.add_run(batch[start].game_id, keys[start:at])
                start = at

    def add_results(self, batches: Iterable[tuple[str, list[BotPerformance]]], total: int) -> None:
        """Results in batches of one key each, `total` at most. Their games are there already."""
        if self.is_new and total:
            self._copy_results(batches, total, self._keys)
            return
        for key, rows in gathered_by_key(batches):
            missing = self._missing_results(key, rows)
            if missing:
                keys = fetch_keys(self._connection, self.set_id, [row.game_id for row in missing])
                self._copy_results([(key, missing)], len(missing), keys)

    def _missing_results(self, key: str, rows: list[BotPerformance]) -> list[BotPerformance]:
        """Those of these results that are to be written; the others are counted as identical."""
        bot_id = self._bots[key]
        presence = results_there(self._connection, self.set_id, key, bot_id, rows)
        if presence is Presence.NOTHING:
            return rows
        if presence is Presence.THE_SAME:
            self.results.identical += len(rows)
            return []
        stored = fetch_results(self._connection, self.set_id, bot_id, [row.game_id for row in rows])
        missing, differing, conflicts = [], [], list[Difference]()
        for row in rows:
            there = stored.get(row.game_id)
            if there is None:
                missing.append(row)
            elif found := compare_result(key, row, there):
                differing.append(row)
                conflicts += found
            else:
                self.results.identical += 1
        if conflicts and not self._replace:
            raise conflict(conflicts, "database", self._called)
        if differing:
            remove_results(self._connection, self.set_id, bot_id, [row.game_id for row in differing])
            self.results.replaced += len(differing)
        return missing + differing

    def _copy_results(
        self,
        batches: Iterable[tuple[str, list[BotPerformance]]],
        total: int,
        keys: GameKeys,
    ) -> None:
        ids, source = self._ids.take(self._connection, "game_results", total), self.source

        def lines() -> Iterator[str]:
            for key, batch in batches:
                self.results.inserted += len(batch)
                own, games = list(islice(ids, len(batch))), keys.of([row.game_id for row in batch])
                yield from result_lines(key, self._bots[key], batch, own, games, source)

        copy_lines(self._connection, "game_results", RESULT_COLUMNS, lines())
