"""A process that plays, seen from its parent: started, told, listened to, and killed when it hangs.

It is a session of its own, so that Ctrl-C on a terminal reaches the parent alone, and that a kill takes
along what the bot may have started. It ends by itself when the parent is gone. Only the parent's messages
are pickled; what the process answers is JSON of a known form.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from sgdb.benchmark.named_bots import BotSource
from sgdb.benchmark.reports import Failed, Played, Task, Terms, in_a_line
from sgdb.errors import BotError, EnvironmentFaultError, NotFoundError, SgdbError, UsageError
from sgdb.game.play import Outcome

# The program is told where modules are: it may be running from a place of which a new Python knows nothing.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from sgdb.benchmark.worker import main; main(int(sys.argv[2]))"
)
_LONGEST_ANSWER = 1 << 28  # bytes
_MAKING = 60.0  # seconds that making a bot may take at least: large libraries are loaded for it
_ENDING = 5.0  # seconds that a process has for ending by itself once it is deaf
_NONSENSE = "the process that played it said what no process of ours says: the bot has meddled with it"
_KINDS: dict[str, type[SgdbError]] = {kind.__name__: kind for kind in (NotFoundError, UsageError, BotError)}


class PlayerFailedError(Exception):
    """The process is gone, or cannot have the bot; says why, in words."""


class Player:
    """One process that plays, with one bot at a time. Raises EnvironmentFaultError when it cannot start."""

    def __init__(self, path: Sequence[str] = ()) -> None:
        """`path`: folders in which modules are looked for after all others."""
        places = [os.path.abspath(place) for place in dict.fromkeys([*sys.path, *path])]  # noqa: PTH100
        try:
            ours, theirs = Pipe()
            with ExitStack() as stack:
                stack.callback(ours.close)
                with theirs:
                    self._process = subprocess.Popen(
                        [sys.executable, "-P", "-c", _PROGRAM, json.dumps(places), str(theirs.fileno())],
                        stdin=subprocess.DEVNULL,
                        stdout=_their_output(),  # what a bot prints is no data of ours
                        pass_fds=[theirs.fileno()],
                        start_new_session=True,
                    )
                stack.pop_all()
        except OSError as error:
            raise EnvironmentFaultError(
                f"no further process can be started: {error.strerror or error}", hint="use fewer --jobs"
            ) from error
        self.connection: Connection = ours
        self.pending: deque[Task] = deque()
        """The games that it has been given and has not reported on; it is at the first of them."""
        self.since = 0.0
        """When it was heard of last, by the monotonic clock."""
        self._source: BotSource | None = None
        self.is_made = False
        self._given = 0
        self._given_at = 0.0
        self.speed: float | None = None
        """Games a second, as last seen."""

    def make(self, source: BotSource, time_limit: float | None) -> str:
        """Has it make a bot; returns the bot's name. Raises what `open_bot` raises, and BotError when that
        takes longer than `time_limit` seconds (60 at least) or ends the process."""
        self._ask_for(source)
        patience = self._patience(time_limit)
        if not self.connection.poll(patience):
            raise BotError(f"{source} has not been made within {patience:g} seconds")
        try:
            kind, *rest = self._heard()
        except PlayerFailedError as failure:
            raise BotError(f"{source} cannot be made: {failure}") from None
        if kind == "unmade":
            name, message, hint = rest
            raise _KINDS.get(name, BotError)(message, hint=hint)
        if kind != "made":
            raise BotError(f"{source} cannot be made: {_NONSENSE}")
        self.is_made = True
        return str(rest[0])

    def may_have(self, source: BotSource) -> bool:
        """Whether it has had no bot so far, one of ours, or this very one."""
        return self._source is None or self._source.is_built_in or source.is_same_as(self._source)

    def give(self, source: BotSource, games: Sequence[Task], terms: Terms, *, at_once: bool) -> None:
        """Has it play these games with this bot; it must have nothing else to do. With `at_once` it reports
        each game before it begins the next. Raises UsageError for a bot that cannot be sent."""
        assert not self.pending
        if not (self.is_made and source.is_same_as(self._source)):
            self._ask_for(source)
        self.pending.extend(games)
        self._given = len(games)
        self._tell("play", list(games), terms, at_once)
        self._given_at = self.since

    def reports(self) -> Iterator[Played | Failed]:
        """What it has said since, without waiting for more. Raises PlayerFailedError."""
        while self.pending and self.connection.poll():
            kind, *rest = self._heard()
            if kind == "made":
                self.is_made, self._given_at = True, self.since
                continue
            if kind == "unmade":
                raise PlayerFailedError(rest[1])
            for row in rest[0]:
                yield self._report(row)
            if kind == "done":
                if self.pending:
                    raise PlayerFailedError(_NONSENSE)
                self.speed = self._given / max(self.since - self._given_at, 1e-6)

    def time_left(self, time_limit: float | None) -> float | None:
        """How many seconds it will yet be given; below zero when it has been silent for too long, by what had
        been heard of it. None where there is no limit."""
        patience = time_limit if self.is_made else self._patience(time_limit)
        return None if patience is None else self.since + patience - time.monotonic()

    def _ask_for(self, source: BotSource) -> None:
        self._source, self.is_made, self.speed = source, False, None
        try:
            self._tell("make", source)
        except Exception as error:
            raise UsageError(
                f"{source} cannot be sent to another process: {in_a_line(error)}",
                hint="name it as package.module:Class, or play with InProcess()",
            ) from error

    @staticmethod
    def _patience(time_limit: float | None) -> float | None:
        return None if time_limit is None else max(time_limit, _MAKING)

    def _report(self, row: Sequence[Any]) -> Played | Failed:
        # Games come in the order in which they were given.
        if not self.pending or row[0] != self.pending[0].game_id:
            raise PlayerFailedError(_NONSENSE)
        game_id = self.pending.popleft().game_id
        if len(row) == 2:
            return Failed(game_id, row[1])
        _, outcome, moves = row
        return Played(
            game_id, Outcome(*outcome), None if moves is None else [(row, col) for row, col in moves]
        )

    # -- the process ------------------------------------------------------------------------------

    def kill(self) -> None:
        """Ends it, whatever it is doing, with all that the bot has started."""
        if self._process.returncode is None:  # until it has been waited for, its number is nobody else's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.connection.close()

    def _tell(self, *message: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # that it is gone is found out by listening
            self.connection.send(message)
        self.since = time.monotonic()

    def _heard(self) -> Any:
        try:
            message = self.connection.recv_bytes(_LONGEST_ANSWER)
        except (EOFError, OSError):
            raise self._death() from None
        self.since = time.monotonic()
        try:
            return _checked(json.loads(message))
        except (ValueError, RecursionError):
            raise PlayerFailedError(_NONSENSE) from None

    def _death(self) -> PlayerFailedError:
        # It has closed its socket, so it is in the middle of its end: how it ends is for it to say.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING)
        self.kill()
        code = self._process.returncode
        if code < 0:
            name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
            return PlayerFailedError(f"the process that played it was killed by {name}")
        return PlayerFailedError(f"the process that played it ended with exit code {code}")


def _checked(message: Any) -> list[Any]:
    """The message, if it is one of those that a worker sends: a bot's code could have sent another one.
    Raises ValueError."""
    match message:
        case ["made", str()] | ["unmade", str(), str(), str() | None]:
            return list(message)
        case ["games" | "done", [*rows]] if all(map(_is_report, rows)):
            return list(message)
    raise ValueError("no message of a worker")


def _is_report(row: Any) -> bool:
    match row:
        case [int(), str()]:
            return True
        case [int(), [*outcome, bool()], moves]:
            return (
                len(outcome) == 3
                and all(type(number) is int and number >= 0 for number in outcome)
                and (moves is None or (isinstance(moves, list) and all(map(_is_move, moves))))
            )
    return False


def _is_move(move: Any) -> bool:
    return isinstance(move, list) and [type(part) for part in move] == [int, int]


def _their_output() -> int:
    """Our standard error, if there is one."""
    try:
        os.fstat(2)
    except OSError:
        return subprocess.DEVNULL
    return 2
