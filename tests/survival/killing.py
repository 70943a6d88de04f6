"""Striking a command, its server, or both, at moments spread over all of its work."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from enum import Enum
from random import Random
from typing import NamedTuple

import pytest
from sqlalchemy import URL, Engine

from sgdb.database.engine import make_engine
from tests.preloaded import Command
from tests.survival.child_server import TEMPLATE, ChildServer

# Rounds of each long test, in place of the number that stands there.
_ROUNDS = os.environ.get("SGDB_SURVIVAL_ROUNDS")
_PART = 25  # rounds in one test: few enough to be spread over processes
# What only Python or a library would print.
_NOISE = re.compile(r"Traceback|Exception|Error\b|psycopg2|sqlalchemy|\(most recent|^ {3,}")
_TRIES = 10  # for a round whose command was faster than the blow


class Blow(Enum):
    """What is struck."""

    COMMAND = "kill -9 of the command"
    SERVER = "kill -9 of the server"
    POSTMASTER = "kill -9 of the server's first process"
    STOP = "immediate stop of the server"
    PLUG = "kill -9 of both"

    def strike(self, command: Command, server: ChildServer) -> None:
        """Strikes; the server is down afterwards if it was meant."""
        if self in (Blow.COMMAND, Blow.PLUG):
            command.kill()
        if self in (Blow.SERVER, Blow.PLUG):
            server.kill()
        elif self is Blow.POSTMASTER:
            server.kill_postmaster()
        elif self is Blow.STOP:
            server.stop_immediate()

    def has_hit(self, ended: subprocess.CompletedProcess[str]) -> bool:
        """Whether the command felt it. Proves that one whose server was struck ends in good order: with a
        sentence on what became of it, and nothing that a library prints by itself."""
        if self in (Blow.COMMAND, Blow.PLUG):
            return ended.returncode == -signal.SIGKILL
        assert ended.returncode in (0, 1, 3), ended
        if ended.returncode != 3:
            return False
        assert "error: " in ended.stderr, ended
        assert not any(_NOISE.search(line) for line in ended.stderr.splitlines()), ended
        return True


class Round(NamedTuple):
    """One blow at one moment, as a share of the command's duration."""

    blow: Blow
    moment: float


# In an ordinary run: early, halfway and late.
FEW = [Round(blow, (number + 0.5) / 3) for number, blow in enumerate([Blow.COMMAND, Blow.SERVER, Blow.PLUG])]


def many(rounds: int, *, others: int | None = None) -> pytest.MarkDecorator:
    """Runs a test with `rounds` in parts: so many with a blow to the command, `others` with each other one.

    Moments are spread evenly, over all rounds of a blow as over those of a part. Where exactly they lie is
    drawn, the same on every run.
    """
    parts = []
    for blow in Blow:
        asked = rounds if blow is Blow.COMMAND or others is None else others
        total = int(_ROUNDS or asked)
        draw = Random(blow.value)
        every = [Round(blow, (number + draw.random()) / total) for number in range(total)]
        count = -(-total // _PART)
        parts += [
            pytest.param(every[number::count], id=f"{blow.name.lower()}-{number + 1}")
            for number in range(count)
        ]
    return pytest.mark.parametrize("rounds", parts)


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
                server.wait_until_alone()
                engine = make_engine(url)
                try:
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
