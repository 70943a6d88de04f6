"""The boards of a benchmark: fetched where they are stored, else drawn from the base seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from sgdb.errors import LayoutError, UsageError
from sgdb.game.boards import board_json, draw_board
from sgdb.pickles.seeds import MAX_BOARD_CELLS, SeedStream
from sgdb.records import BenchmarkData, GameConfig, GameSnapshot
from sgdb.storage.base import BenchmarkStorage

_WINDOW = 1000  # games
_WINDOW_CELLS = 2_000_000  # of these games together
_PICKLE_WINDOW = 20_000  # a pickle is read whole for each


class Boards:
    """The games of one set, by id. Fetches no more than it is asked for; holds no connection meanwhile."""

    def __init__(self, storage: BenchmarkStorage, num_games: int) -> None:
        """`num_games` is the size that the set declares when games are added to it."""
        self._storage = storage
        self._config: GameConfig = storage.config
        self._num_games = num_games
        self._seeds = SeedStream(storage.base_seed)
        self._is_drawable = False

    def get(self, ids: Sequence[int], *, add: bool) -> Iterator[GameSnapshot]:
        """The games with these ids, sorted, up to LAST_GAME. Those that the set lacks are drawn; with `add`
        they are added to it before they come. Raises LayoutError where the set's own boards do not follow
        from its base seed, so that nobody knows the others; UsageError for boards that cannot be drawn."""
        cells = self._config.num_rows * self._config.num_cols
        window = (
            _PICKLE_WINDOW if self._storage.kind == "pickle" else max(1, min(_WINDOW, _WINDOW_CELLS // cells))
        )
        remaining = iter(ids)
        while wanted := list(islice(remaining, window)):
            yield from self._window(wanted, add=add)

    def _window(self, wanted: list[int], *, add: bool) -> list[GameSnapshot]:
        asked = {*wanted}
        stored = self._storage.iter_games(wanted[0], wanted[-1] + 1)
        found = {game.game_id: game for game in stored if game.game_id in asked}
        drawn = [self._drawn(game_id) for game_id in wanted if game_id not in found]
        if drawn and add:
            self._storage.save_data(
                BenchmarkData(drawn, {}, self._config, self._num_games, self._storage.base_seed)
            )
        found.update((game.game_id, game) for game in drawn)
        return [found[game_id] for game_id in wanted]

    def _drawn(self, game_id: int) -> GameSnapshot:
        self._require_drawable()
        seed = self._seeds.seed(game_id)
        assert seed is not None
        return GameSnapshot(game_id, board_json(draw_board(self._config, seed)), seed)

    def _require_drawable(self) -> None:
        """Proves on every stored game, once, that boards follow from the base seed."""
        if self._is_drawable:
            return
        config = self._config
        if config.num_colors < 2:
            raise UsageError(
                f"{config} has no colours to draw from",
                hint="the empty cell counts as a colour: give 3 for boards of two",
            )
        if config.num_rows * config.num_cols > MAX_BOARD_CELLS:
            raise UsageError(f"boards of {config} are too large: sgdb draws {MAX_BOARD_CELLS} cells at most")
        for game in self._storage.iter_games():
            seed = self._seeds.seed(game.game_id)
            if seed is None or game.seed != seed or game.board != board_json(draw_board(config, seed)):
                raise LayoutError(
                    f"game {game.game_id} of the stored set {config} does not follow from base seed "
                    f"{self._storage.base_seed}, so the games that it lacks cannot be drawn",
                    hint="ask for the games that are there",
                )
        self._is_drawable = True
