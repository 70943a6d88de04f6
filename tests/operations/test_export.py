"""Sets back into files: equal to what was migrated, whole or not at all, and the originals to the byte."""

from __future__ import annotations

import copy
import resource
from collections.abc import Callable
from itertools import count as counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine

from sgdb.errors import (
    AlreadyExistsError,
    ArchiveError,
    DiskFullError,
    IncompleteSetError,
    NotFoundError,
    UsageError,
)
from sgdb.operations.export import ExportOptions, ExportResult, export
from sgdb.records import ExportFormat
from sgdb.settings import Settings
from tests.legacy import CLASSES, MODULES, GameConfig, Record, benchmark, dump, plain, write_legacy
from tests.oddities import ODDITIES, benchmarks
from tests.steps import ask, database_state, migrate, tamper


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for pickles."""
    path = tmp_path / "pickles"
    path.mkdir()
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "out" / "deeper"


def _export(settings: Settings, to: Path, *set_ids: int, **options: Any) -> ExportResult:
    return export(ExportOptions(to, set_ids or None, **options), settings)


def _exact(value: Any) -> Any:
    """A value as something whose equality tells 1, 1.0, True and -0.0 apart, and lists from tuples."""
    if isinstance(value, Record):
        return type(value).__name__, {name: _exact(inner) for name, inner in vars(value).items()}
    if isinstance(value, dict):
        return {name: _exact(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [_exact(inner) for inner in value]
    return type(value).__name__, repr(value)


def _as_layout_c(data: dict[str, Any], base_seed: int = 42) -> dict[str, Any]:
    """What the file of any layout says, in the form of the newest."""
    data = {"results": {}, "num_games": 1000, "base_seed": base_seed, **data}
    if isinstance(data.get("config"), dict):
        data["config"] = GameConfig(**data["config"])
        data["games"] = [
            CLASSES[MODULES["C"], "GameSnapshot"](
                board=game["board_state"],
                config=data["config"],
                seed=game["seed"],
                game_id=game["game_index"],
            )
            for game in data["games"]
        ]
    if "config" not in data:
        data["config"] = data["games"][0].config
        data["num_games"] = len(data["games"])
    return data


def _assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _exact(found) == _exact(expected)
    assert list(found["results"]) == list(expected["results"])
    modules = {type(row).__module__ for row in found["games"]}
    assert modules <= {MODULES["C"]}


@pytest.mark.parametrize("spoil", ODDITIES, ids=lambda spoil: spoil.__name__)
def test_a_pickle_comes_back_equal(
    settings: Settings, folder: Path, out: Path, spoil: Callable[[dict[str, Any]], Any]
) -> None:
    """Whatever is strange about it and accepted: keys, order, repeats, types and further attributes."""
    path = write_legacy(folder / "odd.pkl", bots=("LargestGroupBot", "RandomBot"), spoil=spoil)
    assert migrate(settings, path).exit_code == 0
    (file,) = _export(settings, out).files
    assert file.path == out / "benchmark_5_5_3_42.pkl"
    _assert_same(plain(file.path), _as_layout_c(plain(path)))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", ["A", "B", "C", "D"])
def test_every_layout_and_protocol_comes_back_as_the_newest(
    settings: Settings, folder: Path, out: Path, layout: str, protocol: int
) -> None:
    """What the old files are silent about is spelled out, the rest is equal."""
    path = write_legacy(
        folder / "old", layout=layout, config=(3, 6, 4), num_games=7, base_seed=-9, protocol=protocol
    )
    migrate(settings, path, set_base_seed=-9)
    (file,) = _export(settings, out, 1).files
    assert file.path.name == "benchmark_3_6_4_-9.pkl"
    _assert_same(plain(file.path), _as_layout_c(plain(path), base_seed=-9))


def test_generated_boards_stay_out_of_the_games(settings: Settings, folder: Path, out: Path) -> None:
    """A file with results for games it does not list comes back so; listed later, they are listed."""
    path = write_legacy(folder / "reopened.pkl", num_games=3, num_results=12)
    migrate(settings, path)
    (file,) = _export(settings, out).files
    _assert_same(plain(file.path), plain(path))
    larger = write_legacy(folder / "larger.pkl", num_games=12)
    migrate(settings, larger)
    (file,) = _export(settings, out, overwrite=True).files
    _assert_same(plain(file.path), plain(larger))


def test_several_files_of_a_set_become_one(settings: Settings, folder: Path, out: Path) -> None:
    """The first file's order, then what the others add: games, bots, results and further entries."""
    first = benchmark(num_games=10, bots=("A", "B"))
    first["games"].reverse()
    second = benchmark(num_games=30, bots=("C", "A"))
    second["note"] = "second"
    write_legacy(folder / "1.pkl", spoil=lambda _: first)
    write_legacy(folder / "2.pkl", spoil=lambda _: second)
    migrate(settings, folder)
    (file,) = _export(settings, out).files
    found = plain(file.path)
    assert [game.game_id for game in found["games"]] == [*range(9, -1, -1), *range(10, 30)]
    assert (found["num_games"], found["note"]) == (30, "second")
    assert {key: len(rows) for key, rows in found["results"].items()} == {"A": 30, "B": 10, "C": 30}
    assert list(found["results"]) == ["A", "B", "C"]
    assert _exact(found["results"]["A"]) == _exact(second["results"]["A"])


def test_what_a_later_file_adds_keeps_its_order(settings: Settings, folder: Path, out: Path) -> None:
    """Also where it is not sorted and has repeats of its own."""
    second = benchmark(num_games=12)
    order = [11, 3, 10, 5, 9, 8, 10]
    second["games"] = [copy.deepcopy(second["games"][number]) for number in order]
    second["results"] = {}
    migrate(settings, write_legacy(folder / "1.pkl", num_games=6))
    migrate(settings, write_legacy(folder / "2.pkl", spoil=lambda _: second))
    (file,) = _export(settings, out).files
    assert [game.game_id for game in plain(file.path)["games"]] == [*range(6), 11, 10, 9, 8]


def test_rows_that_came_in_otherwise_are_exported_too(
    settings: Settings, engine: Engine, folder: Path, out: Path
) -> None:
    """A program may write results without a file; they follow after those of the files."""
    path = write_legacy(folder / "a.pkl", num_games=5)
    migrate(settings, path)
    tamper(engine, "INSERT INTO bots (name) VALUES ('Direct')")
    tamper(
        engine,
        "INSERT INTO game_results (game_id, bot_id, tiles_cleared, singles_remaining, moves_made, completed) "
        "SELECT id, 2, 1, 2, 3, false FROM games WHERE game_index IN (1, 4)",
    )
    (file,) = _export(settings, out).files
    found = plain(file.path)
    assert list(found["results"]) == ["LargestGroupBot", "Direct"]
    assert [(row.game_id, row.bot_name, row.moves_made) for row in found["results"]["Direct"]] == [
        (1, "Direct", 3), (4, "Direct", 3),
    ]  # fmt: skip


def test_export_reads_only_and_reports_what_it_wrote(
    settings: Settings, engine: Engine, folder: Path, out: Path
) -> None:
    """Every set gets its file; size and hash are those on disk; the database stays as it was."""
    for seed in (1, 2, 3):
        write_legacy(folder / f"{seed}.pkl", base_seed=seed)
    migrate(settings, folder)
    state = database_state(engine)
    result = _export(settings, out)
    assert [file.benchmark_set_id for file in result.files] == [1, 2, 3]
    assert [file.size_bytes for file in result.files] == [file.path.stat().st_size for file in result.files]
    some = _export(settings, out, 3, 1, 3, format=ExportFormat.ORIGINAL)
    assert [(file.benchmark_set_id, file.path.name) for file in some.files] == [(3, "3.pkl"), (1, "1.pkl")]
    sha256 = ask(engine, "SELECT sha256 FROM archives ORDER BY id")
    assert [(file.sha256,) for file in some.files] == [sha256[2], sha256[0]]
    assert database_state(engine) == state


# -- never half, never over another file ----------------------------------------------------------


@pytest.mark.parametrize("format", [ExportFormat.PICKLE, ExportFormat.ORIGINAL])
def test_a_file_that_is_there_is_not_replaced_unasked(
    settings: Settings, folder: Path, out: Path, format: ExportFormat
) -> None:
    """Nothing at all is written when one name is taken; with --overwrite it is replaced."""
    write_legacy(folder / "benchmark_5_5_3_1.pkl", base_seed=1)
    taken = write_legacy(folder / "benchmark_5_5_3_2.pkl", base_seed=2).name
    migrate(settings, folder)
    out.mkdir(parents=True)
    (out / taken).write_text("mine")
    with pytest.raises(AlreadyExistsError, match="nothing was written"):
        _export(settings, out, format=format)
    assert [path.read_text() for path in out.iterdir()] == ["mine"]
    assert len(_export(settings, out, format=format, overwrite=True).files) == 2
    assert plain(out / taken)["base_seed"] == 2


@pytest.mark.parametrize("format", [ExportFormat.PICKLE, ExportFormat.CSV])
def test_what_to_do_after_a_full_disk(
    settings: Settings, folder: Path, out: Path, format: ExportFormat
) -> None:
    """The files that were written are whole and stay, so the same command again needs --overwrite; what a
    killed export has left is gone then. The limit on a file's size is the system's."""
    migrate(settings, write_legacy(folder / "a", base_seed=1, num_games=2, num_results=2))
    migrate(settings, write_legacy(folder / "b", base_seed=2, num_games=300, num_results=300))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, limits[1]))
    try:
        with pytest.raises(DiskFullError) as caught:
            _export(settings, out, 1, 2, format=format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "run the command again with --overwrite" in str(caught.value.hint)
    written = {path for path in out.rglob("*") if path.is_file()}
    assert written
    leftover = min(written).with_name(f".{min(written).name}.0123abcd.part")
    leftover.write_bytes(b"")
    result = _export(settings, out, 1, 2, format=format, overwrite=True)
    assert {path for path in out.rglob("*") if path.is_file()} == {file.path for file in result.files}
    assert written < {file.path for file in result.files}


@pytest.mark.parametrize(
    "statement", ["DELETE FROM games WHERE game_index = 8", "DELETE FROM game_results WHERE id = 8"]
)
def test_a_set_that_lacks_a_row_leaves_no_file(
    settings: Settings, engine: Engine, folder: Path, out: Path, statement: str
) -> None:
    """An incomplete pickle is worse than none: neither it nor a temporary file stays."""
    migrate(settings, write_legacy(folder / "a.pkl"))
    tamper(engine, statement)
    with pytest.raises(IncompleteSetError, match="set 1 lacks") as caught:
        _export(settings, out)
    assert caught.value.exit_code == 4
    assert list(out.iterdir()) == []


def test_a_damaged_original_leaves_no_file(
    settings: Settings, engine: Engine, folder: Path, out: Path
) -> None:
    """Bytes that are not the migrated ones are never handed out."""
    migrate(settings, write_legacy(folder / "a.pkl"))
    tamper(engine, "UPDATE archive_chunks SET data = set_byte(data, 99, get_byte(data, 99) # 1)")
    with pytest.raises(ArchiveError):
        _export(settings, out, format=ExportFormat.ORIGINAL)
    assert list(out.iterdir()) == []


def test_two_sets_of_one_name_get_two_files(
    settings: Settings, engine: Engine, folder: Path, out: Path
) -> None:
    """Config and base seed may be the same where the declared sizes differ: neither replaces the other."""
    migrate(settings, write_legacy(folder / "a.pkl"))
    tamper(
        engine,
        "INSERT INTO benchmark_sets (name, config_id, num_games, base_seed) VALUES ('small', 1, 0, 42)",
    )
    result = _export(settings, out, overwrite=True)
    assert [file.path.name for file in result.files] == [
        "benchmark_5_5_3_42.pkl",
        "benchmark_5_5_3_42.set2.pkl",
    ]


# -- originals ------------------------------------------------------------------------------------


def test_originals_come_back_to_the_byte(settings: Settings, folder: Path, out: Path) -> None:
    """Under their own names; of two contents with one name the later gets a piece of its hash."""
    other = folder / "other"
    other.mkdir()
    paths = [
        write_legacy(folder / "a.pkl", base_seed=1),
        write_legacy(folder / "no extension", layout="A", base_seed=2),
        write_legacy(other / "a.pkl", base_seed=3, protocol=2),
    ]
    (folder / "copy of a.pkl").write_bytes(paths[0].read_bytes())
    result = migrate(settings, folder, recursive=True)
    assert result.totals["files"]["migrated"] == 3
    exported = _export(settings, out, format=ExportFormat.ORIGINAL)
    assert exported.exit_code == 0
    assert {file.path.read_bytes() for file in exported.files} == {path.read_bytes() for path in paths}
    later = next(report.sha256 for report in result.files if report.path == paths[2])
    assert later is not None
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["a.pkl", "no extension", f"{later[:8]}.a.pkl"]
    )


def test_originals_that_were_not_kept_are_named(settings: Settings, folder: Path, out: Path) -> None:
    """Without any original it is an error with the way out, without some the exit code says so."""
    bare = write_legacy(folder / "a.pkl", base_seed=1)
    migrate(settings, bare, archive=False)
    with pytest.raises(NotFoundError) as caught:
        _export(settings, out, format=ExportFormat.ORIGINAL)
    assert "--format pickle" in (caught.value.hint or "")
    migrate(settings, write_legacy(folder / "b.pkl", base_seed=2))
    result = _export(settings, out, format=ExportFormat.ORIGINAL)
    assert (result.exit_code, result.without_original) == (1, [str(bare)])
    migrate(settings, bare)
    assert _export(settings, out, format=ExportFormat.ORIGINAL, overwrite=True).exit_code == 0


def test_a_set_has_to_be_named_and_has_to_be_there(settings: Settings, folder: Path, out: Path) -> None:
    """An unknown set is an error with a hint before anything is written; no set at all is a usage error."""
    migrate(settings, write_legacy(folder / "a.pkl"))
    with pytest.raises(NotFoundError, match="no benchmark set 7"):
        _export(settings, out, 1, 7)
    with pytest.raises(UsageError):
        export(ExportOptions(out, ()), settings)
    assert not out.exists()


def test_an_empty_database_exports_nothing(settings: Settings, out: Path) -> None:
    """No file, no folder, no error."""
    assert (_export(settings, out).files, out.exists()) == ([], False)


# -- anything at all ------------------------------------------------------------------------------

_base_seeds = counter(1)


@given(data=benchmarks())
@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_benchmark_comes_back_equal(settings: Settings, tmp_path: Path, data: dict[str, Any]) -> None:
    """Migrated, migrated again as identical, and exported: the unpickler finds what was put in."""
    data["base_seed"] = next(_base_seeds)
    path = tmp_path / "any.pkl"
    path.write_bytes(dump(data))
    (report,) = migrate(settings, path).files
    assert report.status == "migrated", report.error
    assert report.benchmark_set_id is not None
    assert migrate(settings, path).run_id is None
    (file,) = _export(settings, tmp_path / "out", report.benchmark_set_id, overwrite=True).files
    _assert_same(plain(file.path), plain(path))


@pytest.mark.no_cover
def test_the_real_files_come_back(
    settings: Settings, shared_pickles: Path | None, folder: Path, out: Path
) -> None:
    """Where the real files are at hand: equal as pickles, to the byte as originals; else small ones."""
    source = shared_pickles or folder
    if shared_pickles is None:
        write_legacy(folder / "benchmark_5_5_3_42.pkl", num_games=3, num_results=1000)
    migrate(settings, source)
    for file in _export(settings, out / "originals", format=ExportFormat.ORIGINAL).files:
        assert file.path.read_bytes() == (source / file.path.name).read_bytes()
    for file in _export(settings, out).files:
        original = source / file.path.name
        if not original.exists():  # the one without extension
            original = source / file.path.name.removesuffix(".pkl")
        _assert_same(plain(file.path), _as_layout_c(plain(original)))


def test_a_bot_may_be_named_like_anything(settings: Settings, tmp_path: Path) -> None:
    """No name of a bot meets a name that the writer uses for itself."""
    names = ("config object", "config", "games", "GameSnapshot", "samegamerl.game.game_config", "num_rows")
    (tmp_path / "in").mkdir()
    path = write_legacy(tmp_path / "in" / "a", bots=names)
    migrate(settings, tmp_path / "in")
    export(ExportOptions(tmp_path / "out"), settings)
    (exported,) = (tmp_path / "out").iterdir()
    assert plain(exported) == plain(path)
