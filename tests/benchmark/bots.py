"""Bots of users, good and bad: for tests to name, and to copy into a folder as a module of its own.

Most take the first candidate, and misbehave on the boards that `chosen` picks, everywhere the same.
Only the standard library is imported at the head, and nothing of the tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path


def candidates(board):
    from sgdb.game.rules import candidates

    return candidates(board)


def chosen(board):
    """Whether this is one of the boards on which a bad bot misbehaves: a full board whose sum is odd."""
    return all(all(row) for row in board) and sum(map(sum, board)) % 2 == 1


class First:
    """Takes the first candidate: a good bot."""

    @property
    def name(self):
        return type(self).__name__

    def select_action(self, board):
        if chosen(board):
            self.misbehave(board)
        found = candidates(board)
        return found[0] if found else None

    def misbehave(self, board):
        pass


class Spoiler(First):
    """Changes the board that it is given, and prints: neither matters."""

    def select_action(self, board):
        action = super().select_action(board)
        for row in board:
            row.clear()
        sys.stdout.write("{")
        return action


class Raising(First):
    def misbehave(self, board):
        raise ValueError("odd\nsecond line")


class Leaving(First):
    def misbehave(self, board):
        sys.exit("enough")


class Nonsense(First):
    def select_action(self, board):
        return (len(board), 0) if chosen(board) else super().select_action(board)


class Dying(First):
    def misbehave(self, board):
        os._exit(3)


class Hanging(First):
    def misbehave(self, board):
        while True:
            pass


class Useless(First):
    """Hangs on every board, and has a child of its own, whose id it leaves in a file."""

    def select_action(self, board):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with Path(os.environ["USELESS_CHILDREN"]).open("a") as file:
            file.write(f"{child.pid}\n")
        time.sleep(600)


class Forking(First):
    """Leaves a copy of its process behind in each game, which answers later, and a child that lives on."""

    def select_action(self, board):
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.2)
            return None
        return super().select_action(board)


class Crashing(First):
    """Has a child that would hold open what it inherits, and ends by a crash."""

    def misbehave(self, board):
        os.system("setsid sleep 20 &")
        os.kill(os.getpid(), signal.SIGSEGV)


class Meddling(First):
    """Writes into whatever is open."""

    def misbehave(self, board):
        for descriptor in range(3, 40):
            with suppress(OSError):
                os.write(descriptor, b"\0\0\0\4junk")


class Lying(First):
    """Has its process say what it never says."""

    def misbehave(self, board):
        json.dumps = lambda _: '["done", [[0, [1, 2, -3, true], null]]]'


class DiesLater(First):
    """Ends its process when it has played."""

    def select_action(self, board):
        threading.Timer(0.02, os._exit, (0,)).start()
        return super().select_action(board)


class Slow(First):
    """Takes its time."""

    def misbehave(self, board):
        time.sleep(0.05)


class Slower(First):
    """Takes so long that a cluster notices meanwhile what it has lost."""

    def misbehave(self, board):
        time.sleep(0.3)


class Needy(First):
    def __init__(self, weights):
        self.weights = weights


class Broken(First):
    def __init__(self):
        raise RuntimeError("no weights")


class DiesWhenMade(First):
    def __init__(self):
        os._exit(5)


class Nameless:
    def select_action(self, board):
        return None


class Impostor(First):
    name = "RandomBot"


class Fickle(First):
    """Plays otherwise in every process: its first move depends on the process."""

    def select_action(self, board):
        found = candidates(board)
        return found[os.getpid() % len(found)] if found else None
