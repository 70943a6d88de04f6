"""What a file says against what the database holds, value by value.

The database's side is compared as it stands: somebody may have written there what sgdb never would.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sgdb.database.sets import StoredGame, StoredResult, stored_metadata
from sgdb.errors import ConflictError
from sgdb.records import BotPerformance, GameSnapshot

_SHOWN = 5
_RESULT_FIELDS = ("tiles_cleared", "singles_remaining", "moves_made", "completed")


class Difference(NamedTuple):
    """One value that is not the same. `pickle` or `database` is None where that side lacks the row."""

    game_id: int | None
    bot: str | None
    field: str
    pickle: Any
    database: Any

    def __str__(self) -> str:
        return self.said("file", "database")

    def said(self, ours: str, theirs: str) -> str:
        """The difference in words; `ours` and `theirs` call the two sides."""
        where = [f"field {self.field}"]
        if self.bot is not None:
            where.insert(0, f"bot {self.bot!a}")
        if self.game_id is not None:
            where.insert(0, f"game {self.game_id}")
        return f"{', '.join(where)}: {ours} {self.pickle!a:.200}, {theirs} {self.database!a:.200}"


def conflict(differences: Sequence[Difference], holder: str, ours: str = "file") -> ConflictError:
    """The error for values that `holder` has otherwise than `ours`; names the first few."""
    shown = "; ".join(difference.said(ours, holder) for difference in differences[:_SHOWN])
    more = len(differences) - _SHOWN
    return ConflictError(
        f"the {holder} holds other values: {shown}" + (f"; and {more} more" if more > 0 else ""),
        hint="nothing was changed; `sgdb verify` on a file shows every difference",
    )


def compare_game(game: GameSnapshot, stored: StoredGame) -> list[Difference]:
    """The differences between a file's game and the stored one; usually none."""
    found: list[Difference] = []
    if game.board != stored.board:
        found.extend(_compare_boards(game, stored))
    if game.seed != stored.seed:
        found.append(Difference(game.game_id, None, "seed", game.seed, stored.seed))
    if game.metadata != stored.metadata or game.metadata:
        ours, theirs = _without_origin(game.metadata), _without_origin(stored.metadata)
        if not same_json(ours, theirs):
            found.append(Difference(game.game_id, None, "metadata", ours, theirs))
    return found


def compare_result(key: str, row: BotPerformance, stored: StoredResult) -> list[Difference]:
    """The differences between a file's result and the stored one; usually none."""
    found: list[Difference] = []
    if row[2:6] != stored[1:5]:
        for field in _RESULT_FIELDS:
            ours, theirs = getattr(row, field), getattr(stored, field)
            if ours != theirs:
                found.append(Difference(row.game_id, key, field, ours, theirs))
    metadata = stored_metadata(key, row)
    if metadata is None and stored.metadata is None:
        return found
    if not same_json(metadata, stored.metadata):
        name = stored.metadata.get("bot_name", key) if isinstance(stored.metadata, dict) else key
        if name != row.bot_name:
            found.append(Difference(row.game_id, key, "bot_name", row.bot_name, name))
        else:
            found.append(Difference(row.game_id, key, "metadata", metadata, stored.metadata))
    return found


def same_json(ours: Any, theirs: Any) -> bool:
    """Whether two JSON values are the same; unlike in Python, 1, 1.0 and true are three values."""
    return ours == theirs and json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)


def _without_origin(metadata: Any) -> Any:
    """How a board came into the database is no value of the board."""
    if isinstance(metadata, dict) and "origin" in metadata:
        return {name: value for name, value in metadata.items() if name != "origin"} or None
    return metadata


def _compare_boards(game: GameSnapshot, stored: StoredGame) -> list[Difference]:
    """Cell by cell; the same board written with other blanks is the same."""
    ours, theirs = game.cells, json.loads(stored.board)
    if same_json(ours, theirs):
        return []
    same_shape = (
        type(theirs) is list
        and len(theirs) == len(ours)
        and all(type(row) is list and len(row) == len(ours[0]) for row in theirs)
    )
    if not same_shape:
        return [Difference(game.game_id, None, "board", ours, theirs)]
    return [
        Difference(game.game_id, None, f"board[{r}][{c}]", cell, theirs[r][c])
        for r, row in enumerate(ours)
        for c, cell in enumerate(row)
        if not same_json(cell, theirs[r][c])
    ]


def compare_documents(
    experiment: str, epoch: int, ours: dict[str, Any], theirs: dict[str, Any]
) -> list[Difference]:
    """The differences between a checkpoint file and the stored checkpoint, each given as its document
    (`checkpoint`) and `loss_history` in their JSON forms. An experiment is known by its bot."""
    documents = [found if type(found := side.get("checkpoint")) is dict else {} for side in (ours, theirs)]
    pairs: dict[str, tuple[Any, Any]] = {}
    for name in dict.fromkeys([*documents[0], *documents[1]]):
        one, other = (document.get(name) for document in documents)
        if type(one) is dict and type(other) is dict and one and other:
            pairs |= {
                f"{name}.{key}": (one.get(key), other.get(key)) for key in dict.fromkeys([*one, *other])
            }
        else:
            pairs[name] = (one, other)
    pairs |= _losses(ours.get("loss_history"), theirs.get("loss_history"))
    return [
        Difference(None, experiment, f"epoch {epoch}, {field}", one, other)
        for field, (one, other) in pairs.items()
        if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True)
    ]


def _losses(ours: Any, theirs: Any) -> dict[str, tuple[Any, Any]]:
    """The losses to compare, by name: those that are not the same, where both sides are lists."""
    if type(ours) is not list or type(theirs) is not list:
        return {"loss_history": (ours, theirs)}
    pairs: dict[str, tuple[Any, Any]] = {"length of loss_history": (len(ours), len(theirs))}
    for at, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other or type(one) is not type(other):
            pairs[f"loss_history[{at}]"] = (one, other)
    return pairs
