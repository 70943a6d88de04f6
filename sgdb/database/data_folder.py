"""Making the embedded server's data folder: whole or not at all.

initdb works in a sibling folder that is renamed when complete. Killed at any moment it leaves a leftover
that the next start removes, and never a folder that could be taken for a data folder. Everything here
is called while holding the server's lock.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sgdb.database.programs import OWN_SERVER, program_failure, run_program
from sgdb.database.server_account import ServerAccount
from sgdb.errors import ServerError

MAJOR_VERSION = "18"
DATABASE = "sgdb"
SUPERUSER = "postgres"


def require_data_folder(folder: Path, account: ServerAccount, options: Mapping[str, str]) -> None:
    """Makes the data folder where there is none. ServerError where there is one for another program or user.

    `options` are server settings for a folder that is made now.
    """
    for leftover in folder.parent.glob(f"{folder.name}.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)  # an orphaned initdb may still be writing there
    if not folder.exists() or not any(folder.iterdir()):
        _initialise(folder, account, options)
        return
    version_file = folder / "PG_VERSION"
    if not version_file.exists():
        raise ServerError(
            f"{folder} is not empty and no PostgreSQL data folder (PG_VERSION is missing)",
            hint=f"move it away and run `sgdb init`, choose another SGDB_HOME, {OWN_SERVER}",
        )
    found = version_file.read_text("utf-8", "replace").strip()
    if found != MAJOR_VERSION:
        raise ServerError(
            f"{folder} was made by PostgreSQL {found}; this sgdb runs {MAJOR_VERSION}",
            hint="make a backup with the sgdb that made it, move the folder away, "
            "run `sgdb init` and restore the backup",
        )
    account.require_owner(folder)


def _initialise(folder: Path, account: ServerAccount, options: Mapping[str, str]) -> None:
    new = Path(tempfile.mkdtemp(prefix=f"{folder.name}.new-", dir=folder.parent))
    try:
        account.own(new)
        settings = {"listen_addresses": "", "unix_socket_permissions": "0700", **options}
        initdb = [
            *("initdb", "-U", SUPERUSER, "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            *("--data-checksums", "--no-instructions"),
            *(f"--set={name}={value}" for name, value in settings.items()),
            *(("--no-sync",) if settings.get("fsync") == "off" else ()),
        ]
        # The database comes into being with the folder, so no later start finds one without.
        create_database = ["postgres", "--single", SUPERUSER]
        for command, stdin in ((initdb, ""), (create_database, f"CREATE DATABASE {DATABASE};\n")):
            said = run_program(*command, data_folder=new, account=account, stdin=stdin)
            if said is not None:
                raise program_failure(
                    f"The embedded server's data folder {folder} cannot be made",
                    said,
                    hint=f"run `sgdb init` again, choose another SGDB_HOME, {OWN_SERVER}",
                )
        new.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Makes a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
