"""A pooler that hands sessions round after every transaction, as PgBouncer does in its transaction mode."""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

import psycopg2
from sqlalchemy import URL

_HELLO = {
    "server_version": "14.0",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
}


class Pooler:
    """Listens on a port of this machine. Has two sessions with the server of `target` and gives a transaction
    whichever is next; with `switches` set to False, the one that is next for all. Tells its clients
    `process_id` for that of their session."""

    def __init__(self, target: URL, process_id: int = 1) -> None:
        self._target = target
        self._process_id = process_id
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.switches = True
        self.sessions = [self._connect() for _ in range(2)]
        # The driver has logged in and is never used again, but for looking when all is done.
        self._wires = [socket.socket(fileno=os.dup(session.fileno())) for session in self.sessions]
        for wire in self._wires:
            wire.setblocking(True)
        self._turn = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The database's URL through the pooler."""
        host, port = self._listener.getsockname()
        url = self._target.set(host=host, port=port, query={"sslmode": "disable"})
        return url.render_as_string(hide_password=False)

    def switch(self) -> None:
        """The other session is the next."""
        self._wires.reverse()

    def close(self) -> None:
        """The end, for good."""
        self._listener.close()
        for wire in self._wires:
            wire.close()
        for session in self.sessions:
            session.close()

    def _connect(self) -> Any:
        query = {**self._target.query, "sslmode": "disable"}
        address = self._target.set(drivername="postgresql", query=query)
        session = psycopg2.connect(address.render_as_string(hide_password=False))
        session.autocommit = True
        return session

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, EOFError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            length, code = struct.unpack("!ii", _read(client, 8))
            assert code == 3 << 16, "only the protocol itself"
            _read(client, length - 8)
            hello = _message(b"R", struct.pack("!i", 0))
            for name, value in _HELLO.items():
                hello += _message(b"S", f"{name}\0{value}\0".encode())
            hello += _message(b"K", struct.pack("!ii", self._process_id, 0))
            client.sendall(hello + _message(b"Z", b"I"))
            while True:
                first = _next(client)
                if first[:1] == b"X":
                    return
                with self._turn:
                    self._transaction(client, self._wires[0], first)
                    if self.switches:
                        self.switch()

    def _transaction(self, client: socket.socket, server: socket.socket, message: bytes) -> None:
        server.sendall(message)
        while True:
            answer = _next(server)
            client.sendall(answer)
            if answer[:1] == b"G":  # rows are expected
                while message[:1] not in (b"c", b"f"):
                    message = _next(client)
                    server.sendall(message)
            elif answer[:1] == b"Z":
                if answer[5:] == b"I":
                    return
                message = _next(client)
                server.sendall(b"Q\0\0\0\rROLLBACK\0" if message[:1] == b"X" else message)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _next(wire: socket.socket) -> bytes:
    head = _read(wire, 5)
    return head + _read(wire, struct.unpack("!i", head[1:])[0] - 4)


def _read(wire: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = wire.recv(size - len(found))
        if not part:
            raise EOFError
        found += part
    return found
