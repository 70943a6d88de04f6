"""`sgdb` and `python -m sgdb`."""

from __future__ import annotations

import gc
import os
import sys


def _open_standard_streams() -> None:
    """Puts the null device where a standard stream was closed when the process began: or a file or socket of
    ours would get its number, and with it what others print."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def main() -> int:
    """Runs the command line; returns the exit code."""
    _open_standard_streams()
    gc.set_threshold(50_000, 20, 20)  # modules are loaded without searching them for cycles again and again
    if sys.argv[1:] == ["--version"]:  # answered without loading the command line
        from sgdb import __version__

        try:
            print(f"sgdb {__version__}", flush=True)  # noqa: T201 - there is no Output yet
        except OSError:
            return 3
        return 0
    try:
        from sgdb.cli.app import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line stands, or while it is closing
        return 130
    finally:
        gc.freeze()  # or the interpreter would search all that was loaded for cycles before it ends


if __name__ == "__main__":
    sys.exit(main())
