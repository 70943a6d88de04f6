"""PostgreSQL refuses to run as root, so when sgdb is root its server runs as a system user of its own.

That user must reach the data folder and the programs. Folders on the way get the right to be passed
through (o+x), never the right to be listed (o+r): the names in root's home stay private. Whatever is
changed on the machine is told in `notices`.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sgdb.errors import ServerError

SYSTEM_USER = "sgdb"
_HINT = "run sgdb as an ordinary user, or set SGDB_DATABASE_URL to use a server of your own"
_USER_LOCK = Path("/var/run/sgdb-user.lock")  # only root can write there
_CREATE_USER = (
    ("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER),
    ("adduser", "-S", "-D", "-H", "-s", "/sbin/nologin", SYSTEM_USER),  # busybox
)


class ServerAccount:
    """The user that owns and runs the server: the caller, or a system user when the caller is root.

    `notices` receives one sentence for each thing that is changed on the machine.
    """

    def __init__(self, notices: list[str]) -> None:
        self.notices = notices
        self._ids: tuple[int, int] | None = self._system_user() if os.geteuid() == 0 else None

    @property
    def process_options(self) -> dict[str, Any]:
        """Keyword arguments of `subprocess.run` for a process of this user."""
        if self._ids is None:
            return {}
        user, group = self._ids
        return {"user": user, "group": group, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Makes the account the owner of a file or folder that was just created."""
        if self._ids is not None:
            os.chown(path, *self._ids)

    def owns(self, path: Path) -> bool:
        """Whether `path` is a real folder (no link) that belongs to the account alone."""
        info = path.lstat()
        uid = self._ids[0] if self._ids else os.geteuid()
        return stat.S_ISDIR(info.st_mode) and info.st_uid == uid and not info.st_mode & 0o077

    def require_owner(self, data_folder: Path) -> None:
        """Raises ServerError where `data_folder` is another user's: PostgreSQL does not take that."""
        owner = data_folder.stat().st_uid
        if owner == (self._ids[0] if self._ids else os.geteuid()):
            return
        name = _user_name(owner)
        as_root = f" (as root, sgdb runs it as the system user {SYSTEM_USER})" if self._ids else ""
        hand_over = f", hand it over (chown -R {SYSTEM_USER}: {data_folder})" if self._ids else ""
        raise ServerError(
            f"{data_folder} belongs to user {name}, and PostgreSQL works for a folder's owner only{as_root}",
            hint=f"run the command as that user (sudo -u {name} sgdb ...){hand_over}, "
            "or choose another SGDB_HOME",
        )

    def let_through(self, folder: Path) -> None:
        """Lets the account pass through `folder` and all folders above it."""
        if self._ids is None:
            return
        for parent in (*reversed(folder.parents), folder):
            self._allow(parent, 0o001, f"may now be passed through by the system user {SYSTEM_USER}")

    def let_read(self, tree: Path) -> None:
        """Lets the account read and execute what lies in `tree`: public programs, no data."""
        if self._ids is None:
            return
        self.let_through(tree.parent)
        changed = len(self.notices)
        for path in _walk(tree):
            mode = path.stat().st_mode
            self._allow(path, 0o005 if mode & 0o100 else 0o004, "")
        if len(self.notices) > changed:
            self.notices[changed:] = [f"The PostgreSQL programs in {tree} may now be read by all users."]

    def _allow(self, path: Path, bits: int, means: str) -> None:
        info = path.stat()
        if info.st_mode & bits == bits or (self._ids and info.st_uid == self._ids[0]):
            return
        try:
            path.chmod(stat.S_IMODE(info.st_mode) | bits)
        except OSError as error:
            raise ServerError(
                f"The system user {SYSTEM_USER} cannot reach {path}, and its mode cannot be changed: "
                f"{error.strerror}",
                hint=f"choose another SGDB_HOME, {_HINT}",
            ) from error
        self.notices.append(f"{path} {means}.")

    def _system_user(self) -> tuple[int, int]:
        if (ids := _look_up()) is not None:
            return ids
        from filelock import FileLock  # slow to import, and needed once in a machine's life

        # Two useradd at the same moment both succeed, and one overwrites the other's user.
        with FileLock(_USER_LOCK, mode=0o600):
            if (ids := _look_up()) is not None:
                return ids
            for command in _CREATE_USER:
                if shutil.which(command[0]):
                    subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
                if (ids := _look_up()) is not None:
                    self.notices.append(f"The system user {SYSTEM_USER} was created to run PostgreSQL.")
                    return ids
        raise ServerError(
            f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} cannot be created",
            hint=f"create it by hand (useradd --system {SYSTEM_USER}), {_HINT}",
        )


def _user_name(uid: int) -> str:
    import pwd  # absent on Windows

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _look_up() -> tuple[int, int] | None:
    import pwd  # absent on Windows

    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _walk(tree: Path) -> Iterator[Path]:
    yield tree
    for path in tree.rglob("*"):
        if not path.is_symlink():
            yield path
