"""What else needs the rows that a run brought.

Boards, results, trainings and checkpoints belong to the file that brought them: what others have built on
them keeps the run from being taken back. Bots and configs are common property. Whoever would have made such
a row, had it not been there, inherits it; only what nobody inherits has to go, and may have dependents.

Works inside the caller's transaction, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, column, func, select, true
from sqlalchemy.dialects.postgresql import JSONB

from sgdb.database.coverage import brought_games, brought_results, listed
from sgdb.database.experiments import epoch_files
from sgdb.database.models import (
    BenchmarkSet,
    Bot,
    Game,
    GameConfigRow,
    GameHistory,
    GameResult,
    ModelCheckpoint,
    SourceFile,
    TrainingSession,
)
from sgdb.database.provenance import SAVED, TAKEN, SourceRow, has_saved_since, sources
from sgdb.records import IdRuns
from sgdb.wording import counted


class Dependent(NamedTuple):
    """Something that needs what a run brought: whose it is, and what it is. `run_id` is None for what no file
    brought."""

    run_id: int | None
    whose: str
    what: str

    def __str__(self) -> str:
        return f"{self.what} ({self.whose})"


class Heirs(NamedTuple):
    """The run's bots and configs that others would have made, with the source each goes to."""

    bots: dict[int, int]
    configs: dict[int, int]


def files_of(run_id: int) -> Any:
    """A subquery: the ids in source_files that the run's rows bear."""
    return select(SourceFile.id).where(SourceFile.run_id == run_id)


def _is_others(source: Any, run_id: int) -> ColumnElement[bool]:
    """Not the run's own; a row without a source is not."""
    other: ColumnElement[bool] = source.is_(None) | source.not_in(files_of(run_id))
    return other


def is_brought_history(run_id: int) -> ColumnElement[bool]:
    """Whether moves came with the run. Their rows do not say who brought them; the run's files list them by
    bot, as runs of games."""
    value = column("value", JSONB)
    brought = func.jsonb_array_elements(SourceFile.counts["histories"]["brought"]).table_valued(value)
    games = func.jsonb_array_elements(brought.c.value[1]).table_valued(value).alias("game_runs")

    def number(at: int) -> Any:
        return cast(games.c.value[at].astext, BigInteger)

    listed_there = (
        select(Game.id)
        .select_from(SourceFile)
        .join(Game, Game.benchmark_set_id == SourceFile.benchmark_set_id)
        .join(brought, true())
        .join(games, true())
        .join(Bot, Bot.name == brought.c.value[0].astext)
        .where(
            SourceFile.run_id == run_id,
            Game.id == GameHistory.game_id,
            Bot.id == GameHistory.bot_id,
            Game.game_index >= number(0),
            Game.game_index < number(1),
        )
    )
    return listed_there.correlate(GameHistory).exists()


def find_heirs(connection: Connection, run_id: int) -> Heirs:
    """For each of the run's bots and configs that others use: the first file or program's source to do so."""
    own = files_of(run_id)
    key = func.jsonb_array_elements(SourceFile.contents["results"]).table_valued(column("value"))
    with_results = (
        select(Bot.id.label("id"), GameResult.source_file_id.label("source"))
        .join(GameResult, GameResult.bot_id == Bot.id)
        .where(Bot.source_file_id.in_(own), GameResult.source_file_id.not_in(own))
    )
    with_key = (
        select(Bot.id, SourceFile.id)
        .select_from(SourceFile)
        .join(key, true())
        .join(Bot, Bot.name == func.jsonb_extract_path_text(key.c.value, "0"))
        .where(Bot.source_file_id.in_(own), SourceFile.run_id != run_id, SourceFile.status.in_(TAKEN))
    )
    trained = (
        select(Bot.id, TrainingSession.source_file_id)
        .join(TrainingSession, TrainingSession.bot_id == Bot.id)
        .where(Bot.source_file_id.in_(own), TrainingSession.source_file_id.not_in(own))
    )
    with_config = (
        select(GameConfigRow.id.label("id"), BenchmarkSet.source_file_id.label("source"))
        .join(BenchmarkSet, BenchmarkSet.config_id == GameConfigRow.id)
        .where(GameConfigRow.source_file_id.in_(own), BenchmarkSet.source_file_id.not_in(own))
    )
    trained_on = (
        select(GameConfigRow.id, TrainingSession.source_file_id)
        .join(TrainingSession, TrainingSession.config_id == GameConfigRow.id)
        .where(GameConfigRow.source_file_id.in_(own), TrainingSession.source_file_id.not_in(own))
    )
    return Heirs(
        _first(connection, with_results.union_all(with_key, trained)),
        _first(connection, with_config.union_all(trained_on)),
    )


def _first(connection: Connection, pairs: Any) -> dict[int, int]:
    found = pairs.subquery()
    first = select(found.c.id, func.min(found.c.source)).group_by(found.c.id)
    return {row[0]: row[1] for row in connection.execute(first)}


def find_dependents(connection: Connection, run_id: int, heirs: Heirs) -> list[Dependent]:
    """All that would be lost, or no longer be explained, if the run's rows went; usually nothing."""
    return [
        *_of_rows(connection, run_id, heirs),
        *_of_files(connection, run_id),
        *_of_checkpoint_files(connection, run_id),
    ]


def _of_rows(connection: Connection, run_id: int, heirs: Heirs) -> Iterator[Dependent]:
    """Rows of others that hang on rows that would go."""
    own = files_of(run_id)
    games = select(Game.id).where(Game.source_file_id.in_(own))
    sets = select(BenchmarkSet.id).where(BenchmarkSet.source_file_id.in_(own))
    bots = select(Bot.id).where(Bot.source_file_id.in_(own), Bot.id.not_in(list(heirs.bots)))
    configs = select(GameConfigRow.id).where(
        GameConfigRow.source_file_id.in_(own), GameConfigRow.id.not_in(list(heirs.configs))
    )
    trainings = select(TrainingSession.id).where(TrainingSession.source_file_id.in_(own))
    checkpoints = select(ModelCheckpoint.id).where(ModelCheckpoint.source_file_id.in_(own))
    for what, whose, table, where in (
        ("game", "in its sets", Game, Game.benchmark_set_id.in_(sets)),
        ("result", "on its games", GameResult, GameResult.game_id.in_(games)),
        (
            "result",
            "of its bots on other games",
            GameResult,
            GameResult.bot_id.in_(bots) & GameResult.game_id.not_in(games),
        ),
        ("set", "with its board configs", BenchmarkSet, BenchmarkSet.config_id.in_(configs)),
        (
            "checkpoint",
            "of its trainings",
            ModelCheckpoint,
            ModelCheckpoint.training_session_id.in_(trainings),
        ),
        ("bot", "of its checkpoints", Bot, Bot.checkpoint_id.in_(checkpoints)),
    ):
        others = _is_others(table.source_file_id, run_id)
        query = (
            select(func.count(), SourceFile.run_id, SourceFile.path, SourceFile.status)
            .select_from(table)
            .outerjoin(SourceFile, SourceFile.id == table.source_file_id)
            .where(where, others)
            .group_by(SourceFile.id)
            .order_by(SourceFile.id)
        )
        for count, run, path, status in connection.execute(query):
            yield Dependent(*_origin(run, path, status), f"{counted(count, what)} {whose}")
    by_programs = TrainingSession.source_file_id.is_(None)
    added = ~is_brought_history(run_id)
    of_others = GameHistory.bot_id.in_(bots) & GameHistory.game_id.not_in(games)
    history, training = ("history", "histories"), ("training session",)
    for noun, whose, found in (
        (history, "on its games", GameHistory.game_id.in_(games) & added),
        (history, "of its bots on other games", of_others & added),
        (training, "of its bots", TrainingSession.bot_id.in_(bots) & by_programs),
        (training, "with its board configs", TrainingSession.config_id.in_(configs) & by_programs),
    ):
        if count := connection.execute(select(func.count()).where(found)).scalar_one():
            yield Dependent(None, "from no file", f"{counted(count, *noun)} {whose}")


def _origin(run_id: int | None, path: str | None, status: str | None) -> tuple[int | None, str]:
    if run_id is None:
        return None, "written by hand"
    if status == SAVED:
        return None, "saved by a program"
    return run_id, f"run {run_id}, {path}"


def _of_files(connection: Connection, run_id: int) -> Iterator[Dependent]:
    """Files that were taken into the run's sets later, and programs that have stored there since."""
    is_own = BenchmarkSet.source_file_id.in_(files_of(run_id))
    touched = connection.execute(
        select(BenchmarkSet.id, func.min(SourceFile.id), func.coalesce(is_own, False))
        .join(SourceFile, SourceFile.benchmark_set_id == BenchmarkSet.id)
        .where(SourceFile.run_id == run_id, SourceFile.status.in_(TAKEN))
        .group_by(BenchmarkSet.id)
        .order_by(BenchmarkSet.id)
    ).all()
    of_sets = SourceFile.benchmark_set_id.in_([set_id for set_id, _, _ in touched])
    runs = select(SourceFile.id, SourceFile.run_id).where(of_sets)
    run_of = {row.id: row.run_id for row in connection.execute(runs)}
    for set_id, first, goes in touched:
        of_set = sources(connection, set_id=set_id)
        own = [source for source in of_set if run_of[source.id] == run_id]
        for other in of_set:
            other_run = run_of[other.id]
            if other_run == run_id:
                continue
            if goes:
                yield Dependent(*_origin(other_run, other.path, None), f"a file of its set {set_id}")
            elif what := _shared(connection, own, other):
                yield Dependent(*_origin(other_run, other.path, None), f"a file that has {what}")
        if has_saved_since(connection, set_id, 0 if goes else first):
            yield Dependent(None, "saved by a program", f"what is in set {set_id}")


def _of_checkpoint_files(connection: Connection, run_id: int) -> Iterator[Dependent]:
    """Files that came later and have a checkpoint, or its weights, that the run's files brought."""
    files = epoch_files(connection)
    brought = {
        (file.experiment, file.epoch): file.id for file in files if file.run_id == run_id and file.brought
    }
    for file in files:
        own = brought.get((file.experiment, file.epoch))
        if own is not None and file.run_id != run_id and file.id > own:
            yield Dependent(
                *_origin(file.run_id, file.path, None), f"a file of its checkpoint after epoch {file.epoch}"
            )


def _shared(connection: Connection, own: list[SourceRow], other: SourceRow) -> str | None:
    """The rows of these files that a later one of the set has too, in words."""
    games, results = listed([other])
    shared_games = shared_results = 0
    for source in own:
        # Files of one set come one after the other. What an earlier one lists, and this one nevertheless had
        # to bring, was not there before and need not be afterwards.
        if source.id > other.id:
            continue
        shared_games += _common(brought_games(connection, source.benchmark_set_id, source.id), games)
        for bot, runs in brought_results(connection, source.benchmark_set_id, source.id).items():
            shared_results += _common(runs, results.get(bot, IdRuns()))
    if not shared_games and not shared_results:
        return None
    return f"{shared_games:,} of its games and {shared_results:,} of its results"


def _common(one: IdRuns, other: IdRuns) -> int:
    return len(one.distinct()) - len(one.minus(other))
