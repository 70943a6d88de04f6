"""All hostile files, by name."""

from __future__ import annotations

from tests.hostile.bombs import BOMBS
from tests.hostile.calls import CALLS
from tests.hostile.cases import Case
from tests.hostile.streams import STREAMS
from tests.hostile.values import VALUE_CASES

# What a reader of bytes has to see for itself, and what the checks of values see whoever reads the bytes.
FOR_READERS: dict[str, Case] = {case.name: case for case in (*CALLS, *STREAMS, *BOMBS)}
CORPUS: dict[str, Case] = FOR_READERS | {case.name: case for case in VALUE_CASES}
