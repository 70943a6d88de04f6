"""One legacy file: what it holds, and its rows as records, as often as they are asked for.

`LegacyFile.read` goes over the file once and finds out what it holds. `rows` gives the records. Where they
are few, the first reading has kept them; of a larger file it keeps none and `rows` goes over it again, so
memory does not depend on the file's size, unless the file shares lists by reference (see `parser`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from sgdb.errors import DamagedPickleError, LayoutError, ValueRefusedError
from sgdb.pickles import attributes
from sgdb.pickles.files import Copy, HashedStream, Source, tee
from sgdb.pickles.inert import RowBatch, shown
from sgdb.pickles.layouts import CLASSES, Structure, StructureReader, ids_of, kind_of, split_tree
from sgdb.pickles.layouts import listed as listed_names
from sgdb.pickles.parser import PickleParser, SharedReferenceError
from sgdb.pickles.rows import GameRows, Notes, ResultRows
from sgdb.pickles.seeds import (
    SeedStream,
    check_reproducible,
    find_base_seed,
    follows,
    missing_games,
    regenerate,
    settle_base_seed,
)
from sgdb.pickles.window import WINDOW
from sgdb.records import BotPerformance, Contents, GameSnapshot, IdRuns

_BATCH_CELLS = 1_000_000
# As many values as a file of 10,000 small boards and two bots has; one of a million takes little more memory.
_MOST_KEPT = 290_000
_MOST_BYTES_KEPT = 8 << 20  # of the file: a value may be a long text
_Row = TypeVar("_Row", GameSnapshot, BotPerformance)


@dataclass(frozen=True, slots=True)
class Games:
    """The next games of a file."""

    rows: list[GameSnapshot]


@dataclass(frozen=True, slots=True)
class Results:
    """The next results under one key of a file."""

    key: str
    rows: list[BotPerformance]


class Parts:
    """Divides a file's rows into games and results, which follow one after the other."""

    def __init__(self, rows: Iterator[Games | Results]) -> None:
        self._rows = rows
        self._first_results: Results | None = None

    def games(self) -> Iterator[list[GameSnapshot]]:
        """All games; to be exhausted before `results`."""
        for part in self._rows:
            if isinstance(part, Results):
                self._first_results = part
                return
            if part.rows:
                yield part.rows

    def results(self) -> Iterator[tuple[str, list[BotPerformance]]]:
        """All results."""
        part: Games | Results | None = self._first_results
        while part is not None:
            assert isinstance(part, Results), "games come before all results"
            if part.rows:
                yield part.key, part.rows
            part = next(self._rows, None)


class _Repeats:
    """Drops rows whose id came before with the same values; refuses those with other values.

    Where only some of a file's rows have been asked for, it has to see all of those.
    """

    def __init__(self, ids: IdRuns) -> None:
        self._repeated = set(ids.repeats())
        self._first: dict[int, Any] = {}

    def drop(self, rows: list[_Row], where: str) -> list[_Row]:
        """The rows that are new."""
        if not self._repeated:
            return rows
        kept = []
        for row in rows:
            if row.game_id in self._repeated:
                first = self._first.setdefault(row.game_id, row)
                if first is not row:
                    _require_same(first, row, where)
                    continue
            kept.append(row)
        return kept


def _require_same(first: Any, row: Any, where: str) -> None:
    for name, one, other in zip(row._fields, first, row, strict=True):
        if one != other or (name == "metadata" and not attributes.same(one, other)):
            raise ValueRefusedError(
                f"{where}game {row.game_id} occurs twice with different values, "
                f"field {name}: {shown(one)} and {shown(other)}"
            )


class _Kept:
    """The parsed rows of a file while it is read for the first time: all, or none where they are many."""

    def __init__(self, stream: HashedStream) -> None:
        self.batches: list[RowBatch] | None = []
        self._stream = stream
        self._room = _MOST_KEPT

    def add(self, batch: RowBatch) -> None:
        """The next rows."""
        if self.batches is None:
            return
        self._room -= batch.count_values(self._room)
        if self._room < 0 or self._stream.size > _MOST_BYTES_KEPT:
            self.batches = None
        else:
            self.batches.append(batch)


class LegacyFile:
    """A benchmark pickle that has been read once. Make it with `LegacyFile.read`.

    `contents` is what it holds; `missing` are the games that it has results for without listing them;
    `notes` are findings that do not refuse it, complete after `rows` has been exhausted.
    """

    def __init__(
        self,
        source: Source,
        remember: bool,
        first: HashedStream,
        protocol: int,
        kept: list[RowBatch] | None,
    ) -> None:
        self.source = source
        self._kept = kept
        self.sha256 = first.sha256
        self.size = first.size
        self.protocol = protocol
        self._remember = remember
        self._structure: Structure
        self.contents: Contents
        self.missing: IdRuns
        self._seeds: SeedStream
        self._seed_assumed = False
        self._notes: list[str] = []
        self._findings = Notes()

    @classmethod
    def read(
        cls,
        source: Source,
        *,
        base_seed: int | Callable[[str], int | None] | None = None,
        copy: Copy | None = None,
        on_bytes: Callable[[int], object] | None = None,
    ) -> LegacyFile:
        """Reads `source` once. `base_seed`, a number or a function of the file's SHA-256, is used where the
        file itself is silent.

        Raises InputRefusedError (damaged, unsafe, not a benchmark, values that cannot be stored) or
        FileAccessError.
        """
        for remember in (False, True):
            if copy is not None:
                copy.restart()
            reader = StructureReader()
            try:
                with source.open() as raw:
                    stream = HashedStream(raw, tee(copy, on_bytes))
                    kept = _Kept(stream)
                    protocol, tree = _parse(stream, remember, reader.add, kept.add)
            except SharedReferenceError:
                continue
            structure = reader.finish(tree)
            file = cls(source, remember, stream, protocol, kept.batches)
            file._settle(structure, base_seed(file.sha256) if callable(base_seed) else base_seed)
            return file
        raise AssertionError("a parser that remembers everything raises no SharedReferenceError")

    def _settle(self, structure: Structure, base_seed: int | None) -> None:
        """Fills what the file is silent about, from its seeds."""
        self._structure = structure
        self._notes.extend(structure.notes)
        seed = structure.base_seed
        if seed is not None and base_seed not in (None, seed):
            self._notes.append(f"the file itself says base seed {seed}; {base_seed} as given is not used")
        elif seed is None and base_seed is None and structure.old_base_seed is not None:
            seed = self._old_seed(structure, structure.old_base_seed)
        elif seed is None:
            seed = settle_base_seed(base_seed, structure.sample, self.source.name, self._notes)
        num_games = structure.num_games
        if num_games is None:
            num_games = len(structure.games.distinct())
        self.contents = Contents(
            layout=structure.layout,
            config=structure.config,
            num_games=num_games,
            base_seed=seed,
            games=structure.games,
            results=tuple(structure.results),
            extra=structure.extra,
            config_extra=structure.config_extra,
        )
        self._seeds = SeedStream(seed)
        self.missing = missing_games(structure.games, (runs for _, runs in structure.results))
        self._note_oddities()

    def _old_seed(self, structure: Structure, old: int) -> int:
        """The base seed of a layout that should name it and does not: what the seeds prove, or else what
        the old loader takes."""
        self._seed_assumed = not structure.sample
        if structure.sample and not follows(old, structure.sample):
            found = find_base_seed(structure.sample, self.source.name)
            if found is not None:
                self._notes.append(f"base_seed is missing: {found}, from which the games' seeds follow")
                return found
        self._notes.append(f"base_seed is missing: {old}, as the old loader takes it")
        return old

    def _note_oddities(self) -> None:
        contents = self.contents
        listed = contents.games.distinct()
        if len(listed) != contents.num_games:
            self._notes.append(f"declares {contents.num_games} games and lists {len(listed)}")
        if len(listed.pairs()) > 1 or (len(listed) and listed.pairs()[0][0] != 0):
            self._notes.append("gaps in the games' ids")
        if listed != contents.games:
            self._notes.append("games not in order or listed twice; the order is kept")
        if contents.config_extra:
            self._notes.append(
                f"kept further attributes of the config ({listed_names(contents.config_extra)})"
            )
        for key, runs in contents.results:
            distinct = runs.distinct()
            if len(distinct) < len(listed):
                self._notes.append(f"{len(distinct)} results of {shown(key)} for {len(listed)} games")
            if distinct != runs:
                self._notes.append(f"results of {shown(key)} not in order or listed twice; the order is kept")
        if len(self.missing):
            proof = "" if len(listed) else ", and no listed game to prove the base seed by"
            self._notes.append(f"results for {len(self.missing)} games that are not listed{proof}")

    @property
    def notes(self) -> list[str]:
        """Findings that do not refuse the file."""
        return self._notes + self._findings.lines()

    @property
    def result_keys(self) -> list[str]:
        """The bots' keys in file order."""
        return [key for key, _ in self.contents.results]

    def rows(self, on_bytes: Callable[[int], object] | None = None) -> Iterator[Games | Results]:
        """All games, then all results, each id once, in file order, every value checked.

        Raises ValueRefusedError for a value that cannot be stored as it is, and DamagedPickleError when
        the file is read again and has changed since it was first read.
        """
        lists = self._structure.lists
        games_number = next((number for number, key in lists.items() if key is None), -1)
        self._findings = findings = Notes()
        if any(key is not None and number < games_number for number, key in lists.items()):
            yield from self._pass({None}, findings, on_bytes)
            yield from self._pass({key for key in lists.values() if key is not None}, findings)
        else:
            yield from self._pass(set(lists.values()), findings, on_bytes)

    def regenerated(self) -> Iterator[GameSnapshot]:
        """The boards of `missing`, drawn from the seeds after every listed game has been proven to
        follow from them. Raises LayoutError when they don't."""
        if not len(self.missing):
            return
        contents = self.contents
        parts = self._pass({None}, Notes())  # what there is to note is noted by `rows`
        listed = (game for part in parts if isinstance(part, Games) for game in part.rows)
        if self._seed_assumed:
            raise LayoutError(
                f"results for {len(self.missing)} games that are not listed, and neither a base seed nor a "
                "listed game tells on which boards they were played",
                hint="if you know the base seed, give it with --set-base-seed N",
            )
        check_reproducible(contents.config, self._seeds, listed, self.missing, self.size)
        yield from regenerate(contents.config, self._seeds, self.missing)

    def regenerated_batches(self) -> Iterator[list[GameSnapshot]]:
        """`regenerated` in lists that stay small, however large the boards are."""
        config = self.contents.config
        size = max(1, min(1000, _BATCH_CELLS // (config.num_rows * config.num_cols)))
        games = self.regenerated()
        while batch := list(islice(games, size)):
            yield batch

    def _pass(
        self, wanted: set[str | None], findings: Notes, on_bytes: Callable[[int], object] | None = None
    ) -> Iterator[Games | Results]:
        contents, lists = self.contents, self._structure.lists
        room = attributes.Room(self.size)
        games = GameRows(contents.config, dict(contents.config_extra), findings, room)
        results = {key: ResultRows(key, contents.config, findings, room) for key, _ in contents.results}
        repeats: dict[str | None, _Repeats] = {key: _Repeats(runs) for key, runs in contents.results}
        repeats[None] = _Repeats(contents.games)
        for batch in self._batches(on_bytes):
            key = lists.get(batch.list_number)
            if key not in wanted:
                continue
            if kind_of(batch.shape) == "games":
                snapshots = games.read(batch)
                _check_seeds(self._seeds, snapshots, findings)
                yield Games(repeats[None].drop(snapshots, ""))
            elif key is not None:
                yield Results(key, repeats[key].drop(results[key].read(batch), f"bot {shown(key)}, "))

    def _batches(self, on_bytes: Callable[[int], object] | None) -> Iterator[RowBatch]:
        if self._kept is not None:
            yield from self._kept_batches(self._kept, on_bytes)
            return
        with self.source.open() as raw:
            stream = HashedStream(raw, tee(None, on_bytes))
            parser = PickleParser(stream, CLASSES, remember=self._remember)
            try:
                for batch in parser.batches():
                    yield _identified(batch)
            except SharedReferenceError:
                raise _changed() from None
            if self._remember:
                yield from map(_identified, split_tree(parser.tree)[1])
            if stream.sha256 != self.sha256:
                raise _changed()

    def _kept_batches(
        self, kept: list[RowBatch], on_bytes: Callable[[int], object] | None
    ) -> Iterator[RowBatch]:
        """Reports as much, and when, as if the file were read again."""
        rows, done, reported = sum(len(batch.rows) for batch in kept), 0, 0
        for batch in kept:
            while on_bytes is not None and reported < self.size and reported <= self.size * done // rows:
                piece = min(WINDOW, self.size - reported)
                on_bytes(piece)
                reported += piece
            done += len(batch.rows)
            yield batch
        if on_bytes is not None and reported < self.size:
            on_bytes(self.size - reported)


def _changed() -> DamagedPickleError:
    return DamagedPickleError("the file changed while it was read")


def _identified(batch: RowBatch) -> RowBatch:
    """The batch, whose ids the first reading has found right: unless the file is another one by now."""
    if ids_of(batch)[1]:
        raise _changed()
    return batch


def _check_seeds(seeds: SeedStream, games: list[GameSnapshot], findings: Notes) -> None:
    found = [game.seed for game in games]
    follow = seeds.seeds([game.game_id for game in games])
    if found == follow:
        return
    for game, expected in zip(games, follow, strict=True):
        if game.seed is not None and expected is not None and game.seed != expected:
            findings.add("seed that does not follow from the base seed", f"game {game.game_id}: {game.seed}")


def _parse(stream: HashedStream, remember: bool, *takers: Callable[[RowBatch], None]) -> tuple[int, Any]:
    """Runs the parser to the end, giving every batch to all takers; returns protocol and tree. Raises
    InputRefusedError."""
    parser = PickleParser(stream, CLASSES, remember=remember)
    for batch in parser.batches():
        for take in takers:
            take(batch)
    tree = parser.tree
    if remember:
        tree, batches = split_tree(tree)
        for batch in batches:
            for take in takers:
                take(batch)
    return parser.protocol, tree
