"""The process that plays: what runs on the other side of a `Player`.

It is told what to do by messages of its parent, and answers in JSON: a bot's code runs here, so nothing that
comes from here is ever unpickled. When the parent is gone it ends at once, whatever the bot is doing.
"""

from __future__ import annotations

import json
import os
import threading
import time
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, NoReturn

from sgdb.benchmark.in_process import play_game
from sgdb.benchmark.named_bots import BotSource, checked_name, open_bot
from sgdb.benchmark.reports import Failed, Played, Task, Terms, in_a_line
from sgdb.errors import BotError, NotFoundError, SgdbError, UsageError
from sgdb.game.bots import Bot

# Games of the built-in bots are so short that a message for each would take a good part of the time.
_FLUSH = 0.1  # seconds


def main(descriptor: int) -> NoReturn:
    """Serves the parent at the other end of this socket until it is gone."""
    # What the bot starts is not to hold this end open when this process has ended, or to speak for it.
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    os.register_at_fork(after_in_child=connection.close)
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    worker = _Worker(connection)
    while True:
        worker.do(inbox.get())


def _listen(connection: Connection, inbox: SimpleQueue[Any]) -> None:
    """Takes messages, so that the end of the parent is noticed while a bot is thinking."""
    while True:
        try:
            inbox.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)
        except BaseException as error:  # the message holds a bot whose classes are not to be had here
            inbox.put(error)


class _Worker:
    """Does as it is told, with one bot at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pid = os.getpid()
        self._bot: Bot | None = None
        self._flushed = 0.0

    def do(self, message: Any) -> None:
        if isinstance(message, BaseException):
            self._unmade(
                BotError(
                    f"the bot cannot be unpacked in another process: {in_a_line(message)}",
                    hint="define it in a module that can be imported, or play with InProcess()",
                )
            )
            return
        kind, *rest = message
        if kind == "make":
            self._make(*rest)
        else:
            self._play(*rest)

    def _make(self, source: BotSource) -> None:
        self._bot = None
        try:
            self._bot = open_bot(source)
            name = checked_name(self._bot, str(source))
        except SgdbError as error:
            self._unmade(error)
        else:
            self._say("made", name)

    def _unmade(self, error: SgdbError) -> None:
        kinds = (NotFoundError, UsageError, BotError)
        kind = next((kind for kind in kinds if isinstance(error, kind)), BotError)
        self._say("unmade", kind.__name__, error.message, error.hint)

    def _play(self, games: list[Task], terms: Terms, at_once: bool) -> None:
        """Plays these games; with `at_once` each is reported before the next one begins."""
        if self._bot is None:
            return  # the parent has been told
        waiting: list[Any] = []
        for number, task in enumerate(games, start=1):
            waiting.append(_in_json(play_game(self._bot, task, terms)))
            if number == len(games):
                self._say("done", waiting)
            elif at_once or time.monotonic() > self._flushed + _FLUSH:
                self._say("games", waiting)
                waiting = []

    def _say(self, *message: Any) -> None:
        if os.getpid() != self._pid:  # a copy that the bot has made of this process, and let go on
            os._exit(0)
        self._connection.send_bytes(json.dumps(message).encode())
        self._flushed = time.monotonic()


def _in_json(report: Played | Failed) -> list[Any]:
    if isinstance(report, Failed):
        return [report.game_id, report.reason]
    return [report.game_id, [*report.outcome], report.moves]
