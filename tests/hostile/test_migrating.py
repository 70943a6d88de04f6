"""The hostile files through the real command, on a real database."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from sgdb.operations.export import ExportOptions, export
from sgdb.operations.verify import VerifyOptions, verify
from sgdb.pickles.attributes import from_json
from sgdb.settings import Settings
from tests.cli.conftest import Process
from tests.hostile.corpus import CORPUS
from tests.hostile.judge import write_cases
from tests.hostile.values import BOT, HARMLESS, TEXTS, VALUES
from tests.legacy import Record, dump, plain, write_legacy
from tests.steps import ask, count, migrate

# The large ones take longest and are no different here; `test_corpus` reads them all.
REFUSED = [case for case in CORPUS.values() if case.error is not None and len(case.raw) < 100_000]


def test_every_hostile_file_is_rejected(sgdb_process: Process, engine: Engine, tmp_path: Path) -> None:
    """Exit 1, each file with its reason, no traceback, no row, nothing executed."""
    folder = write_cases(REFUSED, tmp_path / "corpus")
    before = set(tmp_path.iterdir())  # where the command runs: whatever code makes, it makes it there
    done = sgdb_process("migrate-pickles", folder, "--format", "json")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.replace("\n", "").isprintable()
    document = json.loads(done.stdout)
    rejected = {Path(file["path"]).name: file for file in document["files"]}
    skipped = {Path(file["path"]).name: file["reason"] for file in document["skipped"]}
    assert rejected.keys() | skipped.keys() == {case.name for case in REFUSED}
    for name, file in rejected.items():
        assert (file["status"], CORPUS[name].words in file["error"]) == ("rejected", True), file
        assert file["error"].isprintable()
    # What does not even begin like a pickle is passed over in a folder, as a text beside the files is; asked
    # for by name it is rejected.
    assert len(skipped) < 15
    assert all(CORPUS[name].protocol not in range(2, 7) for name in skipped), skipped
    named = sgdb_process("migrate-pickles", *(folder / name for name in skipped), "--format", "json")
    files = json.loads(named.stdout)["files"]
    assert (named.returncode, len(files)) == (1, len(skipped))
    assert all(file["status"] == "rejected" and "not a pickle" in file["error"] for file in files)
    for table in ("benchmark_sets", "games", "bots", "game_results", "archives", "game_configs"):
        assert count(engine, table) == 0
    assert count(engine, "source_files") == len(rejected)
    assert set(tmp_path.iterdir()) == before


# -- paths that are no regular files ------------------------------------------------------------------


def test_paths_that_are_no_files(sgdb_process: Process, engine: Engine) -> None:
    """None is waited for or read without end; each has its reason, and the good file among them is taken."""
    os.mkfifo("pipe.pkl")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.pkl")  # relative, because a socket's path is short
    Path("device.pkl").symlink_to("/dev/zero")
    Path("sparse.pkl").touch()
    os.truncate("sparse.pkl", 1 << 40)
    Path("broken.pkl").symlink_to("nowhere")
    Path("loop.pkl").symlink_to("loop.pkl")
    Path("folder.pkl").mkdir()
    write_legacy(Path("good.pkl"))
    odd = {
        "pipe.pkl": "not a regular file", "socket.pkl": "not a regular file",
        "device.pkl": "not a regular file", "sparse.pkl": "not a pickle", "loop.pkl": "cannot open",
    }  # fmt: skip
    done = sgdb_process("migrate-pickles", ".", "--format", "json")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    document = json.loads(done.stdout)
    assert {file["path"]: file["status"] for file in document["files"]} == {
        "good.pkl": "migrated", "broken.pkl": "rejected", "loop.pkl": "rejected",
    }  # fmt: skip
    assert {file["path"]: file["reason"] for file in document["skipped"]} == {
        name: why for name, why in odd.items() if name != "loop.pkl"
    }
    assert "no such file" in document["files"][0]["error"]
    done = sgdb_process("migrate-pickles", *odd, "folder.pkl", "--format", "json")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    files = {file["path"]: file for file in json.loads(done.stdout)["files"]}
    assert files.keys() == odd.keys()
    assert all(
        files[name]["status"] == "rejected" and why in files[name]["error"] for name, why in odd.items()
    )
    assert count(engine, "benchmark_sets") == 1


# -- hostile values that have to be kept --------------------------------------------------------------


def exactly(value: Any) -> Any:
    """What tells types, signs and NaN apart, but not the order of an attribute's keys."""
    if isinstance(value, Record):
        return type(value).__name__, exactly(vars(value))
    if type(value) is dict:
        return sorted((key, exactly(item)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value).__name__, [exactly(item) for item in value]
    return repr(value)


@pytest.fixture
def harmless(settings: Settings, tmp_path: Path) -> Path:
    """The folder of sound files with hostile values, all of them migrated."""
    folder = tmp_path / "harmless"
    folder.mkdir()
    for name, data in HARMLESS.items():
        (folder / f"{name}.pkl").write_bytes(dump(data))
    result = migrate(settings, folder)
    assert [report.error for report in result.files] == [None] * len(HARMLESS)
    return folder


def test_hostile_values_are_stored_unchanged(harmless: Path, engine: Engine) -> None:
    """Read back on another connection: names to the character, numbers to the bit, values to the type."""
    names = {name for (name,) in ask(engine, "SELECT name FROM bots")}
    assert names == {*TEXTS, BOT, *map(str, range(len(TEXTS)))}
    of_set = "FROM benchmark_sets s JOIN games g ON g.benchmark_set_id = s.id"
    of_results = f"{of_set} JOIN game_results r ON r.game_id = g.id JOIN bots b ON b.id = r.bot_id"
    own_names = ask(
        engine, f"SELECT DISTINCT b.name, r.metadata->>'bot_name' {of_results} WHERE base_seed = 102"
    )
    assert dict(own_names) == {str(number): text for number, text in enumerate(TEXTS) if text != str(number)}
    for query in (
        f"SELECT g.metadata->'attributes' {of_set} WHERE base_seed = 103 AND game_index = 1",
        f"SELECT r.metadata->'attributes' {of_results} WHERE base_seed = 104 AND game_index = 1",
        "SELECT f.contents->'config_extra' FROM source_files f WHERE f.path LIKE '%/attributes-config.pkl'",
        "SELECT f.contents->'extra' FROM source_files f WHERE f.path LIKE '%/attributes-top.pkl'",
    ):
        ((stored,),) = ask(engine, query)
        assert exactly({name: from_json(value) for name, value in stored.items()}) == exactly(VALUES)
    seeds = ask(engine, f"SELECT game_index, seed {of_set} WHERE base_seed = 2^63 - 1 ORDER BY 1")
    assert seeds == [(0, 2**63 - 1), (1, -(2**63)), (2**31 - 1, None)]
    assert count(engine, "games") == 3 * len(HARMLESS)


def test_hostile_values_come_back_in_pickles(settings: Settings, harmless: Path, tmp_path: Path) -> None:
    """Exported files hold the same objects, and `verify` finds no difference."""
    assert verify(VerifyOptions((harmless,)), settings).equal
    export(ExportOptions(tmp_path / "out"), settings)
    exported = {data["base_seed"]: data for data in map(plain, (tmp_path / "out").iterdir())}
    for number, (name, data) in enumerate(HARMLESS.items(), 101):
        found = exported[data.get("base_seed", number)]
        if name == "layout-a":  # what it left to its games stands at the top by now
            found = {key: found[key] for key in data}
        assert exactly(found) == exactly(data), name


def test_hostile_values_do_not_reach_the_terminal(
    sgdb_process: Process, harmless: Path, engine: Engine
) -> None:
    """`query` shows them escaped: no control character, no mark of direction, no line of its own."""
    sets = dict(ask(engine, "SELECT base_seed, id FROM benchmark_sets"))
    of_bots = "FROM game_results r JOIN games g ON g.id = r.game_id"
    ((bots,),) = ask(engine, f"SELECT count(DISTINCT (bot_id, benchmark_set_id)) {of_bots}")
    for arguments in (
        ("query", "bot-performance", "--format", "table"),
        ("query", "games", "--set", sets[108], "--format", "markdown"),
    ):
        done = sgdb_process(*arguments)
        assert done.returncode == 0, done.stderr
        printed = (done.stdout + done.stderr).replace("\n", "")
        # The characters that Unicode gives no meaning move nothing.
        assert {char for char in printed if not char.isprintable()} <= set("\ufffe\uffff\U0010ffff")
        if arguments[-1] == "table":  # a line a bot, and two for the heading
            assert len(done.stdout.splitlines()) == bots + 2
