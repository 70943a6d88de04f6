"""Checkpoint files: recognised, read, kept as JSON, and written again with the same values."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdb.errors import DamagedPickleError, InputRefusedError, SgdbError, ValueRefusedError
from sgdb.pickles import checkpoints
from sgdb.pickles.checkpoints import CheckpointFile, checkpoint_name, find_weights, is_checkpoint
from sgdb.pickles.writer import write_checkpoint
from sgdb.records import GameConfig
from tests.legacy import Record, dump, importable, write_legacy
from tests.legacy_checkpoints import (
    AgentCheckpointState,
    EnvCheckpointState,
    TrainingState,
    checkpoint,
)
from tests.legacy_checkpoints import (
    GameConfig as LegacyConfig,
)
from tests.pickles.reading import BytesSource
from tests.pickles.test_attributes import keys, texts, values
from tests.pickles.test_times import times

numbers = st.integers(-(2**70), 2**70) | st.floats()


def _read(raw: bytes) -> CheckpointFile:
    return CheckpointFile.read(BytesSource(raw))


def _written(file: CheckpointFile) -> Any:
    """The objects in a pickle that is written from what was read, by way of JSON text."""
    out = io.BytesIO()
    write_checkpoint(out, json.loads(file.checkpoint.to_json()))
    with importable():
        return pickle.loads(out.getvalue())


def exactly(value: Any) -> Any:
    """What tells types, signs, NaN and fold apart, but not the order of keys."""
    if isinstance(value, Record):
        return type(value).__name__, exactly(vars(value))
    if type(value) is dict:
        return sorted((key, exactly(item)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value).__name__, [exactly(item) for item in value]
    return repr(value)


# -- which files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"python": True}])
def test_a_checkpoint_is_told_by_its_content(protocol: int, options: dict[str, bool]) -> None:
    """Whoever pickled it; a list of one, a state, and a benchmark are none."""
    assert is_checkpoint(BytesSource(dump(checkpoint(), protocol, **options), "benchmark_5_5_3_42.pkl"))
    for other in ([checkpoint()], {"a": checkpoint()}, checkpoint().agent_state, 1):
        assert not is_checkpoint(BytesSource(dump(other, protocol, **options), "x_epoch_1.pkl"))


@pytest.mark.parametrize("layout", ["A", "B", "C", "D"])
def test_a_benchmark_is_none(tmp_path: Path, layout: str) -> None:
    """Whatever it is called."""
    path = write_legacy(tmp_path / "x_epoch_1.pkl", layout=layout)
    assert not is_checkpoint(BytesSource(path.read_bytes(), path.name))


def test_an_empty_file_is_none() -> None:
    """Nor is anything that ends too early."""
    raw = dump(checkpoint())
    assert not any(is_checkpoint(BytesSource(raw[:length])) for length in range(70))


# -- what is read ---------------------------------------------------------------------------------


def test_what_a_checkpoint_holds() -> None:
    """Its names and numbers, its board, and the time without a zone."""
    file = _read(dump(checkpoint("a_epoch_1_epoch_2", 17, config=(4, 6, 5))))
    found = file.checkpoint
    assert (found.experiment, found.epoch, found.config) == ("a_epoch_1_epoch_2", 17, GameConfig(4, 6, 5))
    assert found.time == datetime(2025, 3, 1, 9, 30, 32, 123456)  # noqa: DTZ001
    assert found.weights_name == "a_epoch_1_epoch_2_epoch_17_model.pth"
    assert found.last_loss == checkpoint("a_epoch_1_epoch_2", 17).loss_history[-1]
    assert (file.notes, file.protocol) == ([], 4)


def test_what_is_odd_is_noted() -> None:
    """States that are None, attributes of a later version, and what is left where it is."""
    data = checkpoint(agent_state=None, replay_buffer_filename="b.pkl", scheduler=1, plan={"a": 2})
    assert _read(dump(data)).notes == [
        "agent_state is None",
        "kept further attributes of the checkpoint ('scheduler', 'plan')",
        "its replay buffer 'b.pkl' is not carried, only its name",
    ]


@pytest.mark.parametrize("absent", ["experiment_name", "epoch", "timestamp"])
def test_without_its_name_it_is_no_checkpoint(absent: str) -> None:
    """An experiment, an epoch and a time are needed; anything else may be absent, and stays so."""
    data = checkpoint()
    for name in list(vars(data)):
        if name not in ("experiment_name", "epoch", "timestamp"):
            delattr(data, name)
    assert exactly(_written(_read(dump(data)))) == exactly(data)
    delattr(data, absent)
    with pytest.raises(InputRefusedError, match=f"its {absent} is missing"):
        _read(dump(data))


def test_many_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there may be, and not one more."""
    losses = [0.5, 1e-9, 3] * 30_000
    file = _read(dump(checkpoint(loss_history=losses)))
    assert exactly(_written(file).loss_history) == exactly(losses)
    monkeypatch.setattr(checkpoints, "_MAX_LOSSES", len(losses) - 1)
    with pytest.raises(ValueRefusedError, match="epoch 100, field loss_history: more than 89,999 numbers"):
        _read(dump(checkpoint(loss_history=losses)))


def test_a_value_that_cannot_be_stored_is_named() -> None:
    """With experiment, epoch and field."""
    for attributes, said in (
        ({"metadata": {"a": "\0"}}, "checkpoint 'e', epoch 3, field 'metadata': "),
        ({"agent_state": AgentCheckpointState(gamma="\ud800")}, "epoch 3, agent_state, field 'gamma': "),
        ({"env_state": EnvCheckpointState(game_config=LegacyConfig(num_rows=1, num_cols=2))},
         "env_state.game_config has no num_colors"),
        ({"loss_history": [[2**2000]]}, "field loss_history: an integer of 2001 bits is too large"),
    ):  # fmt: skip
        with pytest.raises(InputRefusedError) as caught:
            _read(dump(checkpoint("e", 3, **attributes)))
        assert said in caught.value.message


# -- there and back -------------------------------------------------------------------------------


@st.composite
def _checkpoints(draw: st.DrawFn) -> Record:
    """Checkpoints with any values anywhere."""

    def state(cls: type[Record], **known: Any) -> Any:
        return draw(st.none() | st.dictionaries(names, values | times, max_size=4)
                    .map(lambda found: cls(**known | found)))  # fmt: skip

    names = keys.filter(lambda name: name != "game_config")
    sizes = st.integers(1, 2**31 - 1)
    shape = {name: draw(sizes) for name in ("num_rows", "num_cols", "num_colors")}
    config = draw(
        st.none() | st.dictionaries(keys, values, max_size=2).map(lambda more: LegacyConfig(**more | shape))
    )
    plain = st.dictionaries(keys, values | times | st.lists(times, max_size=2), max_size=4)
    return checkpoint(
        draw(texts.filter(lambda text: len(text) < 256)),
        draw(st.integers(0, 2**31 - 1)),
        timestamp=draw(times),
        weights=draw(texts),
        agent_state=state(AgentCheckpointState),
        env_state=state(EnvCheckpointState, game_config=config),
        training_state=state(TrainingState),
        loss_history=draw(st.lists(numbers, max_size=20) | values),
        benchmark_results=draw(st.none() | plain),
        metadata=draw(plain),
    )


@settings(deadline=None)
@given(_checkpoints(), st.integers(2, 5))
def test_any_checkpoint_comes_back(data: Record, protocol: int) -> None:
    """Through the pickle, JSON text and a pickle of ours: to the type, the sign and the bit."""
    raw = dump(data, protocol)
    if protocol < 4:  # they have no `fold`
        with importable():
            data = pickle.loads(raw)
    file = _read(raw)
    assert exactly(_written(file)) == exactly(data)
    out = io.BytesIO()
    write_checkpoint(out, json.loads(file.checkpoint.to_json()))
    assert is_checkpoint(BytesSource(out.getvalue()))
    assert json.loads(_read(out.getvalue()).checkpoint.to_json()) == json.loads(file.checkpoint.to_json())


# -- damage ---------------------------------------------------------------------------------------


def _small(protocol: int) -> bytes:
    return dump(checkpoint("e", 1, loss_history=[0.5], env_state=None, training_state=None), protocol)


@pytest.mark.parametrize("protocol", [2, 4])
def test_every_truncation_is_refused(protocol: int) -> None:
    """A checkpoint that is cut off anywhere is damaged, not smaller."""
    raw = _small(protocol)
    for length in range(len(raw)):
        with pytest.raises(DamagedPickleError):
            _read(raw[:length]) if length > 1 else _read(b"\x80")


def _flipped(raw: bytes) -> Iterator[bytes]:
    for at in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[at // 8] ^= 1 << at % 8
        yield bytes(changed)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.no_cover
def test_every_flipped_bit_is_refused_or_shows(protocol: int) -> None:
    """No error but sgdb's; and what is read is another value, or the same written otherwise."""
    raw = _small(protocol)
    before = _read(raw).checkpoint.to_json()
    shown = 0
    for changed in _flipped(raw):
        try:
            shown += _read(changed).checkpoint.to_json() != before
        except SgdbError:
            continue
    assert shown > 100


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.pth", "a.pth"), ("/etc/a.pth", "a.pth"), ("..\\up\\a.pth", "a.pth"), ("../..", None), ("", None),
     (".", None), ("x/", None), ("missing.pth", None), ("a\0.pth", None)],
)  # fmt: skip
def test_weights_are_found_by_their_bare_name(tmp_path: Path, name: str, expected: str | None) -> None:
    """In the folders that the user gave, in their order, and nowhere else."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    (second / "a.pth").touch()
    assert find_weights(name, (first, second)) == (second / expected if expected else None)
    (first / "a.pth").touch()
    assert find_weights(name, (first, second)) == (first / expected if expected else None)


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", ".hidden", "", "n" * 250, "ü" * 130])
def test_an_experiment_may_be_no_file_name(name: str) -> None:
    """Then a checkpoint has no name of its own."""
    assert checkpoint_name(name, 3) == ("_epoch_3.pkl" if name == "" else None)
    assert checkpoint_name("a b_epoch_1", 3) == "a b_epoch_1_epoch_3.pkl"
