"""`sgdb query`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from sgdb.cli.lazy import lazy_group
from sgdb.cli.options import (
    TERMINAL,
    FormatOption,
    PlotOption,
    SetOption,
    StartOption,
    StopOption,
    parse_config,
    plot_target,
)
from sgdb.cli.output import Format, Output, board_text, near
from sgdb.cli.performance import MEANS, PERFORMANCE_COLUMNS, in_short, performance_in_short
from sgdb.cli.session import session

query = typer.Typer(
    cls=lazy_group(
        {
            "bot-performance": "query:bot_performance",
            "sets": "query:sets",
            "runs": "query:runs",
            "games": "query:games",
            "results": "query:results",
            "mismatches": "query:mismatches",
            "compare": "standings:compare",
            "leaderboard": "standings:leaderboard",
            "history": "history:history",
            "learning-curve": "learning_curve:learning_curve",
            "sql": "sql:sql",
        }
    ),
    help="Look at what the database holds, in parts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_SHOWN = 100  # rows of a table, unless asked for more: a table has to be complete before it can be drawn
_FIELD_OF_COLUMN = MEANS | {"set": "benchmark_set_id", "seed": "base_seed"}


def bot_performance(
    context: typer.Context,
    bot: Annotated[str | None, typer.Option(help="Only this bot.", metavar="NAME")] = None,
    set_id: Annotated[
        int | None, typer.Option("--set", help="Only this benchmark set.", metavar="ID")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Only boards of this shape, such as 5x7x3.", metavar="RxCxK")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Only sets of this base seed.", metavar="N")] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            help="Sort by this field: numbers from the highest, texts alphabetically.", metavar="FIELD"
        ),
    ] = None,
    plot: PlotOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """How every bot did on every benchmark set.

    The completion rate is from 0 to 1. Tiles cleared (with the standard deviation of a sample), singles
    remaining and moves made are means over the bot's results in the set. --plot draws the number that is
    sorted by, else the completion rate.
    """
    from sgdb.operations import performance as operations

    current = session(context)
    target = plot_target(plot, format)
    sort = _FIELD_OF_COLUMN.get(sort, sort) if sort else None
    options = operations.BotPerformanceOptions(bot, set_id, parse_config(config), seed, sort)
    rows = operations.bot_performance(options, current.settings(), current.output.progress())
    if rows and target is not None:
        _draw_performance(rows, sort, target, current.output)
    if target == TERMINAL and rows:
        return
    if format is Format.TABLE:
        current.output.data(format, PERFORMANCE_COLUMNS, performance_in_short(rows), rows)
    else:
        current.output.data(format, operations.PERFORMANCE_FIELDS, rows, rows)
    if not rows:
        filtered = options != operations.BotPerformanceOptions(sort=sort)
        found = "no results of that kind" if filtered else "no results yet: sgdb migrate-pickles FOLDER"
        current.output.message(found)


_AXES = {
    "completion_rate": "part of the boards completed, from 0 to 1",
    "tiles_cleared_mean": "tiles cleared, mean of the boards",
    "tiles_cleared_stddev": "tiles cleared, standard deviation",
    "singles_remaining_mean": "singles remaining, mean of the boards",
    "moves_made_mean": "moves made, mean of the boards",
    "games": "boards played",
    "completed": "boards completed",
}
_PANELS = 12  # charts, one a set; more sets share one chart


def _draw_performance(rows: list[dict[str, Any]], sort: str | None, target: str, output: Output) -> None:
    from sgdb.cli.plots import Bar, Bars, show

    field = sort if sort in _AXES else "completion_rate"
    span = (0.0, 1.0) if field == "completion_rate" else None
    by_set: dict[str, list[dict[str, Any]]] = {}
    for row in map(in_short, rows):
        by_set.setdefault(f"set {row['set']}: {row['config']}, seed {row['seed']}", []).append(row)
    if len(by_set) <= _PANELS:
        groups = {title: [(row["bot"], row) for row in found] for title, found in by_set.items()}
    else:
        groups = {"all sets": [(f"{row['bot']}, set {row['set']}", row) for row in map(in_short, rows)]}
    charts = [
        Bars(title, _AXES[field], [Bar(name, row[field] or 0.0) for name, row in found], span)
        for title, found in groups.items()
    ]
    show(charts, target, output)


def sets(context: typer.Context, format: FormatOption = Format.TABLE) -> None:
    """The benchmark sets: num_games is the declared size, games the number of stored boards."""
    from sgdb.operations import query as operations

    current = session(context)
    rows = operations.sets(current.settings(), current.output.progress())
    if format is Format.TABLE:
        columns = ("set", "config", "seed", "num_games", "games", "bots", "results", "created_at")
        current.output.data(format, columns, [in_short(row) for row in rows], rows)
    else:
        current.output.data(format, operations.SET_FIELDS, rows, rows)
    if not rows:
        current.output.message("no benchmark sets yet: sgdb migrate-pickles FOLDER")


def runs(
    context: typer.Context,
    run: Annotated[
        int | None, typer.Argument(help="Number of a run: list its files.", metavar="RUN", show_default=False)
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """The runs that moved data, with their files by outcome; or one run's files, and what became of each.

    A run is at work, broken off (it was killed and could not say so), done, interrupted, failed, or
    rolled-back. Counted is what it brought, also where that has been taken back since. Only what a run wrote
    down is listed: a file that was known already and brought nothing new is not written down again.
    """
    from sgdb.operations import query as operations

    current = session(context)
    if run is not None:
        files = operations.run_files(run, current.settings(), current.output.progress())
        if format is Format.TABLE:
            columns: tuple[str, ...] = (
                *("file", "status", "set", "+games", "+results"),
                *_of_checkpoints(files),
                *("original", "error"),
            )
            current.output.data(format, columns, [_file_in_short(file) for file in files], files)
        else:
            current.output.data(format, operations.RUN_FILE_FIELDS, files, files)
        return
    rows = operations.runs(current.settings(), current.output.progress())
    if format is Format.TABLE:
        columns = (
            *("run", "kind", "status", "started_at", "files", "+games", "+results"),
            *_of_checkpoints(rows),
        )
        current.output.data(format, columns, [_run_in_short(row) for row in rows], rows)
    else:
        current.output.data(format, operations.RUN_FIELDS, rows, rows)
    if not rows:
        current.output.message("no runs yet: sgdb migrate-pickles FOLDER")


def _of_checkpoints(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """The column of checkpoints, where there are any."""
    return ("+checkpoints",) if any(row["checkpoints_inserted"] for row in rows) else ()


def _run_in_short(row: dict[str, Any]) -> dict[str, Any]:
    outcomes = ("migrated", "identical", "rejected", "rolled_back")
    files = ", ".join(f"{row[name]:,} {name.replace('_', '-')}" for name in outcomes if row[name])
    about = (row["options"] or {}).get("run")
    return row | {
        "run": row["id"],
        "kind": row["kind"] if about is None else f"{row['kind']} of run {about}",
        "files": files,
        "+games": row["games_inserted"] + row["games_regenerated"],
        "+results": row["results_inserted"],
        "+checkpoints": row["checkpoints_inserted"],
    }


def _file_in_short(file: dict[str, Any]) -> dict[str, Any]:
    return file | {
        "file": near(file["path"]),
        "set": file["benchmark_set_id"],
        "+games": file["games_inserted"] + file["games_regenerated"],
        "+results": file["results_inserted"],
        "+checkpoints": file["checkpoints_inserted"],
        "original": "stored" if file["archived"] else None,
    }


def games(
    context: typer.Context,
    set_id: SetOption,
    start: StartOption = None,
    stop: StopOption = None,
    show_boards: Annotated[bool, typer.Option("--show-boards", help="Draw the boards.")] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """The games of a set, or a part of them. A table shows the first 100 unless --stop is given."""
    from sgdb.operations import query as operations

    current = session(context)
    options = operations.PartOptions(set_id, start, stop)
    rows = operations.games(options, current.settings(), current.output.progress())
    if format is not Format.TABLE:
        current.output.stream(format, operations.GAME_FIELDS, rows)
        return
    shown = _some(rows, stop, current.output.message)
    if not show_boards:
        current.output.data(format, ("game_index", "seed", "metadata"), list(shown), None)
        return
    for row in shown:
        current.output.text(f"game {row['game_index']}, seed {row['seed']}")
        current.output.rich(board_text(row["board"]))


def results(
    context: typer.Context,
    set_id: SetOption,
    bot: Annotated[str, typer.Option(help="The bot's name.", metavar="NAME")],
    start: StartOption = None,
    stop: StopOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """One bot's results in a set, or a part of them. A table shows the first 100 unless --stop is given."""
    from sgdb.operations import query as operations

    current = session(context)
    options = operations.PartOptions(set_id, start, stop, bot)
    rows = operations.results(options, current.settings(), current.output.progress())
    if format is Format.TABLE:
        rows = _some(rows, stop, current.output.message)
        current.output.data(format, operations.RESULT_FIELDS, list(rows), None)
    else:
        current.output.stream(format, operations.RESULT_FIELDS, rows)


def mismatches(context: typer.Context, format: FormatOption = Format.TABLE) -> None:
    """Values that a pickle and the database have otherwise, as dual storages found them.

    A row that one side lacks is a difference of the field "row". `sgdb sync` gives each side what only the
    other has, compares anew, and keeps on record what still differs.
    """
    from sgdb.operations import query as operations

    current = session(context)
    rows = operations.mismatches(current.settings())
    if format is Format.TABLE:
        columns = ("file", "config", "seed", "game_id", "bot", "field", "pickle", "database", "found_at")
        shown = [{**in_short(row), "file": row["pickle_file"].rpartition("/")[2]} for row in rows]
        current.output.data(format, columns, shown, rows)
    else:
        current.output.data(format, operations.MISMATCH_FIELDS, rows, rows)
    if not rows:
        current.output.message("no differences are on record")


def _some(rows: Iterable[dict[str, Any]], stop: int | None, message: Any) -> Iterator[dict[str, Any]]:
    """All rows if the user has set the end, otherwise the first few, with a word about the others."""
    if stop is not None:
        yield from rows
        return
    iterator = iter(rows)
    yield from itertools.islice(iterator, _SHOWN)
    if next(iterator, None) is not None:
        message(f"the first {_SHOWN} are shown; --start and --stop show others, --format json or csv all")
