"""A program that answers, as tests ask for it: by echo, by failing, in a fork, or not at all."""

from __future__ import annotations

import os
import signal
import time
from typing import Any, BinaryIO

from sgdb.errors import DatabaseUnreachableError
from sgdb.timing.process import forked, serve


def answer(question: Any, file: BinaryIO | None) -> Any:
    if isinstance(question, dict) and "fork" in question:
        return forked(lambda: answer(question["fork"], file), about="is forked")
    match question:
        case "who":
            return os.getpid()
        case "file":
            assert file is not None
            file.seek(0)
            return file.read().decode()
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave":
            os._exit(3)
        case "away":
            raise DatabaseUnreachableError("no server", hint="start it")
        case "memory":
            raise MemoryError
        case "fail":
            raise ValueError("no idea")
        case "wait":
            time.sleep(600)
    return question


if __name__ == "__main__":
    serve(answer)
