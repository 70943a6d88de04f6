"""Checks that the database passes or fails by itself, without any file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, and_, cast, func, select

from sgdb.database.coverage import listed, saved_games, saved_results, stored_games, stored_results
from sgdb.database.experiments import epoch_files, experiment_uid, pruned_epochs
from sgdb.database.kept_totals import REPAIR, absent_triggers
from sgdb.database.models import (
    Archive,
    BenchmarkSet,
    Bot,
    Game,
    GameConfigRow,
    GameResult,
    GameTotals,
    ModelCheckpoint,
    ResultTotals,
    SourceFile,
    TrainingSession,
)
from sgdb.database.provenance import SAVED, find_saved_source, set_ids, sources
from sgdb.database.totals import wrong_totals
from sgdb.records import IdRuns
from sgdb.wording import counted

_SHOWN = 5


class Check(NamedTuple):
    """One check's name, whether it passed, and what was found."""

    name: str
    ok: bool
    detail: str


class Further(NamedTuple):
    """A check of others: its name, the findings, and what to say when there are none."""

    name: str
    wrong: Iterator[str]
    right: Callable[[], str]


def run_checks(connection: Connection, *further: Further) -> list[Check]:
    """All of them, in a fixed order."""
    return [
        _check("contiguous game_index", _gaps(connection), lambda: _sum(connection, Game.id, "game")),
        _check(
            "results as their files list them",
            _unlike_files(connection),
            lambda: _sum(connection, GameResult.id, "result"),
        ),
        _check(
            "board shapes and colours",
            _unsound_boards(connection),
            lambda: _sum(connection, Game.id, "board"),
        ),
        *_checkpoint_checks(connection),
        _check("orphans", _orphans(connection), lambda: "none"),
        _check(
            "totals",
            _untrue_totals(connection),
            lambda: _lines(connection),
            remedy=f"count anew with `{REPAIR}`",
        ),
        *(_check(*each) for each in further),
    ]


def _check(name: str, wrong: Iterator[str], right: Callable[[], str], remedy: str = "") -> Check:
    """Runs one check. `wrong` is gone through to its end, but only the first findings are kept; `remedy` is
    the way out where there is one."""
    shown: list[str] = []
    more = 0
    for finding in wrong:
        if len(shown) < _SHOWN:
            shown.append(finding)
        else:
            more += 1
    if not shown:
        return Check(name, True, right())
    found = "; ".join(shown) + (f" and {more} more" if more else "")
    return Check(name, False, f"{found} ({remedy})" if remedy else found)


def _sum(connection: Connection, column: Any, what: str) -> str:
    rows = connection.execute(select(func.count(column))).scalar_one()
    found = connection.execute(select(func.count(BenchmarkSet.id))).scalar_one()
    return f"{counted(rows, what)} in {counted(found, 'set')}"


def _lines(connection: Connection) -> str:
    results, games = (
        connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in (ResultTotals, GameTotals)
    )
    return f"{results} of results, {games} of games"


def _untrue_totals(connection: Connection) -> Iterator[str]:
    """Totals are what the rows add up to, and triggers keep them so."""
    for trigger in absent_triggers(connection):
        yield f"trigger {trigger} is missing or disabled"
    yield from map(str, wrong_totals(connection))


def _gaps(connection: Connection) -> Iterator[str]:
    """Games count from 0 without gaps, except for gaps that the set's files have themselves."""
    for set_id in set_ids(connection):
        stored, saved = stored_games(connection, set_id), saved_games(connection, set_id)
        expected = IdRuns([*listed(sources(connection, set_id=set_id))[0].pairs(), *saved.pairs()])
        if not len(expected):  # neither file nor program says anything about gaps
            stop = max((stop for _, stop in stored.pairs()), default=0)
            expected = IdRuns([(0, stop)])
        for index in expected.minus(stored):
            yield f"set {set_id} lacks game {index}"
        for index in stored.minus(expected):
            yield f"set {set_id}, game {index} comes from no file"


def _unlike_files(connection: Connection) -> Iterator[str]:
    """Each bot has results on the games for which the set's files list one, and on no others."""
    for set_id in set_ids(connection):
        all_stored, saved = stored_results(connection, set_id), saved_results(connection, set_id)
        all_expected = listed(sources(connection, set_id=set_id))[1]
        for bot in sorted({*all_stored, *all_expected}):
            stored, expected = all_stored.get(bot, IdRuns()), all_expected.get(bot, IdRuns())
            for index in expected.minus(stored):
                yield f"set {set_id} lacks the result of {bot!a} on game {index}"
            for index in stored.minus(expected).minus(saved.get(bot, IdRuns())):
                yield f"set {set_id}, the result of {bot!a} on game {index} comes from no file"


def _unsound_boards(connection: Connection) -> Iterator[str]:
    """Boards that lack their config's shape or colours."""
    query = (
        select(
            BenchmarkSet.id,
            Game.game_index,
            cast(Game.board_state, Text),
            GameConfigRow.num_rows,
            GameConfigRow.num_cols,
            GameConfigRow.num_colors,
        )
        .join(BenchmarkSet, BenchmarkSet.id == Game.benchmark_set_id)
        .join(GameConfigRow, GameConfigRow.id == BenchmarkSet.config_id)
        .order_by(Game.id)
    )
    rows = connection.execute(query, execution_options={"yield_per": 5_000})
    for set_id, index, board, *shape in rows:
        if not _is_sound(json.loads(board), *shape):
            yield f"set {set_id}, game {index}"


def _is_sound(board: Any, rows: int, columns: int, colors: int) -> bool:
    return (
        type(board) is list
        and len(board) == rows
        and all(
            type(row) is list
            and len(row) == columns
            and set(map(type, row)) == {int}
            and min(row) >= 0
            and max(row) < colors
            for row in board
        )
    )


def _checkpoint_checks(connection: Connection) -> list[Check]:
    """Where checkpoint files were migrated: that the checkpoints are there which they name."""
    files = epoch_files(connection)
    if not files:
        return []
    query = (
        select(TrainingSession.uid, ModelCheckpoint.epoch, ModelCheckpoint.weights_sha256)
        .join(TrainingSession, TrainingSession.id == ModelCheckpoint.training_session_id)
        .where(ModelCheckpoint.source_file_id.is_not(None))
    )
    stored = {(row[0], row[1]): row[2] for row in connection.execute(query)}
    named = {(experiment_uid(file.experiment), file.epoch): file for file in files}
    pruned = {(experiment_uid(name), epoch) for name, epoch in pruned_epochs(files)}
    pruned -= stored.keys()
    lacking = named.keys() - stored.keys() - pruned
    wrong = [f"{file.path} has no checkpoint" for key, file in named.items() if key in lacking]
    wrong += [f"epoch {epoch} of session {uid} comes from no file" for uid, epoch in stored.keys() - named]
    without = sum(sha256 is None for sha256 in stored.values())
    gone = f"; pruned: {len(pruned)}" if pruned else ""
    return [
        _check(
            "checkpoints as their files name them",
            iter(wrong),
            lambda: f"{counted(len(stored), 'checkpoint')} of files, {without} of them without weights{gone}",
        )
    ]


def _orphans(connection: Connection) -> Iterator[str]:
    """Nothing stands alone: configs have sets, or trainings; sets and bots come from a file, a program or a
    training, archives from a file."""
    used = select(BenchmarkSet.config_id)
    trained_on = select(TrainingSession.id).where(TrainingSession.config_id == GameConfigRow.id).exists()
    for config_id in connection.execute(
        select(GameConfigRow.id).where(GameConfigRow.id.not_in(used), ~trained_on).order_by(GameConfigRow.id)
    ).scalars():
        yield f"config {config_id} has no set"
    taken = sources(connection)
    of_files = {source.benchmark_set_id for source in taken}
    for set_id in set_ids(connection):
        if set_id not in of_files and find_saved_source(connection, set_id) is None:
            yield f"set {set_id} comes from no file"
    keys = {key for source in taken for key, _ in source.contents.results}
    saved = select(GameResult.bot_id).join(SourceFile, SourceFile.id == GameResult.source_file_id)
    unsaved = Bot.id.not_in(saved.where(SourceFile.status == SAVED))
    is_trained = select(TrainingSession.id).where(TrainingSession.bot_id == Bot.id).exists()
    untrained = and_(Bot.checkpoint_id.is_(None), ~is_trained)
    for name in connection.execute(select(Bot.name).where(unsaved, untrained).order_by(Bot.id)).scalars():
        if name not in keys:
            yield f"bot {name!a} comes from no file"
    referenced = select(SourceFile.archive_id).where(SourceFile.archive_id.is_not(None))
    for archive_id in connection.execute(
        select(Archive.id).where(Archive.id.not_in(referenced)).order_by(Archive.id)
    ).scalars():
        yield f"archive {archive_id} belongs to no file"
