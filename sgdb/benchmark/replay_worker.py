"""A process that plays recorded games again: `python -m sgdb.benchmark.replay_worker`."""

from __future__ import annotations

from sgdb.benchmark.crew import serve
from sgdb.benchmark.judging import play_batch

if __name__ == "__main__":
    serve(play_batch)
