"""All hostile files, by name."""

from __future__ import annotations

from tests.hostile.bombs import BOMBS, WORK
from tests.hostile.calls import CALLS
from tests.hostile.cases import Case
from tests.hostile.checkpoints import CHECKPOINTS
from tests.hostile.streams import STREAMS
from tests.hostile.values import VALUE_CASES

# What a reader of bytes has to see for itself; the rest is seen to by what follows, whoever reads the bytes.
FOR_READERS: dict[str, Case] = {case.name: case for case in (*CALLS, *STREAMS, *BOMBS)}
CORPUS: dict[str, Case] = FOR_READERS | {case.name: case for case in (*WORK, *VALUE_CASES, *CHECKPOINTS)}
