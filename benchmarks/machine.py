"""The machine that figures were found on, without its name and paths."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

import sgdb
from sgdb.benchmark.cores import available_cores
from sgdb.database.programs import version


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, systems and the date."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "postgresql": version(),
        "sgdb": sgdb.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "load": round(os.getloadavg()[0], 1),
    }


def in_words(machine: dict[str, Any]) -> str:
    """One line for people."""
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}; "
        f"Python {machine['python']}, PostgreSQL {machine['postgresql']}, sgdb {machine['sgdb']}; "
        f"{machine['date']}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()
