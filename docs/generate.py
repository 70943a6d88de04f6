"""Writes what the docs take from the program: reference pages, and the output of the examples.

In README.md and docs/*.md every `$ sgdb ...` line of a ```console block is run, block after block, in a
folder with the demo's pickles and a database of its own, and what it prints is put below it. With
`--check` nothing is written, and a difference exits with 1.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from typer.main import get_command

from sgdb import errors
from sgdb.cli.app import app
from sgdb.database.engine import make_engine, transaction
from sgdb.database.schema import upgrade
from sgdb.database.server import EmbeddedServer
from sgdb.database.views import VIEWS_SCHEMA, describe_views
from sgdb.operations.demo import write_demo_pickles
from sgdb.settings import separate_environment

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import report  # noqa: E402 - they stand beside this folder
from tests.preloaded import start  # noqa: E402 - commands are run as the tests run them

REFERENCE = ROOT / "docs" / "reference"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ABOUT_ROOT = re.compile(r"may now be (passed through|read) by ")
_GENERATED = "<!-- Written by docs/generate.py: change the program, then run `make docs`. -->\n\n"


class Sandbox:
    """A folder with the demo's pickles, where commands run as a user would type them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        write_demo_pickles(folder / "pickles")
        self._environment = {
            **separate_environment(folder / "home"),
            "COLUMNS": "110",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }

    def run(self, command: str) -> str:
        """What the command prints, with what differs from run to run made the same."""
        words = shlex.split(command)
        pipe = next((at for at, word in enumerate(words) if word in ("|", ">", "&&")), None)
        if pipe is not None:
            raise SystemExit(f"an example must be a single command: {command}")
        done = start(self._folder, words[1:], self._environment, is_one_stream=True).end()
        if done.returncode == 70:
            raise SystemExit(f"an example fails: {command}\n{done.stdout}")
        return self._timeless(done.stdout)

    def _timeless(self, text: str) -> str:
        text = text.replace(str(self._folder / "home"), "~/.local/share/sgdb").replace(str(self._folder), ".")
        text = re.sub(r"in \d+\.\d s\b", "in 0.2 s", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "2026-11-23T09:00:00+00:00", text)
        text = re.sub(r"sgdb-\d{8}T\d{6}Z(-\d+)?\.dump", "sgdb-20261123T090000Z.dump", text)
        text = re.sub(r"\b\d\d\.\d kB", "12.3 kB", text)
        text = re.sub(r'"seconds": [0-9.]+', '"seconds": 0.2', text)
        text = re.sub(r"\bpid \d+", "pid 4711", text)
        text = re.sub(r"PostgreSQL 18\.\d+", "PostgreSQL 18", text)
        lines = [line.rstrip() for line in text.splitlines()]
        # What root's first start has to change differs from machine to machine.
        return "".join(line + "\n" for line in lines if not _ABOUT_ROOT.search(line))


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """A sandbox that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sgdb-docs-") as name:
        folder = Path(name)
        (folder / "pickles").mkdir()
        try:
            yield Sandbox(folder)
        finally:
            EmbeddedServer(folder / "home").stop()


def with_output(page: str, run: Sandbox) -> str:
    """The page with every example's output as it is now."""

    def fill(block: re.Match[str]) -> str:
        lines: list[str] = []
        running = False
        for line in block[1].splitlines():
            if line.startswith("$ "):
                lines.append(line)
                running = line.startswith("$ sgdb ")
                if running:
                    lines.extend(run.run(line[2:]).splitlines())
            elif not running:
                lines.append(line)
        return "```console\n" + "\n".join(line.rstrip() for line in lines).strip() + "\n```"

    return _BLOCK.sub(fill, page)


def cli_page() -> str:
    """The reference of the command line, from the commands themselves."""
    parts = ["# Command line\n"]

    def walk(command: object, path: str) -> None:
        environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "TYPER_USE_RICH": "0"}
        done = start(ROOT, [*path.split()[1:], "--help"], environment).end()
        done.check_returncode()
        parts.append(f"## {path}\n\n```text\n{_plain(done.stdout)}\n```\n")
        for name, child in getattr(command, "commands", {}).items():
            walk(child, f"{path} {name}")

    walk(get_command(app), "sgdb")
    return parts[0] + "\n" + _GENERATED + "\n".join(parts[1:])


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def errors_page() -> str:
    """Every error with its exit code, from the classes."""
    rows = ["# Errors and exit codes\n", _GENERATED.rstrip() + "\n"]
    rows.append(
        "| exit code | meaning |\n| --- | --- |\n"
        "| 0 | done |\n"
        "| 1 | done, and the answer is no: `verify` found a difference, a file was rejected |\n"
        "| 2 | the call is wrong |\n"
        "| 3 | the environment is at fault: database, permissions, disk |\n"
        "| 4 | the input was refused, when it is the one thing asked for |\n"
        "| 5 | busy: another command holds the lock |\n"
        "| 70 | a bug in sgdb |\n"
        "| 130 | interrupted |\n"
    )
    rows.append("| error | exit code | when |\n| --- | --- | --- |")
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, errors.SgdbError):
            said = " ".join((inspect.getdoc(value) or "").split())
            rows.append(f"| `{name}` | {value.exit_code} | {said} |")
    return "\n".join(rows) + "\n"


def views_page() -> str:
    """The views and their columns, from the comments that a new database has."""
    with tempfile.TemporaryDirectory(prefix="sgdb-docs-") as name:
        server = EmbeddedServer(Path(name))
        engine = make_engine(server.ensure_running())
        try:
            upgrade(engine)
            with transaction(engine, read_only=True) as connection:
                views = describe_views(connection)
        finally:
            engine.dispose()
            server.stop()
    rows = ["# Views\n", _GENERATED.rstrip() + "\n"]
    rows.append(
        f"They stand in the schema `{VIEWS_SCHEMA}`. [analytics.md](../analytics.md) says how to ask them.\n"
    )
    for view in views:
        rows.append(f"## {view.name}\n\n{view.about}\n\n| column | type | meaning |\n| --- | --- | --- |")
        rows += [f"| `{one.name}` | {one.type} | {one.meaning} |" for one in view.columns]
        rows.append("")
    return "\n".join(rows).rstrip() + "\n"


def pages() -> dict[Path, str]:
    """Every page that depends on the program, as it should be."""
    found = {
        REFERENCE / "cli.md": cli_page(),
        REFERENCE / "errors.md": errors_page(),
        REFERENCE / "views.md": views_page(),
    }
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if "```console" in text:
            with sandbox() as run:
                found[path] = with_output(text, run)
    found[report.PAGE] = report.page(report.PAGE.read_text(encoding="utf-8"))
    return found


def main() -> int:
    """Writes the pages, or with --check tells which are stale."""
    check = "--check" in sys.argv[1:]
    stale = 0
    for path, text in pages().items():
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if before == text:
            continue
        stale += 1
        if check:
            name = str(path.relative_to(ROOT))
            sys.stdout.writelines(
                difflib.unified_diff(before.splitlines(True), text.splitlines(True), name, f"{name} (anew)")
            )
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stdout.write(f"\n{stale} pages are stale: run `make docs`\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
