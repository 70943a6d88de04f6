"""Where the embedded server puts its socket: a path that the operating system and libpq can take."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from pathlib import Path

from sgdb.database.postmaster import SOCKET_NAME
from sgdb.database.programs import OWN_SERVER
from sgdb.database.server_account import ServerAccount
from sgdb.errors import ServerError

_LONGEST_PATH = 107 if sys.platform == "linux" else 103  # bytes: sun_path without its final zero
# libpq splits lists of hosts at commas, PostgreSQL lists of socket folders, which it may also unquote.
_MISREAD = re.compile(r"[,\"\\]")


def choose_socket_folder(data_folder: Path, account: ServerAccount) -> Path:
    """The data folder itself, or where its path does not serve, a private folder for temporary files.

    The latter has the same name for the same data folder, and its owner and mode are checked, since
    anybody may create that name first. Clients find it through postmaster.pid, whatever their TMPDIR.
    """
    if _fits(data_folder) and not _MISREAD.search(str(data_folder)):
        return data_folder
    name = f"sgdb-{hashlib.sha256(os.fsencode(data_folder)).hexdigest()[:16]}"
    temporary = Path(tempfile.gettempdir())
    if not _fits(temporary / name) or _MISREAD.search(str(temporary)):
        temporary = Path("/tmp")  # noqa: S108 - what is made there is private, see above
    folder = temporary / name
    account.let_through(temporary)
    try:
        folder.mkdir(mode=0o700)
        account.own(folder)
    except FileExistsError:
        if not account.owns(folder):
            raise ServerError(
                f"{folder} is needed for the server's socket, but is not a private folder of its user",
                hint=f"remove it if it is yours, choose a shorter SGDB_HOME, {OWN_SERVER}",
            ) from None
    return folder


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / SOCKET_NAME.format(port=65535))) <= _LONGEST_PATH
