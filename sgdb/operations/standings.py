"""`sgdb query compare` and `sgdb query leaderboard`: how bots stand, on boards that they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sgdb.benchmark.leagues import Coverage, League, boards_of, common_boards, leagues
from sgdb.benchmark.statistics import Counted, Interval, paired, summary
from sgdb.database import outcomes
from sgdb.database.access import ready_engine
from sgdb.database.engine import transaction
from sgdb.database.outcomes import METRICS, Meeting, Played, Scores
from sgdb.database.sets import describe_set, unknown_bot
from sgdb.errors import NotFoundError, UsageError
from sgdb.progress import Progress, Silent
from sgdb.records import GameConfig, RankBy, Resampling
from sgdb.settings import Settings

COMPARE_FIELDS = (
    "num_rows", "num_cols", "num_colors", "boards", "metric", "better", "wins", "ties", "losses", "mean_a",
    "mean_b", "mean_difference", "low", "high", "p_value", "test", "improvement", "improvement_low",
    "improvement_high",
)  # fmt: skip
COVERAGE_FIELDS = (
    "bot", "num_rows", "num_cols", "num_colors", "boards", "common", "results", "inconsistent",
)  # fmt: skip
STANDING_FIELDS = (
    "rank", "bot", "boards_played", "completion_rate", "completion_low", "completion_high",
    "tiles_share_mean", "tiles_share_low", "tiles_share_high", "tiles_share_iqm", "tiles_share_iqm_low",
    "tiles_share_iqm_high",
)  # fmt: skip
# Which way is better; about the number of moves there is nothing to judge.
BETTER = {"tiles_cleared": "more", "completed": "more", "singles_remaining": "fewer", "moves_made": None}

MIN_RESAMPLES, MAX_RESAMPLES = 100, 1_000_000
MAX_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """The two bots, and the set or config whose boards count (all, where neither is given)."""

    bot_a: str
    bot_b: str
    set_id: int | None = None
    config: GameConfig | None = None
    resampling: Resampling = field(default_factory=Resampling)


@dataclass(frozen=True, slots=True)
class CompareResult:
    """`rows` have COMPARE_FIELDS, `coverage` COVERAGE_FIELDS."""

    options: CompareOptions
    rows: list[dict[str, Any]]
    coverage: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The document that scripts rely on."""
        options = self.options
        return {
            "bot_a": options.bot_a,
            "bot_b": options.bot_b,
            "set_id": options.set_id,
            **asdict(options.resampling),
            "coverage": self.coverage,
            "comparisons": self.rows,
        }


def compare(options: CompareOptions, settings: Settings, progress: Progress | None = None) -> CompareResult:
    """Two bots on the boards that both have played.

    One row a config and metric; where there are several configs, those of all boards come last, without a
    config. Wins, ties and losses are bot A's, and so is the probability of improvement; None for moves_made,
    of which no number is the better one. The mean difference is A's value minus B's. Boards that only one of
    them has played are counted in `coverage`, and left out. Nothing is written.

    Raises NotFoundError for a set or bot that does not exist and for bots without a common board, and
    UsageError.
    """
    _check(options.resampling)
    if options.set_id is not None and options.config is not None:
        raise UsageError("--set and --config are given, but a set has a config already", hint="leave one out")
    if options.bot_a == options.bot_b:
        raise UsageError(f"{options.bot_a!a} is named twice", hint="name two bots to compare")
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine, transaction(engine, read_only=True) as connection:
        if options.set_id is not None:
            describe_set(connection, options.set_id)
        known = outcomes.players(connection)
        first, second = (_known(name, known) for name in (options.bot_a, options.bot_b))
        meetings = outcomes.meetings(connection, first, second, set_id=options.set_id, config=options.config)
    met = {config: meeting for config, meeting in meetings.items() if meeting.common}
    if not met:
        raise _never_met(options, meetings)
    rows = [row for config, meeting in met.items() for row in _compared(config, [meeting], options)]
    if len(met) > 1:
        rows += _compared(None, list(met.values()), options)
    return CompareResult(options, rows, list(_coverage(options, meetings)))


def _check(resampling: Resampling) -> None:
    if not 0 < resampling.confidence < 1:
        raise UsageError(
            f"a confidence of {resampling.confidence} is none", hint="give one between 0 and 1, such as 0.95"
        )
    if not MIN_RESAMPLES <= resampling.resamples <= MAX_RESAMPLES:
        raise UsageError(
            f"{resampling.resamples} resamples are too few or too many",
            hint=f"give a number from {MIN_RESAMPLES} to {MAX_RESAMPLES}",
        )
    if not 0 <= resampling.seed <= MAX_SEED:
        raise UsageError(
            f"{resampling.seed} is no seed for the resamples", hint=f"give a number from 0 to {MAX_SEED}"
        )


def _known(name: str, known: Mapping[str, int]) -> int:
    if name not in known:
        raise unknown_bot(name, list(known))
    return known[name]


def _never_met(options: CompareOptions, meetings: Mapping[GameConfig, Meeting]) -> NotFoundError:
    where = ""
    if options.set_id is not None:
        where = f" in set {options.set_id}"
    elif options.config is not None:
        where = f" of {options.config}"
    has = [
        f"{name!a} has played "
        + (listed({config: getattr(meeting, side).boards for config, meeting in meetings.items()}) or "none")
        for name, side in ((options.bot_a, "first"), (options.bot_b, "second"))
    ]
    return NotFoundError(
        f"{options.bot_a!a} and {options.bot_b!a} have no board in common{where}: " + ", ".join(has),
        hint="see who has played what with `sgdb query bot-performance`",
    )


def listed(boards: Mapping[GameConfig, int]) -> str:
    """Such as "50 boards of 5x5x3, 7 boards of 4x6x4 and 1 board of 8x8x4"; empty where there are none."""
    parts = [
        f"{number:,} board{'s' * (number != 1)} of {config}" for config, number in boards.items() if number
    ]
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def _coverage(options: CompareOptions, meetings: Mapping[GameConfig, Meeting]) -> Iterable[dict[str, Any]]:
    for name, side in ((options.bot_a, "first"), (options.bot_b, "second")):
        for config, meeting in meetings.items():
            played: Played = getattr(meeting, side)
            counted = {"boards": played.boards, "common": meeting.common}
            counted |= {"results": played.results, "inconsistent": played.inconsistent}
            yield {"bot": name, **asdict(config), **counted}


def _compared(
    config: GameConfig | None, meetings: Sequence[Meeting], options: CompareOptions
) -> Iterable[dict[str, Any]]:
    shape = asdict(config) if config else dict.fromkeys(("num_rows", "num_cols", "num_colors"))
    boards = sum(meeting.common for meeting in meetings)
    for metric in METRICS:
        found = paired(
            [Counted.from_counts(meeting.differences[metric]) for meeting in meetings], options.resampling
        )
        wins, losses, improvement = found.higher, found.lower, found.probability_higher
        span = found.probability_interval
        if BETTER[metric] == "fewer":
            wins, losses, improvement = losses, wins, 1 - improvement
            span = span and Interval(1 - span.high, 1 - span.low)
        is_judged = BETTER[metric] is not None
        yield {
            **shape,
            "boards": boards,
            "metric": metric,
            "better": BETTER[metric],
            "wins": wins if is_judged else None,
            "ties": found.ties,
            "losses": losses if is_judged else None,
            "mean_a": sum(meeting.sums[metric][0] for meeting in meetings) / boards,
            "mean_b": sum(meeting.sums[metric][1] for meeting in meetings) / boards,
            "mean_difference": found.mean_difference,
            "low": found.interval and found.interval.low,
            "high": found.interval and found.interval.high,
            "p_value": found.p_value,
            "test": "exact" if found.is_exact else "normal",
            "improvement": improvement if is_judged else None,
            "improvement_low": span.low if span and is_judged else None,
            "improvement_high": span.high if span and is_judged else None,
        }


@dataclass(frozen=True, slots=True)
class LeaderboardOptions:
    """Only this config, only these bots (all, where none is named), and what to rank by.

    A bot that has played fewer than `min_boards` boards of a config has not played that config.
    """

    config: GameConfig | None = None
    bots: tuple[str, ...] = ()
    by: RankBy = RankBy.COMPLETION
    min_boards: int = 30
    resampling: Resampling = field(default_factory=Resampling)


@dataclass(frozen=True, slots=True)
class Standings:
    """One league: its boards by config, its bots in order of rank with STANDING_FIELDS, and by name of each
    bot that is not in it how many of its boards that one lacks, by config."""

    boards: Mapping[GameConfig, int]
    rows: list[dict[str, Any]]
    lacking: Mapping[str, Mapping[GameConfig, int]]

    @property
    def number(self) -> int:
        """All boards of the league."""
        return sum(self.boards.values())

    def to_json(self) -> dict[str, Any]:
        """Its part of the leaderboard's document."""
        return {
            "configs": _by_config(self.boards),
            "boards": self.number,
            "bots": self.rows,
            "not_ranked": [{"bot": bot, "lacks": _by_config(lacks)} for bot, lacks in self.lacking.items()],
        }


def _by_config(boards: Mapping[GameConfig, int]) -> list[dict[str, int]]:
    return [asdict(config) | {"boards": number} for config, number in boards.items()]


@dataclass(frozen=True, slots=True)
class LeaderboardResult:
    """The leagues, the widest first, and what those bots have played that are in none."""

    options: LeaderboardOptions
    leagues: list[Standings]
    in_none: Mapping[str, Mapping[GameConfig, int]]

    def to_json(self) -> dict[str, Any]:
        """The document that scripts rely on."""
        return {
            "by": str(self.options.by),
            "min_boards": self.options.min_boards,
            **asdict(self.options.resampling),
            "leagues": [league.to_json() for league in self.leagues],
            "in_no_league": [
                {"bot": bot, "played": _by_config(boards)} for bot, boards in self.in_none.items()
            ],
        }


def leaderboard(
    options: LeaderboardOptions, settings: Settings, progress: Progress | None = None
) -> LeaderboardResult:
    """The bots ranked, each league by itself: only on boards that all of its bots have played.

    `sgdb.benchmark.leagues` says which bots come together. Every config has the same weight in a league,
    however many boards it has. Bots that are equal in everything share a rank; who is alone has none. Nothing
    is written. Raises NotFoundError for a bot without results, and UsageError.
    """
    _check(options.resampling)
    if options.min_boards < 1:
        raise UsageError(f"--min-boards {options.min_boards} is too few", hint="give at least 1")
    notice = (progress or Silent()).notice
    with ready_engine(settings, notice) as engine, transaction(engine, read_only=True) as connection:
        known = outcomes.players(connection)
        ids = {name: _known(name, known) for name in options.bots} or known
        coverage = outcomes.coverage(connection, ids.values(), config=options.config)
        found = leagues(coverage, options.min_boards)
        standings = [
            _standings(
                league,
                outcomes.scores(connection, {bot: ids[bot] for bot in league.bots}, config=options.config),
                coverage,
                options,
            )
            for league in found
        ]
    ranked = {bot for league in found for bot in league.bots}
    in_none = {bot: boards_of(coverage, bot) for bot in sorted(ids) if bot not in ranked}
    # Who has played other shapes only is of no interest, unless asked for.
    in_none = {bot: boards for bot, boards in in_none.items() if boards or bot in options.bots}
    return LeaderboardResult(options, standings, in_none)


def _standings(
    league: League,
    scores: Mapping[GameConfig, Mapping[str, Scores]],
    coverage: Coverage,
    options: LeaderboardOptions,
) -> Standings:
    rows = []
    for bot in league.bots:
        played = boards_of(coverage, bot)
        rows.append(
            {
                "rank": None,
                "bot": bot,
                "boards_played": sum(played[config] for config in league.boards),
                **_scored({config: scores[config][bot] for config in league.boards}, options.resampling),
            }
        )
    _rank(rows, options.by)
    others = sorted({bot for groups in coverage.values() for bots in groups for bot in bots} - {*league.bots})
    lacking = {}
    for bot in others:
        common = common_boards(coverage, {*league.bots, bot})
        lacks = {config: number - common.get(config, 0) for config, number in league.boards.items()}
        lacking[bot] = {config: number for config, number in lacks.items() if number}
    return Standings(league.boards, rows, lacking)


def _scored(scores: Mapping[GameConfig, Scores], resampling: Resampling) -> dict[str, Any]:
    completions, shares = [], []
    for config, score in scores.items():
        counted = Counted.from_counts(score.tiles_cleared)
        cells = config.num_rows * config.num_cols
        shares.append(Counted(counted.values / cells, counted.counts))
        completions.append(Counted.from_counts({1: score.completed, 0: counted.number - score.completed}))
    completion, share = summary(completions, resampling), summary(shares, resampling)
    found: dict[str, Any] = {}
    for name, value, interval in (
        ("completion_rate", completion.mean, completion.mean_interval),
        ("tiles_share_mean", share.mean, share.mean_interval),
        ("tiles_share_iqm", share.interquartile_mean, share.interquartile_interval),
    ):
        found[name] = value
        bounds = name.removesuffix("_rate").removesuffix("_mean")
        found[f"{bounds}_low"] = interval and interval.low
        found[f"{bounds}_high"] = interval and interval.high
    return found


def _rank(rows: list[dict[str, Any]], by: RankBy) -> None:
    order = ["completion_rate", "tiles_share_iqm", "tiles_share_mean"]
    if by is RankBy.TILES:
        order = ["tiles_share_iqm", "tiles_share_mean", "completion_rate"]
    rows.sort(key=lambda row: ([-row[name] for name in order], row["bot"]))
    if len(rows) < 2:
        return
    for place, row in enumerate(rows):
        above = rows[place - 1] if place else None
        is_level = above is not None and all(row[name] == above[name] for name in order)
        row["rank"] = above["rank"] if above is not None and is_level else place + 1
