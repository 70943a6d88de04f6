"""`sgdb verify --timings`: what files take the old way, loaded whole, and the new way, from the database.

The old way means unpickling, and no foreign file is unpickled: what a file holds is read by the strict
parser, as always, and written anew by sgdb's own writer; that copy is what a process of its own loads. The
new way is measured in such processes, too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import Connection, Engine

from sgdb.atomic import file_error
from sgdb.database.access import ready_engine
from sgdb.database.coverage import listed, stored_games
from sgdb.database.engine import transaction
from sgdb.database.provenance import sources
from sgdb.database.sets import bots_with_results, find_set
from sgdb.errors import EnvironmentFaultError, InputRefusedError, NotFoundError, SgdbError
from sgdb.pickles.files import FileSource
from sgdb.pickles.legacy import LegacyFile
from sgdb.pickles.writer import rewrite
from sgdb.progress import Progress, Silent
from sgdb.settings import Settings
from sgdb.timing.process import program
from sgdb.timing.wanted import Reading, Wanted

PART = 10  # games that are wanted by themselves
LOAD_MS_PER_1000_GAMES = 100.0  # of a smaller set, too
PERFORMANCE_MS = 50.0
PART_MS = 10.0
PART_MB = 10.0
SAVED_PERCENT = 90.0
# Of a smaller pickle, the pages that a process takes at a time say more than what is in them.
_LEAST_MEMORY = 2.0  # MB
_STEPS = 3  # of a file: read, loaded as a pickle, read from the database


@dataclass(frozen=True, slots=True)
class TimingsOptions:
    """Files that `verify` has found equal to the database."""

    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure, old and new, in `unit`: "ms", "MB" (of a million bytes) or "%".

    `pickle` is None where there is no old figure, `target` where none is set. `database` has to lie under the
    target, or, with `at_least`, not below it. `is_clear` is False where the figures are too small to tell.
    """

    name: str
    unit: str
    pickle: float | None
    database: float
    target: float | None = None
    at_least: bool = False
    is_clear: bool = True

    @property
    def ratio(self) -> float | None:
        """Old by new: how many times less the database takes."""
        return self.pickle / self.database if self.pickle is not None and self.database > 0 else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or where it cannot be told."""
        if self.target is None or not self.is_clear:
            return None
        return self.database >= self.target if self.at_least else self.database < self.target

    def to_json(self) -> dict[str, Any]:
        """The figure's entry in the command's JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "pickle": _rounded(self.pickle),
            "database": _rounded(self.database),
            "ratio": _rounded(self.ratio),
            "target": self.target,
            "target_is": None if self.target is None else "at least" if self.at_least else "under",
            "met": self.met,
        }


@dataclass(slots=True)
class FileTimings:
    """What was measured with one file, or the refusal because of which it could not be."""

    path: str
    games: int = 0
    results: int = 0
    bot: str | None = None
    measures: list[Measure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refusal: SgdbError | None = None

    def to_json(self) -> dict[str, Any]:
        """The file's entry in the command's JSON."""
        return {
            "path": self.path,
            "games": self.games,
            "results": self.results,
            "bot": self.bot,
            "measures": [measure.to_json() for measure in self.measures],
            "error": None if self.refusal is None else self.refusal.message,
            "notes": self.notes,
        }


@dataclass(frozen=True, slots=True)
class TimingsResult:
    """All files that were to be timed."""

    files: list[FileTimings]

    @property
    def targets(self) -> int:
        """How many targets could be judged."""
        return sum(measure.met is not None for file in self.files for measure in file.measures)

    @property
    def met(self) -> int:
        """How many of them are met."""
        return sum(measure.met is True for file in self.files for measure in file.measures)

    @property
    def exit_code(self) -> int:
        """0, or that of the first file that could not be measured. A target that is missed is no failure: how
        fast a machine is at the moment does not make data wrong."""
        return next((file.refusal.exit_code for file in self.files if file.refusal is not None), 0)

    def to_json(self) -> list[dict[str, Any]]:
        """One entry a file."""
        return [file.to_json() for file in self.files]


def timings(options: TimingsOptions, settings: Settings, progress: Progress | None = None) -> TimingsResult:
    """Measures one file after the other. What cannot be measured does not stop the others.

    Of each file: the whole set loaded, one bot's performance (of the bot with the most results), ten games
    from the middle with their results, and the memory that loading takes. Times are medians of several
    readings; memory is how far the reading process rises above what it had before, the server's own not
    counted. Before its first reading a process has loaded its libraries and is connected.
    Raises EnvironmentFaultError when the database is away from the start, or no process can be started.
    """
    if not options.paths:
        return TimingsResult([])
    progress = progress or Silent()
    files = []
    with (
        ready_engine(settings, progress.notice) as engine,
        program("sgdb.timing.new_way", about="reads from the database") as ask,
    ):
        progress.start(_STEPS * len(options.paths), "step")
        try:
            for path in options.paths:
                timed = FileTimings(str(path))
                files.append(timed)
                try:
                    for _ in _time(engine, ask, settings, path, timed):
                        progress.advance(1, path.name)
                except (InputRefusedError, EnvironmentFaultError, NotFoundError) as error:
                    timed.refusal = error
        finally:
            progress.finish()
    return TimingsResult(files)


def _time(
    engine: Engine, ask: Callable[[Any], Any], settings: Settings, path: Path, timed: FileTimings
) -> Iterator[None]:
    """Fills `timed`, in `_STEPS` steps."""
    with transaction(engine, read_only=True) as connection:
        file = _read(connection, path)
        wanted = _wanted(connection, file)
    timed.games, timed.results = len(file.contents.games.distinct()), file.contents.result_count
    timed.bot = wanted.bot
    yield
    old = _old_way(file, wanted)
    yield
    new = _new_way(ask, settings, wanted)
    timed.measures = _measures(old, new)
    timed.notes = _notes(wanted, old, new)
    yield


# -- what is asked for ----------------------------------------------------------------------------------


def _read(connection: Connection, path: Path) -> LegacyFile:
    def recorded_seed(sha256: str) -> int | None:
        found = sources(connection, sha256=sha256)
        return found[-1].contents.base_seed if found else None

    return LegacyFile.read(FileSource(path), base_seed=recorded_seed)


def _wanted(connection: Connection, file: LegacyFile) -> Wanted:
    """Raises NotFoundError where the set has gone since it was verified."""
    contents = file.contents
    found = find_set(connection, contents.config, contents.base_seed)
    if found is None:
        raise NotFoundError(
            f"the set {contents.config} with base seed {contents.base_seed} is not in the database any more",
            hint="verify the file again",
        )
    set_id, _ = found
    rows = {key: len(runs) for key, runs in contents.results if len(runs)}
    everything, _ = listed([contents])
    ids = contents.games.distinct() if len(contents.games) else everything
    middle = max(0, (len(ids) - PART) // 2)
    part = list(islice(ids, middle, middle + PART))
    last = max((stop for _, stop in everything.pairs()), default=0)
    return Wanted(
        config=contents.config,
        base_seed=contents.base_seed,
        set_id=set_id,
        bots=list(rows),
        bot=max(rows, key=rows.__getitem__, default=None),
        last=last,
        start=part[0] if part else 0,
        stop=part[-1] + 1 if part else 0,
        is_whole_set=stored_games(connection, set_id) == everything
        and set(bots_with_results(connection, set_id)) <= rows.keys(),
    )


# -- the two ways ---------------------------------------------------------------------------------------


def _old_way(file: LegacyFile, wanted: Wanted) -> dict[str, Reading]:
    """The readings "whole", "bot" and "part", by a process that loads the file's copy."""
    try:
        # Without a name: nobody else can write into it, and nothing is left behind, whatever happens.
        with tempfile.TemporaryFile(prefix="sgdb-timings-") as copy:
            rewrite(copy, file)
            copy.flush()
            with program("sgdb.timing.old_way", about="loads the pickle whole", file=copy) as ask:
                answer = ask(asdict(wanted))
    except OSError as error:
        what = f"cannot write a copy of {file.source.name} to the folder for temporary files (see TMPDIR)"
        raise file_error(error, what) from error
    return {what: Reading(**reading) for what, reading in answer.items()}


def _new_way(ask: Callable[[Any], Any], settings: Settings, wanted: Wanted) -> dict[str, Reading]:
    """The readings "whole", "part" and, where there is a bot, "bot", by a process that asks the database."""
    answer = ask({"settings": settings.revealed(), "wanted": asdict(wanted)})
    return {what: Reading(**reading) for what, reading in answer.items()}


# -- what came out --------------------------------------------------------------------------------------


def _measures(old: dict[str, Reading], new: dict[str, Reading]) -> list[Measure]:
    load_target = LOAD_MS_PER_1000_GAMES * max(1.0, new["whole"].games / 1000)
    found = [
        Measure(name, "ms", _ms(old[what]), _ms(new[what]), target)
        for what, name, target in (
            ("whole", "whole_load", load_target),
            ("bot", "bot_performance", PERFORMANCE_MS),
            ("part", "ten_games", PART_MS),
        )
        if what in new
    ]
    before, whole, part = _mb(old["whole"]), _mb(new["whole"]), _mb(new["part"])
    if before is None or whole is None or part is None:
        return found
    saved = 100 * (1 - part / before) if before > 0 else 0.0
    return [
        *found,
        Measure("whole_load_memory", "MB", before, whole),
        Measure("ten_games_memory", "MB", before, part, PART_MB),
        Measure(
            "ten_games_memory_saved",
            "%",
            None,
            saved,
            SAVED_PERCENT,
            at_least=True,
            is_clear=before >= _LEAST_MEMORY,
        ),
    ]


def _notes(wanted: Wanted, old: dict[str, Reading], new: dict[str, Reading]) -> list[str]:
    """What makes the two ways less alike than they should be."""
    notes = []
    if not wanted.is_whole_set:
        notes.append("the database's set holds more than this file: the file's games and bots were read")
    names = {"whole": "whole load", "part": "ten games"}
    for what, reading in new.items():
        ours, theirs = (reading.games, reading.results), (old[what].games, old[what].results)
        if what in names and ours != theirs:
            notes.append(
                f"{names[what]}: the database gave {ours[0]} games and {ours[1]} results, "
                f"the pickle {theirs[0]} and {theirs[1]}"
            )
    return notes


def _ms(reading: Reading) -> float:
    return median(reading.seconds) * 1000


def _mb(reading: Reading) -> float | None:
    return None if reading.memory is None else reading.memory / 1e6


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
