"""Recorded games played again: which results come out the same, which don't, and which nobody can play.

A result records neither the version of the bot nor the move limit that it was played under. Both are found
from the results:

*Move limit.* A game that ended by itself comes out the same under every limit that it did not reach. One that
was stopped is the same game up to its last move, and would have gone on. That its moves were a limit, and not
an accident, shows in the other results of the same bot and set: it is 100 or 500, as the benchmark system has
had them, or none of them has more moves.

*GreedySinglesBot.* A result that only the oldest kind gives, which counted empty cells in its look-ahead, is
one of that kind.

*RandomBot.* Older kinds drew from streams that are gone. Whether a set's results are of the kind whose draws
follow from the board is decided by all of them together: they are if more than half come out the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import Connection

from sgdb.benchmark.cores import available_cores
from sgdb.benchmark.crew import answers
from sgdb.benchmark.judging import KNOWN_LIMITS, Judgement, play_batch
from sgdb.database.engine import lift_timeouts
from sgdb.database.recorded import Part, Recorded, recorded_parts, recorded_results
from sgdb.database.sets import describe_bot
from sgdb.game.bots import BUILT_IN, RandomBot
from sgdb.game.play import MOVE_LIMIT, Outcome
from sgdb.progress import Progress

WORKER = "sgdb.benchmark.replay_worker"
# Of what is handed to a process at once.
_BATCH_ROWS = 500
_BATCH_TEXT = 1 << 16  # characters of boards

OLDER_RANDOM = "RandomBot of an older kind, whose draws are not recorded"
NO_BOARD = "the stored board is none"


@dataclass(frozen=True, slots=True)
class Example:
    """A result that did not come out the same."""

    set_id: int
    game_id: int
    recorded: Outcome
    played: Outcome

    def to_json(self) -> dict[str, Any]:
        """The example's entry in JSON."""
        return {
            "benchmark_set_id": self.set_id,
            "game_id": self.game_id,
            "recorded": self.recorded._asdict(),
            "replayed": self.played._asdict(),
        }


@dataclass(slots=True)
class BotReplay:
    """One bot's results, by the key that they are filed under. `left_out` were not in the sample.

    `not_replayable` counts by reason, `move_limits` those that come out the same under no limit but this one
    or a larger one, `kinds` those of another kind than today's bot.
    """

    bot: str
    results: int = 0
    left_out: int = 0
    equal: int = 0
    different: int = 0
    examples: list[Example] = field(default_factory=list)
    not_replayable: Counter[str] = field(default_factory=Counter)
    move_limits: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def replayed(self) -> int:
        """Results that were played again and judged."""
        return self.equal + self.different

    def to_json(self) -> dict[str, Any]:
        """The bot's entry in JSON."""
        return {
            "bot": self.bot,
            "results": self.results,
            "left_out": self.left_out,
            "replayed": self.replayed,
            "equal": self.equal,
            "different": self.different,
            "not_replayable": [
                {"reason": reason, "results": count} for reason, count in sorted(self.not_replayable.items())
            ],
            "move_limits": [
                {"move_limit": limit, "results": count} for limit, count in sorted(self.move_limits.items())
            ],
            "kinds": [{"kind": kind, "results": count} for kind, count in sorted(self.kinds.items())],
            "examples": [example.to_json() for example in self.examples],
        }


@dataclass(frozen=True, slots=True)
class Replay:
    """What has become of all recorded games; bots by name."""

    sample: int | None
    bots: list[BotReplay]

    @property
    def equal(self) -> int:
        """Results that came out the same."""
        return sum(bot.equal for bot in self.bots)

    @property
    def different(self) -> int:
        """Results that did not."""
        return sum(bot.different for bot in self.bots)

    @property
    def not_replayable(self) -> int:
        """Results that say nothing."""
        return sum(bot.not_replayable.total() for bot in self.bots)

    def to_json(self) -> dict[str, Any]:
        """The value of "replay" in the command's JSON."""
        return {
            "sample": self.sample,
            "replayed": self.equal + self.different,
            "equal": self.equal,
            "different": self.different,
            "not_replayable": self.not_replayable,
            "bots": [bot.to_json() for bot in self.bots],
        }


def replay(
    connection: Connection,
    progress: Progress,
    *,
    set_ids: Collection[int] | None = None,
    sample: int | None = None,
    jobs: int | None = None,
    most_examples: int | None = None,
) -> Replay:
    """Plays the recorded games of these sets, or of all, again, in `jobs` processes (default: one a core).

    Rows are streamed, so memory does not grow with the database. `sample` takes as many results of each bot
    and set; `most_examples` bounds what is kept of each bot. Raises EnvironmentFaultError when a process that
    plays is lost.
    """
    lift_timeouts(connection)
    bots: dict[str, BotReplay] = {}
    playable = 0
    parts = recorded_parts(connection, set_ids)
    for part, (results, _) in parts.items():
        bot = bots.setdefault(part.bot, BotReplay(part.bot))
        bot.results += results
        if part.name in BUILT_IN:
            taken = results if sample is None else min(results, sample)
            bot.left_out += results - taken
            playable += taken
        else:
            bot.not_replayable[_unknown(part)] += results
    rows = recorded_results(connection, list(BUILT_IN), set_ids, sample) if playable else iter(())
    with _bar(progress, playable):
        judged = _judged(rows, _processes(jobs, playable), progress.advance)
        for part, each in groupby(judged, key=lambda pair: pair[0].part):
            tally = _Tally(part, parts[part].most_moves, most_examples)
            for recorded, judgement in each:
                tally.add(recorded, judgement)
            tally.settle(bots[part.bot])
    return Replay(sample, sorted(bots.values(), key=lambda bot: bot.bot))


def _unknown(part: Part) -> str:
    what = "unknown bot"
    if part.name != part.bot:
        what += f" {part.name!a}, which is the name that the results bear"
    return what if describe_bot(part.name)[0] != "dqn" else f"{what} (a trained agent)"


def _processes(jobs: int | None, results: int) -> int:
    if jobs is None:
        jobs = available_cores()
    return max(1, min(jobs, -(-results // _BATCH_ROWS)))


@contextmanager
def _bar(progress: Progress, total: int) -> Iterator[None]:
    progress.start(total, "game")
    try:
        yield
    finally:
        progress.finish()


def _judged(
    rows: Iterable[Recorded], processes: int, advance: Callable[[int, str | None], None]
) -> Iterator[tuple[Recorded, Judgement]]:
    """Each row with its judgement, in order."""
    batches = _batches(rows)
    pairs: Iterable[tuple[list[Recorded], list[Any]]]
    if processes == 1:
        pairs = ((batch, play_batch(_request(batch))) for batch in batches)
    else:
        pairs = answers(WORKER, batches, _request, processes)
    for batch, found in pairs:
        advance(len(batch), batch[0].part.bot)
        for recorded, (fits, is_cut, kind, played) in zip(batch, found, strict=True):
            yield recorded, Judgement(fits, is_cut, kind, None if played is None else Outcome(*played))


def _batches(rows: Iterable[Recorded]) -> Iterator[list[Recorded]]:
    for _, each in groupby(rows, key=lambda row: row.part):
        batch: list[Recorded] = []
        size = 0
        for row in each:
            batch.append(row)
            size += len(row.board)
            if len(batch) == _BATCH_ROWS or size >= _BATCH_TEXT:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def _request(batch: list[Recorded]) -> Any:
    """What a process is asked."""
    return [batch[0].part.name, [row[2:] for row in batch]]


class _Tally:
    """One part's judgements, and what they say together."""

    def __init__(self, part: Part, most_moves: int, most_examples: int | None) -> None:
        """`most_moves` is the largest number of moves in the whole part, of which a sample may be judged."""
        self._part = part
        self._most = most_examples
        self._most_moves = most_moves
        self._unplayable = 0
        self._equal = 0
        self._limits: Counter[int] = Counter()
        self._kinds: Counter[str] = Counter()
        self._different: list[Example] = []
        self._more = 0  # different ones that are not kept as examples

    def add(self, row: Recorded, judgement: Judgement) -> None:
        """Takes one result into account."""
        recorded = Outcome(*row[3:])
        moves = recorded.moves_made
        if judgement.fits and not judgement.is_cut:
            self._fits(judgement.kind, next((limit for limit in KNOWN_LIMITS if moves <= limit), moves))
        elif judgement.fits and (moves in KNOWN_LIMITS or moves == self._most_moves):
            self._fits(judgement.kind, moves, is_cut=True)
        elif judgement.played is None:
            self._unplayable += 1
        else:
            self._differs(Example(row.part.set_id, row.game_id, recorded, judgement.played))

    def settle(self, bot: BotReplay) -> None:
        """Judges the part as a whole."""
        if self._unplayable:
            bot.not_replayable[NO_BOARD] += self._unplayable
        different = len(self._different) + self._more
        if self._part.name == RandomBot.name and self._equal <= different:
            if different:
                bot.not_replayable[OLDER_RANDOM] += self._equal + different
            return
        bot.equal += self._equal
        bot.different += different
        bot.move_limits += self._limits
        bot.kinds += self._kinds
        room = None if self._most is None else max(0, self._most - len(bot.examples))
        bot.examples += self._different[:room]

    def _fits(self, kind: str | None, limit: int, *, is_cut: bool = False) -> None:
        self._equal += 1
        if kind is not None:
            self._kinds[kind] += 1
        if is_cut or limit > MOVE_LIMIT:
            self._limits[limit] += 1

    def _differs(self, example: Example) -> None:
        if self._most is None or len(self._different) < self._most:
            self._different.append(example)
        else:
            self._more += 1
