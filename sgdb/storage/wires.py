"""The sessions that a process has with the database, for when the server does not answer any more."""

from __future__ import annotations

import math
import os
import socket
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from sqlalchemy import URL, Engine, event

from sgdb.database.engine import make_engine, transaction
from sgdb.errors import EnvironmentFaultError


class Wires:
    """The open sessions of the engines that it watches."""

    def __init__(self) -> None:
        self._sessions: WeakSet[Any] = WeakSet()

    def watch(self, engine: Engine) -> None:
        """From now on, sessions that the engine opens are known here."""
        event.listen(engine, "connect", lambda session, _: self._sessions.add(session))

    def cut(self) -> None:
        """Makes calls that wait for a server without an answer fail at once, in whichever thread they are."""
        for session in list(self._sessions):
            with suppress(Exception), socket.socket(fileno=os.dup(session.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)


def answers(url: URL, seconds: float) -> bool:
    """Whether the server answers anybody, found out by a connection of its own within about `seconds`."""
    probe = make_engine(url, connect_timeout=max(1, math.floor(seconds)))
    try:
        with transaction(probe) as connection:
            connection.exec_driver_sql("SELECT 1")
    except EnvironmentFaultError:
        return False
    finally:
        probe.dispose()
    return True
