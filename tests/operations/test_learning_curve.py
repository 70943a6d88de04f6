"""What a training has logged, as `query learning-curve` tells it."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine

from sgdb.errors import NotFoundError, UsageError
from sgdb.operations.learning_curve import (
    CURVE_FIELDS,
    LearningCurveOptions,
    LearningCurveResult,
    learning_curve,
)
from sgdb.settings import Settings
from tests.backups import execute

TRAININGS = """
    INSERT INTO bots (name) VALUES ('agent');
    INSERT INTO training_sessions (bot_id, name, hyperparameters, start_time)
        VALUES (1, 'first', '{}', now()), (1, 'twice', '{}', now()), (1, 'twice', '{}', now());
    INSERT INTO model_checkpoints (training_session_id, epoch, metrics) VALUES
        (1, 10, '{"loss": 0.5, "reward": {"$float": "nan"}}'),
        (1, 2, '{"loss": 1, "reward": 3, "note": "text"}'),
        (2, 1, '{"loss": 9}'), (3, 1, NULL);
"""


@pytest.fixture
def trained(settings: Settings, engine: Engine) -> Settings:
    """Settings of a database with three sessions."""
    execute(engine, TRAININGS)
    return settings


def look(settings: Settings, session: str, *metrics: str) -> LearningCurveResult:
    """The curve of this session."""
    return learning_curve(LearningCurveOptions(session, metrics), settings)


def test_metric_by_epoch(trained: Settings) -> None:
    """In order of the epochs, however they were stored; NaN is told and not drawn."""
    found = look(trained, "first")
    assert [tuple(row) for row in found.rows] == [CURVE_FIELDS] * 4
    assert [(row["metric"], row["epoch"], row["value"]) for row in found.rows] == [
        ("loss", 2, 1.0), ("loss", 10, 0.5), ("reward", 2, 3.0), ("reward", 10, "nan"),
    ]  # fmt: skip
    assert found.lines() == {"loss": [(2, 1.0), (10, 0.5)], "reward": [(2, 3.0)]}
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (document["session_id"], document["session"], document["bot"]) == (1, "first", "agent")
    assert look(trained, "1", "reward").rows == found.rows[2:]


def test_what_there_is_not(trained: Settings) -> None:
    """No such session, several of a name, no such metric; a session without numbers is none of these."""
    with pytest.raises(NotFoundError):
        look(trained, "none")
    with pytest.raises(UsageError):
        look(trained, "twice")
    with pytest.raises(NotFoundError) as caught:
        look(trained, "first", "note")
    assert str(caught.value.hint) == "it has logged: loss, reward"
    assert look(trained, "3").rows == []
