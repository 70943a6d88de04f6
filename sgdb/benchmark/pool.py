"""Games in processes of this machine: what a bot does there costs its own games, and nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, islice
from multiprocessing.connection import wait

from sgdb.benchmark.cores import available_cores
from sgdb.benchmark.named_bots import BotSource, open_bot
from sgdb.benchmark.player import Player, PlayerFailedError
from sgdb.benchmark.reports import Failed, Played, Report, Task, Terms
from sgdb.benchmark.strategy import Keeper, Strategy
from sgdb.errors import SgdbError, UsageError

TIME_LIMIT = 60.0
"""Seconds that a bot may take for a game, unless another limit is given."""
_LONGEST = 1e6  # seconds; operating systems do not wait for as long as one may write
_FIRST_BATCH = 4
_LARGEST_BATCH = 500
_BATCH_SECONDS = 0.25
_GIVE_UP = 10  # times in a row that a bot hangs, dies, or cannot be made, before it is left alone


class ProcessPool(Strategy):
    """Plays in `jobs` processes, by default one for each core that this process may use.

    A bot that hangs for `time_limit` seconds in one game (None: for ever), or ends its process, costs that
    game; the process is replaced. A bot that does so ten times in a row is left alone: each of its other
    games gets an entry that says so. The limit is not for the built-in bots, which end every game.
    """

    def __init__(
        self, jobs: int | None = None, *, time_limit: float | None = TIME_LIMIT, path: Sequence[str] = ()
    ) -> None:
        """`path`: folders in which modules of bots are looked for after all others. Raises UsageError."""
        if jobs is not None and jobs < 1:
            raise UsageError(f"{jobs} processes cannot play", hint="take 1 or more jobs")
        if time_limit is not None and not time_limit > 0:
            raise UsageError(f"a time limit of {time_limit:g} seconds leaves no time to play")
        self.jobs = jobs if jobs is not None else available_cores()
        self._time_limit = None if time_limit is None else min(time_limit, _LONGEST)
        self._path = path
        self._players: list[Player] = []

    def introduce(self, source: BotSource) -> str:
        """See `Strategy`. A bot's own code runs in a process of the pool."""
        if source.is_built_in:
            return open_bot(source).name
        player = self._idle(source) or self._start()
        try:
            return player.make(source, self._time_limit)
        except SgdbError:
            self._remove(player)
            raise

    def play(
        self,
        source: BotSource,
        games: Iterable[Task],
        terms: Terms,
        keeper: Keeper | None = None,  # noqa: ARG002 - the caller is on this machine
    ) -> Generator[Report, None, None]:
        """See `Strategy`."""
        round_ = _Round(self, source, terms, games)
        try:
            yield from round_.reports()
        finally:
            for player in [player for player in self._players if player.pending]:
                self._remove(player)

    def close(self) -> None:
        """Ends the processes."""
        for player in list(self._players):
            self._remove(player)

    def _idle(self, source: BotSource) -> Player | None:
        """A process that has nothing to do and may have this bot. One that has had another bot of a user's is
        ended: whatever that has left behind there, nobody else is to play with it."""
        for player in [player for player in self._players if not player.pending]:
            if player.may_have(source):
                return player
            self._remove(player)
        return None

    def _start(self) -> Player:
        player = Player(self._path)
        self._players.append(player)
        return player

    def _remove(self, player: Player) -> None:
        self._players.remove(player)
        player.kill()


class _Round:
    """One bot's games, on their way through the pool's processes."""

    def __init__(self, pool: ProcessPool, source: BotSource, terms: Terms, games: Iterable[Task]) -> None:
        self._pool = pool
        self._source, self._terms = source, terms
        self._again: deque[Task] = deque()
        self._games = chain(iter(games))
        self._limit = None if source.is_built_in else pool._time_limit
        self._in_a_row = 0
        self._last = ""

    def reports(self) -> Iterator[Played | Failed]:
        while True:
            yield from self._hand_out()
            busy = [player for player in self._pool._players if player.pending]
            if not busy:
                return
            self._wait(busy)
            for player in busy:
                yield from self._listen(player)

    def _hand_out(self) -> Iterator[Failed]:
        """Gives games to everybody who has none."""
        while self._in_a_row < _GIVE_UP:
            player = self._pool._idle(self._source)
            if player is None and len(self._pool._players) >= self._pool.jobs:
                return
            batch = self._take(_batch_size(player))
            if not batch:
                return
            player = player or self._pool._start()
            player.give(self._source, batch, self._terms, at_once=not self._source.is_built_in)
        for task in chain(self._take(len(self._again)), self._games):
            yield Failed(
                task.game_id,
                f"not played: the bot has failed {self._in_a_row} times in a row, at last: {self._last}",
            )

    def _take(self, count: int) -> list[Task]:
        again = [self._again.popleft() for _ in range(min(count, len(self._again)))]
        return again + list(islice(self._games, count - len(again)))

    def _wait(self, busy: list[Player]) -> None:
        """Until somebody has something to say, or has been silent for too long."""
        left = [seconds for player in busy if (seconds := player.time_left(self._limit)) is not None]
        wait([player.connection for player in busy], max(0.0, min(left)) if left else None)

    def _listen(self, player: Player) -> Iterator[Played | Failed]:
        try:
            for report in player.reports():
                self._in_a_row = 0
                yield report
        except PlayerFailedError as failure:
            yield from self._gone(player, str(failure))
            return
        # What was said meanwhile has been heard: this process has been at one thing all the time.
        left = player.time_left(self._limit)
        if player.pending and left is not None and left <= 0:
            what = "finished the game" if player.is_made else "been made"
            yield from self._gone(player, f"the bot had not {what} after {self._limit:g} seconds")

    def _gone(self, player: Player, reason: str) -> Iterator[Failed]:
        """The first of the player's games has failed; the others are played again."""
        left = list(player.pending)
        player.pending.clear()
        self._pool._remove(player)
        self._in_a_row += 1
        self._last = reason
        self._again.extend(left[1:])
        for task in left[:1]:  # none, when it was about something else
            yield Failed(task.game_id, reason)


def _batch_size(player: Player | None) -> int:
    speed = player.speed if player is not None else None
    return _FIRST_BATCH if speed is None else min(max(1, int(speed * _BATCH_SECONDS)), _LARGEST_BATCH)
