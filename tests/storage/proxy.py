"""A wire to a real database server that can be cut, frozen and mended."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress

from sqlalchemy import URL


class Proxy:
    """Listens on a port of this machine and passes bytes on to the server of `target`, in both directions.

    `connections` counts those that were made to it, whatever became of them.
    """

    def __init__(self, target: URL) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._closed = False
        self._refusing = False
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The database's URL through the proxy."""
        host, port = self._listener.getsockname()
        url = self._target.set(host=host, port=port, query={})
        return url.render_as_string(hide_password=False)

    def freeze(self) -> None:
        """From now on nothing comes through, as when a machine hangs: connections stand and say nothing."""
        self._flowing.clear()

    def refuse(self) -> None:
        """All connections end, and so does every new one at once, as where no server runs."""
        self._refusing = True
        self.cut()

    def cut(self) -> None:
        """All connections end at once; new ones can be made."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def thaw(self) -> None:
        """What stood still ends, and everything works again."""
        self._refusing = False
        self.cut()
        self._flowing.set()

    def close(self) -> None:
        """The end, for good."""
        self._closed = True
        self._listener.close()
        self.thaw()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self._refusing:
                client.close()
                continue
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, self._connect() as server:
            pair = (client, server)
            self._pairs.append(pair)
            with suppress(OSError):
                while pair in self._pairs:
                    ready, _, _ = select.select(pair, (), (), 0.5)
                    self._flowing.wait()
                    for end in ready:
                        data = end.recv(1 << 16)
                        if not data:
                            return
                        (server if end is client else client).sendall(data)

    def _connect(self) -> socket.socket:
        folder = self._target.query.get("host")
        if isinstance(folder, str) and folder.startswith("/"):
            wire = socket.socket(socket.AF_UNIX)
            wire.connect(f"{folder}/.s.PGSQL.{self._target.query.get('port', 5432)}")
            return wire
        assert self._target.host
        return socket.create_connection((self._target.host, self._target.port or 5432))
