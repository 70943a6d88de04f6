"""`sgdb benchmark`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from sgdb.cli.options import FormatOption, parse_config
from sgdb.cli.output import Format, Output
from sgdb.cli.performance import PERFORMANCE_COLUMNS, performance_in_short
from sgdb.cli.session import session
from sgdb.records import GameConfig

if TYPE_CHECKING:
    from sgdb.operations.benchmark import BenchmarkResult

benchmark = typer.Typer(help="Have bots play benchmark sets.", no_args_is_help=True, rich_markup_mode=None)

SIZES = {"small": GameConfig(5, 5, 3), "medium": GameConfig(8, 8, 4), "large": GameConfig(15, 15, 6)}
_SHOWN = 10  # failures of a bot that are printed; --format json has all


class StorageKind(StrEnum):
    """Where results are kept."""

    DATABASE = "database"
    PICKLE = "pickle"
    DUAL = "dual"


@benchmark.callback()
def group() -> None:
    """Have bots play benchmark sets."""


@benchmark.command("run")
def run(
    context: typer.Context,
    config: Annotated[
        str,
        typer.Option(
            help="Board shape, such as 8x8x4 (three colours and the empty cell), or small (5x5x3), medium "
            "(8x8x4), large (15x15x6).",
            metavar="RxCxK",
        ),
    ],
    games: Annotated[int, typer.Option(help="How many games of the set.", metavar="N", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Base seed of the set.", metavar="N")] = 42,
    bot: Annotated[
        list[str] | None,
        typer.Option(
            help="A built-in bot, or a class of your own as package.module:Class; may be repeated. Default: "
            "all built-in bots.",
            metavar="BOT",
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Games played at once. Default: one for each core.", metavar="N", min=1)
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Play on the Ray cluster at this address: HOST:PORT, or auto (needs sgdb[ray]).",
            metavar="ADDRESS",
        ),
    ] = None,
    storage: Annotated[
        StorageKind | None, typer.Option(help="Where results are kept. [env: SGDB_STORAGE]")
    ] = None,
    record_moves: Annotated[
        bool, typer.Option("--record-moves", help="Keep every move, too (in the database).")
    ] = False,
    move_limit: Annotated[
        int, typer.Option(help="Moves after which a game is ended.", metavar="N", min=1)
    ] = 100,
    time_limit: Annotated[
        float,
        typer.Option(
            help="Seconds that a bot of yours may take for a game; 0 for no limit.", metavar="SECONDS", min=0
        ),
    ] = 60,
    format: FormatOption = Format.TABLE,
) -> None:
    """Have bots play the games that they have no result on yet.

    A set is a board shape and a base seed. Where there is one with these games, they are played; games that
    it lacks are drawn from the seed and added. Results are saved as they come: a run that was interrupted, by
    whatever, goes on where it was when it is run again. Any number of runs may be at work on one set.

    A bot that raises, hangs, dies or answers with no move costs its own games: they are listed, nothing is
    stored for them, and the exit code is 1.
    """
    from sgdb.operations import benchmark as operations

    current = session(context)
    chosen = SIZES.get(config.lower()) or parse_config(config)
    assert chosen is not None
    options = operations.BenchmarkOptions(
        config=chosen,
        num_games=games,
        base_seed=seed,
        bots=tuple(bot or ()),
        jobs=jobs,
        ray=ray,
        storage=storage.value if storage else None,
        record_moves=record_moves,
        move_limit=move_limit,
        time_limit=time_limit or None,
    )
    try:
        with current.output.undisturbed():
            result = operations.benchmark(options, current.settings(), current.output.progress())
    except KeyboardInterrupt:
        current.output.message("what was played is saved: the same command goes on from there")
        raise
    if format is Format.TABLE:
        current.output.data(format, PERFORMANCE_COLUMNS, performance_in_short(result.performance), None)
    else:
        from sgdb.operations.performance import PERFORMANCE_FIELDS

        current.output.data(format, PERFORMANCE_FIELDS, result.performance, result.to_json())
    _explain(result, current.output)
    raise typer.Exit(result.exit_code)


def _explain(result: BenchmarkResult, output: Output) -> None:
    for one in result.bots:
        said = [f"{one.played:,} games played", f"{one.there:,} there already"]
        if result.options.record_moves:
            said.insert(1, f"{one.recorded:,} recorded")
        if one.failures:
            said.append(f"{len(one.failures):,} failed")
        output.message(f"{one.bot}: {', '.join(said)}")
        for failure in one.failures[:_SHOWN]:
            output.message(f"  game {failure.game_id}: {failure.reason}")
        if len(one.failures) > _SHOWN:
            output.message(f"  and {len(one.failures) - _SHOWN:,} more: --format json lists all")
    output.message(
        f"{result.options.config}, seed {result.options.base_seed}: done in {result.seconds:.1f} s"
    )
