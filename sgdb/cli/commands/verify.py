"""`sgdb verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sgdb.cli.options import FormatOption, PathsArgument, WeightsDirOption
from sgdb.cli.output import Format, Output, near
from sgdb.cli.session import Session, as_paths, session
from sgdb.cli.timings import explain_timings, flat_timings
from sgdb.errors import UsageError
from sgdb.wording import counted

if TYPE_CHECKING:
    from sgdb.operations.timings import TimingsResult
    from sgdb.operations.verify import BotReplay, FileVerdict, Replay, VerifyResult

_COLUMNS = ("file", "status", "differences")
_DIFFERENCES = ("file", "game_id", "bot", "field", "pickle", "database")
_REPLAYED = ("bot", "results", "replayed", "equal", "different", "not_replayable")
_PLAYED_OTHERWISE = ("bot", "set", "game_id", "field", "recorded", "replayed")
_FLAT = ("file", "check", "status", "game_id", "bot", "field", "pickle", "database", "detail")


def verify(
    context: typer.Context,
    paths: PathsArgument = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into folders below.")] = False,
    only: Annotated[
        str | None,
        typer.Option(help="Take only files whose name matches, such as 'benchmark_5_*'.", metavar="GLOB"),
    ] = None,
    all_examples: Annotated[
        bool, typer.Option("--all", help="Name every difference, not only the first 20 of a file or bot.")
    ] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Play the recorded games again, and compare the results.")
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(help="Play only N games of each bot and set, evenly spread.", metavar="N", min=1),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Play in N processes; by default, in as many as there are cores.", metavar="N", min=1
        ),
    ] = None,
    timings: Annotated[
        bool,
        typer.Option("--timings", help="Measure the files: loaded whole, against read from the database."),
    ] = False,
    weights_dir: WeightsDirOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Compare pickles with the database, value by value.

    The files are read again. Compared are config, seeds, number of games, every board, every field of
    every result, the bots' keys and their order, and that the database has no row which the files do not
    explain. Without PATH the stored originals are compared, and the database's own checks run. Nothing is
    written. Exits with 1 when something differs.

    Of a checkpoint every value is compared, and its weights by their hash: those stored, and those that are
    found beside the pickle, in a --weights-dir, or where they were when it was migrated.

    With --replay, the bots that sgdb has play the recorded games of these sets again, by the recorded rules,
    and every result has to come out the same. Those that cannot be played again are counted with the reason.

    With --timings, every file that is equal is measured: the whole set, one bot's performance, ten games, and
    memory, as a pickle that has to be loaded whole and from the database. What is loaded is a copy that sgdb
    writes itself. A target that is missed is said, and does not change the exit code.
    """
    if timings and not paths:
        raise UsageError("--timings measures files, and no path was given", hint="name a file or a folder")
    from sgdb.operations.verify import VerifyOptions
    from sgdb.operations.verify import verify as run

    current = session(context)
    options = VerifyOptions(
        as_paths(paths), recursive, only, all_examples, replay, sample, jobs, as_paths(weights_dir)
    )
    result = run(options, current.settings(), current.output.progress())
    if format is Format.TABLE:
        rows = [
            {"file": near(v.path), "status": v.status, "differences": v.differences} for v in result.files
        ]
        current.output.data(format, _COLUMNS, rows, None)
        _explain(result, current.output)
    timed = _time(result, current) if timings else None
    if format is not Format.TABLE:
        rows, document = _flat(result), result.to_json()
        if timed is not None:
            rows += [dict.fromkeys(_FLAT) | row for row in flat_timings(timed)]
            document["timings"] = timed.to_json()
        current.output.data(format, _FLAT, rows, document)
    if timed is not None:
        explain_timings(timed, current.output, format)
        for verdict in result.files:
            if not _can_be_timed(verdict):
                why = "a checkpoint" if verdict.status == "equal" else verdict.status
                current.output.message(f"not timed: {near(verdict.path)} is {why}")
    raise typer.Exit(result.exit_code or (timed.exit_code if timed is not None else 0))


def _can_be_timed(verdict: FileVerdict) -> bool:
    return verdict.status == "equal" and verdict.kind == "benchmark"


def _time(result: VerifyResult, current: Session) -> TimingsResult:
    """Measures the files that are equal."""
    from sgdb.operations.timings import TimingsOptions, timings

    equal = tuple(Path(verdict.path) for verdict in result.files if _can_be_timed(verdict))
    return timings(TimingsOptions(equal), current.settings(), current.output.progress())


def _flat(result: VerifyResult) -> list[dict[str, Any]]:
    """One row a difference, and one for each file or check without any: for CSV and Markdown."""
    nothing = dict.fromkeys(_FLAT)
    rows: list[dict[str, Any]] = []
    for verdict in result.files:
        said = "; ".join(filter(None, (verdict.error, *verdict.notes))) or None
        about = nothing | {"file": verdict.path, "status": verdict.status, "detail": said}
        rows += [about | example._asdict() for example in verdict.examples] or [about]
    rows += [
        nothing | {"check": check.name, "status": "ok" if check.ok else "failed", "detail": check.detail}
        for check in result.checks
    ]
    for bot in result.replay.bots if result.replay else ():
        said = f"{bot.equal} of {bot.replayed} are equal"
        about = nothing | {
            "check": "replay",
            "status": "different" if bot.different else "ok",
            "bot": bot.bot,
        }
        rows.append(about | {"detail": "; ".join([said, *_remarks(bot)])})
        rows += [
            about | {name: entry[name] for name in ("game_id", "field")}
            | {"database": entry["recorded"], "detail": f"set {entry['set']}, replayed: {entry['replayed']}"}
            for entry in _otherwise(bot)
        ]  # fmt: skip
    return rows


def _otherwise(bot: BotReplay) -> list[dict[str, Any]]:
    """One row a value that came out otherwise."""
    return [
        {
            "bot": bot.bot,
            "set": example.set_id,
            "game_id": example.game_id,
            "field": field,
            "recorded": recorded,
            "replayed": replayed,
        }
        for example in bot.examples
        for field, recorded, replayed in zip(
            example.recorded._fields, example.recorded, example.played, strict=True
        )
        if recorded != replayed
    ]


def _remarks(bot: BotReplay) -> list[str]:
    """What else is to be said about a bot's results."""
    return [
        *(f"{count} not replayable: {reason}" for reason, count in sorted(bot.not_replayable.items())),
        *(f"{count} only under a move limit of {limit}" for limit, count in sorted(bot.move_limits.items())),
        *(f"{count} played by {kind}" for kind, count in sorted(bot.kinds.items())),
    ]


def _explain_replay(replay: Replay, output: Output) -> None:
    rows = [
        {
            **{name: getattr(bot, name) for name in _REPLAYED[:-1]},
            "not_replayable": bot.not_replayable.total(),
        }
        for bot in replay.bots
    ]
    output.data(Format.TABLE, _REPLAYED, rows, None, title="replay")
    examples = [entry for bot in replay.bots for entry in _otherwise(bot)]
    if examples:
        output.data(Format.TABLE, _PLAYED_OTHERWISE, examples, None, title="results that came out otherwise")
    shown = sum(len(bot.examples) for bot in replay.bots)
    if shown < replay.different:
        output.message(f"{shown} of {replay.different} are shown; --all shows every one")
    for bot in replay.bots:
        for remark in _remarks(bot):
            output.message(f"{bot.bot}: {remark}")
    left_out = sum(bot.left_out for bot in replay.bots)
    sampled = f"; {left_out} left out of the sample" if left_out else ""
    output.message(
        f"replayed: {replay.equal} results are equal, {replay.different} different, "
        f"{replay.not_replayable} not replayable{sampled}"
    )


def _explain(result: VerifyResult, output: Output) -> None:
    examples: list[dict[str, Any]] = [
        {"file": verdict.path.rpartition("/")[2], **example._asdict()}
        for verdict in result.files
        for example in verdict.examples
    ]
    if examples:
        output.data(Format.TABLE, _DIFFERENCES, examples, None, title="differences")
    found = sum(verdict.differences for verdict in result.files)
    if found > len(examples):
        output.message(f"{len(examples)} of {found} differences are shown; --all shows every one")
    for verdict in result.files:
        if verdict.status == "missing":
            output.message(
                f"missing: {verdict.path} has not been migrated: sgdb migrate-pickles {verdict.path}"
            )
        if verdict.refusal is not None:
            output.error(f"unreadable {verdict.path}: {verdict.error}", verdict.refusal.hint)
        for note in verdict.notes:
            output.message(f"note: {near(verdict.path)}: {note}")
    if result.checks:
        rows = [
            {"check": c.name, "result": "ok" if c.ok else "FAILED", "detail": c.detail} for c in result.checks
        ]
        output.data(Format.TABLE, ("check", "result", "detail"), rows, None)
    for path, reason in result.selection.skipped:
        output.message(f"skipped: {path} ({reason})")
    if result.replay is not None:
        _explain_replay(result.replay, output)
    if not result.equal:
        output.message("NOT equal")
    elif result.files:
        pruned = sum(verdict.status == "pruned" for verdict in result.files)
        equal = counted(len(result.files) - pruned, "file")
        gone = f"; pruned: {counted(pruned, 'file')}, removed from the database on purpose" if pruned else ""
        output.message(f"equal: {equal}, every value is in the database{gone}")
    else:
        output.message("no file was compared: none has been migrated yet, or none with its original kept")
