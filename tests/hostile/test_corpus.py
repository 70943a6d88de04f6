"""Every hostile file through sgdb's own reader, in processes that the kernel watches over."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.bombs import BOMBS, WORK
from tests.hostile.calls import CALLS
from tests.hostile.checkpoints import CHECKPOINTS
from tests.hostile.corpus import CORPUS
from tests.hostile.judge import KINDS, failures
from tests.hostile.streams import STREAMS
from tests.hostile.values import VALUE_CASES


def test_the_corpus_is_what_it_claims() -> None:
    """No two files or names are the same, hundreds are to be refused, and every protocol has its share."""
    cases = [*CALLS, *STREAMS, *BOMBS, *WORK, *VALUE_CASES, *CHECKPOINTS]
    assert (
        len({case.name for case in cases}) == len({case.raw for case in cases}) == len(cases) == len(CORPUS)
    )
    refused = [case for case in cases if case.error is not None]
    assert len(refused) >= 300
    assert all(case.words and case.why for case in refused)
    for protocol in range(6):
        assert sum(case.protocol == protocol for case in refused) >= 7, protocol


def test_every_file_is_refused_for_its_reason(tmp_path: Path) -> None:
    """Nothing is executed, nothing takes more than two seconds or 256 MiB, no error but sgdb's comes out, and
    the reason is the right one; what is harmless is read, and a good file reads the same after each."""
    assert failures("sgdb", CORPUS.values(), tmp_path / "corpus") == {kind: [] for kind in KINDS}
