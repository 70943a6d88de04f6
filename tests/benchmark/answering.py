"""A process that answers, as tests ask for it: by echo, by failing, or not at all."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from sgdb.benchmark.crew import serve


def answer(question: Any) -> Any:
    match question:
        case "who":
            return os.getpid()
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave":
            os._exit(3)
        case "fail":
            raise ValueError("no idea")
        case "wait":
            time.sleep(600)
    return question


if __name__ == "__main__":
    serve(answer)
