"""Rows of an exported set to records, every value checked as strictly as those of a pickle are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from sgdb.errors import ValueRefusedError
from sgdb.game.boards import board_json, draw_board
from sgdb.interchange.tables import Row
from sgdb.interchange.values import require_bot_name, require_game_metadata, require_result_metadata
from sgdb.pickles.attributes import Room
from sgdb.pickles.inert import RowBatch, Shape, shown
from sgdb.pickles.rows import GameRows, Notes, ResultRows
from sgdb.pickles.seeds import SeedStream
from sgdb.records import BotPerformance, GameConfig, GameSnapshot

_INT32 = 2**31 - 1
_GAME = Shape(None, ("game_id", "board", "seed"))
_RESULT = Shape(
    None, ("bot_name", "game_id", "tiles_cleared", "singles_remaining", "moves_made", "completed")
)


class TimedResults(NamedTuple):
    """The next results of one bot; `times` are milliseconds by game id, where they are known."""

    bot: str
    rows: list[BotPerformance]
    times: dict[int, float]


class MoveRow(NamedTuple):
    """The moves of one bot in one game, the boards in between, and why the bot moved so; None where
    unknown."""

    game_id: int
    moves: list[tuple[int, int]]
    board_states: list[Any] | None
    decision_metadata: dict[str, Any] | None


class SetRows:
    """Turns the rows of one set's files into records; `size` is that of the files in bytes.

    Everything raises ValueRefusedError naming game, bot, field and value.
    """

    def __init__(self, config: GameConfig, base_seed: int, size: int, notes: Notes) -> None:
        self._config = config
        self._base_seed = base_seed
        self._notes = notes
        self._room = Room(size)
        self._seeds = SeedStream(base_seed)
        self._games = GameRows(config, {}, notes, self._room)
        self._results: dict[str, ResultRows] = {}

    def games(self, batches: Iterable[list[Row]]) -> Iterator[list[GameSnapshot]]:
        """Rows of the table games."""
        for batch in batches:
            self._require_seed_and_ids(batch, 1)
            rows = [(index, board, seed) for _, index, seed, board, _ in batch]
            games = self._games.read(RowBatch(0, _GAME, rows))
            for at, row in enumerate(batch):
                metadata = row[4]
                if metadata is not None:
                    require_game_metadata(metadata, f"game {row[1]}, metadata")
                    games[at] = games[at]._replace(metadata=metadata)
                    self._require_drawn(games[at])
            yield games

    def _require_drawn(self, game: GameSnapshot) -> None:
        """A board said to be drawn from its seed is taken at its word later, so that has to be true."""
        if (game.metadata or {}).get("origin") != "regenerated":
            return
        seed = self._seeds.seed(game.game_id)
        drawable = seed is not None and seed == game.seed and self._config.num_colors > 1
        if not drawable or game.board != board_json(draw_board(self._config, game.seed or 0)):
            raise ValueRefusedError(
                f"game {game.game_id}: its origin is said to be regenerated, but it does not follow from "
                f"base seed {self._base_seed}"
            )

    def results(self, batches: Iterable[list[Row]]) -> Iterator[TimedResults]:
        """Rows of the table results."""
        for batch in batches:
            self._require_seed_and_ids(batch, 2)
            for bot, group in groupby(batch, key=lambda row: row[1]):
                yield self._of_bot(bot, list(group))

    def _of_bot(self, bot: str, rows: list[Row]) -> TimedResults:
        if bot not in self._results:
            require_bot_name(bot, "results")
            self._results[bot] = ResultRows(bot, self._config, self._notes, self._room)
        plain = [(bot, *row[2:7]) for row in rows]
        results = self._results[bot].read(RowBatch(0, _RESULT, plain))
        times = {}
        for at, row in enumerate(rows):
            where = f"bot {shown(bot)}, game {row[2]}"
            if row[7] is not None:
                if row[7] < 0:
                    raise ValueRefusedError(f"{where}, execution_time_ms: {row[7]} is negative")
                times[row[2]] = float(row[7])
            if row[8] is not None:
                require_result_metadata(row[8], f"{where}, metadata")
                rest = {name: value for name, value in row[8].items() if name != "bot_name"}
                name = row[8].get("bot_name", bot)
                results[at] = results[at]._replace(bot_name=name, metadata=rest or None)
        return TimedResults(bot, results, times)

    def histories(self, batches: Iterable[list[Row]]) -> Iterator[tuple[str, list[MoveRow]]]:
        """Rows of the table histories."""
        for batch in batches:
            self._require_seed_and_ids(batch, 2)
            for bot, group in groupby(batch, key=lambda row: row[1]):
                yield bot, [self._moves(row, f"bot {shown(bot)}, game {row[2]}") for row in group]

    def _moves(self, row: Row, where: str) -> MoveRow:
        _, _, game_id, moves, states, metadata = row
        for move in moves:
            if type(move) is not list or [type(part) for part in move] != [int, int]:
                raise ValueRefusedError(f"{where}, moves: {shown(move)} is no move, [row, column]")
            if not all(abs(part) <= _INT32 for part in move):
                raise ValueRefusedError(f"{where}, moves: {shown(move)} is far outside of the board")
        for name, value, kind in (("board_states", states, list), ("decision_metadata", metadata, dict)):
            if value is not None and type(value) is not kind:
                what = "a list" if kind is list else "an object"
                raise ValueRefusedError(f"{where}, {name}: {shown(value)} is not {what}")
        return MoveRow(game_id, [(first, second) for first, second in moves], states, metadata)

    def _require_seed_and_ids(self, batch: list[Row], index_at: int) -> None:
        for row in batch:
            if row[0] != self._base_seed:
                raise ValueRefusedError(
                    f"a row of base seed {row[0]} in a file of base seed {self._base_seed}"
                )
            if not 0 <= row[index_at] <= _INT32:
                raise ValueRefusedError(
                    f"game_index: {shown(row[index_at])} is not a whole number from 0 to {_INT32}"
                )
