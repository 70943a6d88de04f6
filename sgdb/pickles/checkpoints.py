"""Checkpoint files: one pickled `CheckpointData` of the old training code.

A file is one by its content: the object at the top is of that class. Its values become a *document*, a JSON
object with every attribute under its own name in the forms of `attributes`; the states, which are objects of
known classes, become objects in it. So the file can be written again from the document, equal in every value.
`loss_history` is kept apart as JSON text: it may be long, and its numbers are never all objects at a time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sgdb.errors import LayoutError, NotFoundError, ValueRefusedError
from sgdb.pickles import attributes
from sgdb.pickles.files import Copy, HashedStream, Source, tee
from sgdb.pickles.inert import Instance, shown
from sgdb.pickles.layouts import CONFIG_CLASS, CONFIG_FIELDS, INT32, listed, read_config, whole
from sgdb.pickles.parser import PickleParser
from sgdb.records import GameConfig

MODULE = "samegamerl.training.checkpoint_data"
TOP_CLASS = "CheckpointData"
# The states that a checkpoint holds, by attribute, and their classes.
STATES: Mapping[str, str] = {
    "agent_state": "AgentCheckpointState",
    "env_state": "EnvCheckpointState",
    "training_state": "TrainingState",
}
CLASSES: Mapping[tuple[str, str], bool] = {
    **{(MODULE, name): False for name in (TOP_CLASS, *STATES.values())},
    CONFIG_CLASS: False,
}
DOCUMENT = "checkpoint"  # in the JSON of a checkpoint
GAME_CONFIG = "game_config"
LOSSES = "loss_history"
_KNOWN = (
    "version", "experiment_name", "epoch", "timestamp", "model_weights_filename", *STATES, LOSSES,
    "benchmark_results", "replay_buffer_filename", "metadata",
)  # fmt: skip
_MAX_NAME = 255
_MAX_LOSSES = 2_000_000
_MAX_BITS = 1024
_HEAD = 256
# What a pickler writes first is the class of the object at the top, and that an instance is made of it.
_NAMES = (MODULE.encode(), TOP_CLASS.encode())
_BEGINNING = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?(?:"
    + rb"c%b\n%b\n" % tuple(map(re.escape, _NAMES))
    + rb"|"
    + rb"(?:\x94|q.)?".join(
        rb"(?:\x8c%b|X%b)%b"
        % (re.escape(bytes((len(name),))), re.escape(len(name).to_bytes(4, "little")), re.escape(name))
        for name in _NAMES
    )
    + rb"(?:\x94|q.)?\x93)(?:\x94|q.)?\)\x81",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The agent of one experiment after one epoch.

    `time` has no zone. `document` is what the module's head says, without `loss_history`, which is the JSON
    text `losses` (None where the file has none). `last_loss` is its last number. `states` are the attributes
    of the states as they were, for whoever wants numbers out of them.
    """

    experiment: str
    epoch: int
    time: datetime
    weights_name: str | None
    config: GameConfig | None
    document: dict[str, Any]
    losses: str | None
    last_loss: float | None
    states: dict[str, dict[str, Any]]
    benchmark_results: Any

    def to_json(self) -> str:
        """The JSON text that holds all of it: `{"checkpoint": ..., "loss_history": ...}`."""
        losses = "" if self.losses is None else f', "{LOSSES}": {self.losses}'
        return f'{{"{DOCUMENT}": {json.dumps(self.document)}{losses}}}'


def is_checkpoint(source: Source) -> bool:
    """Whether the file begins as a checkpoint does. Raises as `Source.open` does."""
    with source.open() as stream:
        return _BEGINNING.match(stream.read(_HEAD)) is not None


def checkpoint_name(experiment: str, epoch: int) -> str | None:
    """The name under which the old training code looks for a checkpoint, None where it is no file's name."""
    name = f"{experiment}_epoch_{epoch}.pkl"
    is_name = not re.search(r"[/\\]", name) and not name.startswith(".") and len(name.encode()) <= _MAX_NAME
    return name if is_name else None


def find_weights(name: str, folders: Iterable[Path]) -> Path | None:
    """The file of weights that a checkpoint names, in the first of these folders that has it.

    Of what is said to be its name only the last part counts: no file tells where else to look.
    """
    bare = re.split(r"[/\\]", name)[-1]
    if bare in ("", ".", "..") or not attributes.storable_text(bare):
        return None
    return next((folder / bare for folder in folders if os.path.lexists(folder / bare)), None)


def require_weights_folders(folders: Iterable[Path]) -> None:
    """Raises NotFoundError for a folder that is not there: weights would only seem to be missing."""
    for folder in folders:
        if not folder.is_dir():
            raise NotFoundError(f"no such folder: {folder}", hint="check the path given with --weights-dir")


class CheckpointFile:
    """A checkpoint pickle that has been read. Make it with `CheckpointFile.read`.

    `notes` are findings that do not refuse it.
    """

    def __init__(self, stream: HashedStream, protocol: int, checkpoint: Checkpoint, notes: list[str]) -> None:
        self.sha256 = stream.sha256
        self.size = stream.size
        self.protocol = protocol
        self.checkpoint = checkpoint
        self.notes = notes

    @classmethod
    def read(
        cls, source: Source, *, copy: Copy | None = None, on_bytes: Callable[[int], object] | None = None
    ) -> CheckpointFile:
        """Reads `source`. Raises InputRefusedError (damaged, unsafe, no checkpoint, values that cannot be
        stored) or FileAccessError."""
        if copy is not None:
            copy.restart()
        with source.open() as raw:
            stream = HashedStream(raw, tee(copy, on_bytes))
            # Everything is remembered: a checkpoint is one object, and no rows stream out of it.
            parser = PickleParser(stream, CLASSES, remember=True, times=True)
            for _ in parser.batches():
                pass
        checkpoint, notes = _read_top(parser.tree)
        return cls(stream, parser.protocol, checkpoint, notes)


def _read_top(tree: Any) -> tuple[Checkpoint, list[str]]:
    state = _state_of(tree, TOP_CLASS, "the file")
    experiment = _text(_required(state, "experiment_name"), "experiment_name", _MAX_NAME)
    where = f"checkpoint {shown(experiment)}"
    epoch, time = _required(state, "epoch"), _required(state, "timestamp")
    if not whole(epoch, 0, INT32):
        raise ValueRefusedError(
            f"{where}, field epoch: {shown(epoch)} is not a whole number from 0 to {INT32}"
        )
    where = f"{where}, epoch {epoch}"
    if type(time) is not datetime:
        raise ValueRefusedError(f"{where}, field timestamp: {shown(time)} is no time")
    weights = state.get("model_weights_filename")
    if weights is not None:
        weights = _text(weights, "model_weights_filename", None)
    notes: list[str] = []
    config, states, parts = _read_states(state, where, notes)
    rest = [(name, value) for name, value in state.items() if name not in STATES and name != LOSSES]
    further = [name for name in state if name not in _KNOWN]
    if further:
        notes.append(f"kept further attributes of the checkpoint ({listed(further)})")
    if state.get("replay_buffer_filename") is not None:
        notes.append(
            f"its replay buffer {shown(state['replay_buffer_filename'])} is not carried, only its name"
        )
    losses, last = None, None
    if LOSSES in state:
        losses, last = _losses(state[LOSSES], f"{where}, field {LOSSES}")
    checkpoint = Checkpoint(
        experiment=experiment,
        epoch=epoch,
        time=time,
        weights_name=weights or None,
        config=config,
        document=attributes.further(rest, where) | parts,
        losses=losses,
        last_loss=last,
        states=states,
        benchmark_results=state.get("benchmark_results"),
    )
    return checkpoint, notes


def _read_states(
    state: dict[str, Any], where: str, notes: list[str]
) -> tuple[GameConfig | None, dict[str, dict[str, Any]], dict[str, Any]]:
    """The board config, the states' attributes as they are, and the states as parts of the document."""
    config: GameConfig | None = None
    states: dict[str, dict[str, Any]] = {}
    parts: dict[str, Any] = {}
    for name, cls in STATES.items():
        if name not in state:
            continue
        if state[name] is None:
            parts[name] = None
            notes.append(f"{name} is None")
            continue
        found = _state_of(state[name], cls, f"{where}, field {name}")
        states[name] = {key: value for key, value in found.items() if key != GAME_CONFIG}
        parts[name] = attributes.further(states[name].items(), f"{where}, {name}")
        if GAME_CONFIG in found:
            parts[name][GAME_CONFIG] = None
            if found[GAME_CONFIG] is not None:
                config, extra = _config(found[GAME_CONFIG], f"{where}, {name}.{GAME_CONFIG}")
                parts[name][GAME_CONFIG] = {key: getattr(config, key) for key in CONFIG_FIELDS} | extra
    return config, states, parts


def _config(value: Any, where: str) -> tuple[GameConfig, dict[str, Any]]:
    if type(value) is not Instance:
        raise LayoutError(f"{where} is no GameConfig")
    return read_config(value, where)


def _state_of(value: Any, name: str, where: str) -> dict[str, Any]:
    """The attributes of an instance of this class; a pickler writes nothing where there are none."""
    if type(value) is not Instance or (value.cls.module, value.cls.name) != (MODULE, name):
        raise LayoutError(f"{where}: {shown(value)} is no {name}")
    return value.state or {}


def _required(state: dict[str, Any], name: str) -> Any:
    if name not in state:
        raise LayoutError(f"no checkpoint: its {name} is missing")
    return state[name]


def _text(value: Any, name: str, most: int | None) -> str:
    if type(value) is not str:
        raise ValueRefusedError(f"field {name}: {shown(value)} is no text")
    if most is not None and len(value) > most:
        raise ValueRefusedError(f"field {name}: {shown(value)} is longer than {most} characters")
    if not attributes.storable_text(value):
        raise ValueRefusedError(
            f"field {name}: {shown(value)} holds a character that PostgreSQL cannot store"
        )
    return value


def _losses(value: Any, where: str) -> tuple[str, float | None]:
    """The JSON text, and the last of the numbers."""
    if type(value) is not list or not set(map(type, value)) <= {int, float}:
        return json.dumps(attributes.to_json(value, where)), None
    if len(value) > _MAX_LOSSES:
        raise ValueRefusedError(f"{where}: more than {_MAX_LOSSES:,} numbers")
    return f"[{', '.join(_numbers(value, where))}]", value[-1] if value else None


def _numbers(values: list[Any], where: str) -> Iterator[str]:
    for number in values:
        if type(number) is int and number.bit_length() > _MAX_BITS:
            raise ValueRefusedError(f"{where}: an integer of {number.bit_length()} bits is too large")
        text = repr(number)
        yield text if type(number) is int or attributes.is_plain(number) else f'{{"$float": "{text}"}}'
