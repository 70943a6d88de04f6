"""`sgdb demo`: a folder of small legacy pickles, and the commands that take them through sgdb."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sgdb.atomic import atomic_file, make_folder
from sgdb.database.server import EmbeddedServer
from sgdb.errors import AlreadyExistsError
from sgdb.game.boards import board_json, draw_board, game_seeds
from sgdb.game.bots import BUILT_IN
from sgdb.game.play import play
from sgdb.pickles.writer import write_pickle
from sgdb.records import BotPerformance, Contents, GameConfig, GameSnapshot, IdRuns
from sgdb.settings import separate_environment

_BOTS = ("LargestGroupBot", "GreedySinglesBot")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`keep` is a folder that stays afterwards; without it a temporary one is used."""

    keep: Path | None = None


@dataclass(frozen=True, slots=True)
class Demo:
    """Where the demo lives, the environment for its commands, and the commands' arguments."""

    folder: Path
    environment: dict[str, str]
    commands: tuple[tuple[str, ...], ...]


@contextmanager
def demo(options: DemoOptions) -> Iterator[Demo]:
    """Makes the pickles; at the end stops the demo's own server and, unless kept, removes everything.

    The user's settings and data play no part: the commands get a home of their own. Raises
    FileAccessError or DiskFullError, and AlreadyExistsError for a folder to keep that is not empty.
    """
    if options.keep and options.keep.exists() and (not options.keep.is_dir() or any(options.keep.iterdir())):
        raise AlreadyExistsError(
            f"{options.keep} exists already and is not empty", hint="name a folder that does not exist yet"
        )
    folder = options.keep.absolute() if options.keep else Path(tempfile.mkdtemp(prefix="sgdb-demo-"))
    home = folder / "home"
    try:
        make_folder(folder / "pickles")
        write_demo_pickles(folder / "pickles")
        yield Demo(
            folder=folder,
            environment=separate_environment(home),
            commands=(
                ("init",),
                ("migrate-pickles", "pickles", "--dry-run"),
                ("migrate-pickles", "pickles"),
                ("verify", "pickles"),
                ("query", "bot-performance"),
                ("query", "games", "--set", "1", "--stop", "2", "--show-boards"),
            ),
        )
    finally:
        EmbeddedServer(home).stop()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def write_demo_pickles(folder: Path) -> None:
    """Four files as the old system left them behind: each layout with classes, and the known warts.

    The bots have really played, so that the results can be played again.
    """
    note = "Notes on the runs of last spring. Not a pickle.\n"
    with atomic_file(folder / "notes.txt", overwrite=True) as file:
        file.write(note.encode())
    small, wide = GameConfig(5, 5, 3), GameConfig(4, 6, 4)
    # The oldest layout records neither config nor base seed: both are found from the games.
    _write(folder / "benchmark_5_5_3_20", Contents("A", small, 20, 42, IdRuns([(0, 20)])))
    # The same set, enlarged later: its first 20 games are those of the file above.
    _write(folder / "benchmark_5_5_3_42.pkl", Contents("C", small, 50, 42, IdRuns([(0, 50)])))
    # Reopened with fewer games: results for boards that the file does not list.
    reopened = Contents("B", wide, 5, 7, IdRuns([(0, 5)]))
    _write(folder / "benchmark_6_4_4_7.pkl", reopened, results_for=30)
    # A key that differs from the name in its rows.
    renamed = Contents("C", wide, 30, 99, IdRuns([(0, 30)]))
    _write(folder / "benchmark_4_6_4_99.pkl", renamed, row_names={"GreedySinglesBot": "MyFirstBot"})


def _write(
    path: Path, contents: Contents, *, results_for: int | None = None, row_names: dict[str, str] | None = None
) -> None:
    count = max(contents.num_games, results_for or 0)
    seeds = list(islice(game_seeds(contents.base_seed), count))
    boards = [draw_board(contents.config, seed) for seed in seeds]
    games = [GameSnapshot(number, board_json(boards[number]), seeds[number]) for number in contents.games]
    results = []
    for name in _BOTS:
        bot, row_name = BUILT_IN[name](), (row_names or {}).get(name, name)
        rows = [BotPerformance(row_name, number, *play(board, bot)) for number, board in enumerate(boards)]
        results.append((name, rows))
    with atomic_file(path, overwrite=True) as file:
        write_pickle(file, contents, games, results)
