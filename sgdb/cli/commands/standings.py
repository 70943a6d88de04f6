"""`sgdb query compare` and `sgdb query leaderboard`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sgdb.cli.options import TERMINAL, FormatOption, PlotOption, parse_config, plot_target
from sgdb.cli.output import Format, Output, harmless
from sgdb.cli.session import session
from sgdb.records import GameConfig, RankBy, Resampling

if TYPE_CHECKING:
    from sgdb.operations.standings import CompareResult, LeaderboardResult, Standings

ConfidenceOption = Annotated[
    float, typer.Option(help="The part of the resamples that an interval covers.", metavar="P")
]
ResamplesOption = Annotated[int, typer.Option(help="How many times the boards are resampled.", metavar="N")]
SeedOption = Annotated[
    int, typer.Option(help="Seed of the resamples: the same one gives the same intervals.", metavar="N")
]

_DEFAULT = Resampling()
_SHOWN = 10  # bots named below a league; --format json names all


def compare(
    context: typer.Context,
    bot_a: Annotated[str, typer.Argument(help="The bot whose wins are counted.", metavar="BOT_A")],
    bot_b: Annotated[str, typer.Argument(help="The bot that it is compared with.", metavar="BOT_B")],
    set_id: Annotated[
        int | None, typer.Option("--set", help="Only boards of this benchmark set.", metavar="ID")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Only boards of this shape, such as 5x7x3.", metavar="RxCxK")
    ] = None,
    confidence: ConfidenceOption = _DEFAULT.confidence,
    resamples: ResamplesOption = _DEFAULT.resamples,
    seed: SeedOption = _DEFAULT.seed,
    plot: PlotOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Two bots on the boards that both have played.

    Boards won, tied and lost by BOT_A, its mean minus BOT_B's with a bootstrap interval, the p-value of a
    paired test, and the probability of improvement: the part of the boards on which BOT_A does better, ties
    counting half. More tiles cleared and boards completed are better, fewer singles remaining; of the moves
    made no number is. A board that stands in several sets counts once. --plot draws the probabilities of
    improvement. docs/comparing-bots.md says how to read it.
    """
    from sgdb.operations import standings as operations

    current = session(context)
    target = plot_target(plot, format)
    options = operations.CompareOptions(
        bot_a, bot_b, set_id, parse_config(config), Resampling(confidence, resamples, seed)
    )
    result = operations.compare(options, current.settings(), current.output.progress())
    if target is not None:
        _draw_comparison(result, target, current.output)
    if target == TERMINAL:
        _say_coverage(result, current.output)
        return
    if format is not Format.TABLE:
        current.output.data(format, operations.COMPARE_FIELDS, result.rows, result.to_json())
        _say_coverage(result, current.output)
        return
    for shape, rows in groupby(result.rows, key=_shape):
        shown = [_compared_in_short(row) for row in rows]
        where = f"boards of {shape}" if shape else "boards of all configs"
        current.output.text(harmless(f"A = {bot_a}, B = {bot_b}: {shown[0]['boards']:,} {where}"))
        current.output.data(format, _COMPARED, shown, None)
    _say_coverage(result, current.output)
    _say_intervals(options.resampling, current.output)


def _draw_comparison(result: CompareResult, target: str, output: Output) -> None:
    from sgdb.cli.plots import Bar, Bars, show

    options = result.options
    charts = [
        Bars(
            f"A = {options.bot_a}, B = {options.bot_b}: {_boards(judged[0]['boards'])} of"
            f" {shape or 'all configs'}",
            f"probability that A does better; 0.5: no difference"
            f" ({options.resampling.confidence * 100:g} % intervals)",
            [
                Bar(row["metric"], row["improvement"], row["improvement_low"], row["improvement_high"])
                for row in judged
            ],
            span=(0.0, 1.0),
            mark=0.5,
        )
        for shape, rows in groupby(result.rows, key=_shape)
        for judged in [[row for row in rows if row["improvement"] is not None]]
    ]
    show(charts, target, output)


_COMPARED = ("metric", "better", "wins", "ties", "losses", "A", "B", "A - B", "p", "improvement")


def _shape(row: Mapping[str, Any]) -> GameConfig | None:
    if row["num_rows"] is None:
        return None
    return GameConfig(row["num_rows"], row["num_cols"], row["num_colors"])


def _compared_in_short(row: dict[str, Any]) -> dict[str, Any]:
    improvement = _with_interval(row["improvement"], row["improvement_low"], row["improvement_high"])
    return row | {
        "A": row["mean_a"],
        "B": row["mean_b"],
        "A - B": _with_interval(row["mean_difference"], row["low"], row["high"]),
        "p": _p_in_short(row["p_value"]),
        "improvement": improvement,
    }


def _p_in_short(p_value: float) -> str:
    if p_value < 1e-300:  # about where floats end
        return "< 1e-300"
    return f"{p_value:.3f}" if p_value >= 0.001 else f"{p_value:.1e}"


def _with_interval(value: float | None, low: float | None, high: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _say_intervals(resampling: Resampling, output: Output) -> None:
    output.message(
        f"in brackets: {resampling.confidence * 100:g} % bootstrap intervals"
        f" ({resampling.resamples:,} resamples, seed {resampling.seed})"
    )


def _say_coverage(result: CompareResult, output: Output) -> None:
    for row in result.coverage:
        config = _shape(row)
        alone = row["boards"] - row["common"]
        if alone:
            output.message(f"left out: {_boards(alone)} of {config} that only {row['bot']} has played")
        if row["results"] > row["boards"]:
            output.message(
                f"{config}: {row['results']:,} results of {row['bot']} are on {_boards(row['boards'])}:"
                " a board that stands in several sets counts once"
            )
        if row["inconsistent"]:
            output.message(
                f"{config}: {row['bot']} has different results on copies of {_boards(row['inconsistent'])}:"
                " those stored first count"
            )
    if any(row["boards"] == 1 for row in result.rows):
        output.message("a single board tells nothing about others, so it has no intervals")


def _boards(number: int) -> str:
    return f"{number:,} board{'s' * (number != 1)}"


def leaderboard(
    context: typer.Context,
    config: Annotated[
        str | None, typer.Option(help="Only boards of this shape, such as 5x7x3.", metavar="RxCxK")
    ] = None,
    bot: Annotated[
        list[str] | None,
        typer.Option("--bot", help="Only this bot; give it again for others.", metavar="NAME"),
    ] = None,
    by: Annotated[RankBy, typer.Option(help="What to rank by.", case_sensitive=False)] = RankBy.COMPLETION,
    min_boards: Annotated[
        int, typer.Option(help="With fewer boards a bot has not played a shape.", metavar="N")
    ] = 30,
    confidence: ConfidenceOption = _DEFAULT.confidence,
    resamples: ResamplesOption = _DEFAULT.resamples,
    seed: SeedOption = _DEFAULT.seed,
    plot: PlotOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """The bots ranked over all sets, on the boards that all of them have played.

    Shown are the part of the boards that a bot completes, and the part of the tiles that it clears: the mean,
    and the mean of the middle half (interquartile mean), each with a stratified bootstrap interval. Every
    shape of board has the same weight. Bots that have not played the same boards are ranked in leagues of
    their own, and who lacks what is said. --plot draws what is ranked by, a chart a league.
    docs/comparing-bots.md says how to read it.
    """
    from sgdb.operations import standings as operations

    current = session(context)
    target = plot_target(plot, format)
    options = operations.LeaderboardOptions(
        parse_config(config), tuple(bot or ()), by, min_boards, Resampling(confidence, resamples, seed)
    )
    result = operations.leaderboard(options, current.settings(), current.output.progress())
    if target is not None:
        _draw_leagues(result, target, current.output)
    if target == TERMINAL:
        for league in result.leagues:
            _say_lacking(league, current.output)
    elif format is Format.TABLE:
        for league in result.leagues:
            _show_league(league, current.output)
        if result.leagues:
            _say_intervals(options.resampling, current.output)
    else:
        fields = ("league", "configs", "boards", *operations.STANDING_FIELDS)
        current.output.data(format, fields, _flat(result), result.to_json())
    lines = [
        f"in no league: {name} has played {operations.listed(boards)} (see --min-boards)"
        if boards
        else f"in no league: {name} has played no board of {config}"
        for name, boards in result.in_none.items()
    ]
    _say_some(lines, current.output)
    if not result.leagues and not lines:
        current.output.message(f"no results on boards of {config}" if config else "no results yet")


def _say_some(lines: list[str], output: Output) -> None:
    """The first few of the lines, and a word about the others."""
    for line in lines[:_SHOWN]:
        output.message(line)
    if len(lines) > _SHOWN:
        output.message(f"... and {len(lines) - _SHOWN} more bots; --format json names all")


def _show_league(league: Standings, output: Output) -> None:
    from sgdb.operations.standings import listed

    number = len(league.rows)
    who = {1: "only one bot has", 2: "both bots have"}.get(number, f"all {number} bots have")
    output.text(f"{listed(league.boards)} that {who} played")
    columns = ("rank", "bot", "boards played", "completed", "tiles", "tiles, middle half")
    rows = [
        {
            "rank": row["rank"],
            "bot": row["bot"],
            "boards played": row["boards_played"],
            "completed": _with_interval(
                row["completion_rate"], row["completion_low"], row["completion_high"]
            ),
            "tiles": _with_interval(row["tiles_share_mean"], row["tiles_share_low"], row["tiles_share_high"]),
            "tiles, middle half": _with_interval(
                row["tiles_share_iqm"], row["tiles_share_iqm_low"], row["tiles_share_iqm_high"]
            ),
        }
        for row in league.rows
    ]
    output.data(Format.TABLE, columns, rows, None)
    _say_lacking(league, output)


def _say_lacking(league: Standings, output: Output) -> None:
    from sgdb.operations.standings import listed

    _say_some(
        [f"not ranked here: {name} has not played {listed(lacks)}" for name, lacks in league.lacking.items()],
        output,
    )


def _draw_leagues(result: LeaderboardResult, target: str, output: Output) -> None:
    from sgdb.cli.plots import Bar, Bars, show
    from sgdb.operations.standings import listed

    value, what = {
        RankBy.COMPLETION: ("completion", "part of the boards completed"),
        RankBy.TILES: ("tiles_share_iqm", "part of the tiles cleared, mean of the middle half of the boards"),
    }[result.options.by]
    axis = f"{what}, from 0 to 1 ({result.options.resampling.confidence * 100:g} % intervals)"
    name = "completion_rate" if value == "completion" else value
    charts = [
        Bars(
            listed(league.boards),
            axis,
            [Bar(row["bot"], row[name], row[f"{value}_low"], row[f"{value}_high"]) for row in league.rows],
            span=(0.0, 1.0),
        )
        for league in result.leagues
    ]
    show(charts, target, output)


def _flat(result: LeaderboardResult) -> list[dict[str, Any]]:
    return [
        {
            "league": number,
            "configs": " ".join(map(str, league.boards)),
            "boards": league.number,
            **row,
        }
        for number, league in enumerate(result.leagues, start=1)
        for row in league.rows
    ]
