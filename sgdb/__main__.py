"""`sgdb` and `python -m sgdb`."""

from __future__ import annotations

import sys


def main() -> int:
    """Runs the command line; returns the exit code."""
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


if __name__ == "__main__":
    sys.exit(main())
