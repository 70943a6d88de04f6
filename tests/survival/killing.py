"""Striking a command, its server, or both, at moments spread over all of its work."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import cycle
from random import Random
from typing import NamedTuple

from sqlalchemy import URL, Engine

from sgdb.database.engine import make_engine
from tests.preloaded import Command
from tests.steps import ask, until
from tests.survival.child_server import TEMPLATE, ChildServer

# Rounds of each long test, in place of the number that stands there.
_ROUNDS = os.environ.get("SGDB_SURVIVAL_ROUNDS")
_CHUNK = 25  # rounds in one test of a long run: small enough to be spread over processes
_OURS = re.compile(
    r"error: |  next: |  because: |note: |skipped: |files: |games: |results: |next: |\d+ of \d+ "
)
_TRIES = 10  # for a round whose command was faster than the blow


class Blow(Enum):
    """What is struck."""

    COMMAND = "kill -9 of the command"
    SERVER = "kill -9 of the server"
    STOP = "immediate stop of the server"
    PLUG = "kill -9 of both"

    def strike(self, command: Command, server: ChildServer) -> None:
        """Strikes; the server is down afterwards if it was meant."""
        if self in (Blow.COMMAND, Blow.PLUG):
            command.kill()
        if self in (Blow.SERVER, Blow.PLUG):
            server.kill()
        elif self is Blow.STOP:
            server.stop_immediate()

    def has_hit(self, ended: subprocess.CompletedProcess[str]) -> bool:
        """Whether the command felt it. Proves that one whose server was struck ends in good order: with a
        sentence on what became of it, and nothing that a library prints by itself."""
        if self in (Blow.COMMAND, Blow.PLUG):
            return ended.returncode == -signal.SIGKILL
        assert ended.returncode in (0, 1, 3), ended
        assert all(_OURS.match(line) for line in ended.stderr.splitlines()), ended
        return ended.returncode == 3


class Round(NamedTuple):
    """One blow at one moment, as a share of the command's duration."""

    blow: Blow
    moment: float


# In an ordinary run: each blow early, late and once in between.
FEW = [Round(blow, (number + 0.5) / 8) for number, blow in zip(range(8), cycle(Blow), strict=False)]


def chunks(blow: Blow, rounds: int) -> list[list[Round]]:
    """So many rounds in lists for a test each. Together their moments are spread evenly, and so are those of
    each list; where exactly they lie is drawn, the same on every run."""
    rounds = int(_ROUNDS or rounds)
    draw = Random(blow.value)
    every = [Round(blow, (number + draw.random()) / rounds) for number in range(rounds)]
    count = -(-rounds // _CHUNK)
    return [every[number::count] for number in range(count)]


class Survivor(NamedTuple):
    """A database after a blow: the server runs, nobody is connected. `ended` is how the command ended."""

    url: URL
    engine: Engine
    ended: subprocess.CompletedProcess[str]


def survivors(
    server: ChildServer,
    rounds: list[Round],
    start: Callable[[URL], Command],
    *,
    template: str = TEMPLATE,
) -> Iterator[Survivor]:
    """For each round a database in which a command was struck in the middle of its work.

    `start` starts the command on a fresh copy of `template`, and makes its other surroundings fresh, too. It
    runs once undisturbed to learn how long it takes; where it turns out to be faster, the round is repeated.
    Proves on the way that the command itself ended as it should: killed, or with a sentence on what became
    of its server.
    """
    duration = _undisturbed(server, start, template)
    for blow, moment in rounds:
        for _ in range(_TRIES):
            with server.database(template) as url:
                command = start(url)
                if command.wait(moment * duration) is None:
                    blow.strike(command, server)
                ended = command.end()
                server.restart()
                if not blow.has_hit(ended):
                    duration *= 0.9
                    continue
                engine = make_engine(url)
                try:
                    _settle(engine)
                    yield Survivor(url, engine, ended)
                finally:
                    engine.dispose()
                break
        else:
            raise AssertionError("the command is always faster than the blow")


def _undisturbed(server: ChildServer, start: Callable[[URL], Command], template: str) -> float:
    """The seconds that the command takes when nothing happens to it."""
    with server.database(template) as url:
        command = start(url)
        command.wait(60)
        seconds = time.monotonic() - command.started
        ended = command.end()
        assert ended.returncode in (0, 1), ended
        return seconds


def _settle(engine: Engine) -> None:
    """Waits until the server has noticed the death of the command, whose last statement it may still be
    working on."""
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    until(lambda: not ask(engine, others))
