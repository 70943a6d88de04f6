"""Which checkpoints are kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdb.errors import UsageError
from sgdb.storage.retention import Candidate, Retention, number

_METRICS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "loss": st.integers(-5, 5)
        | st.sampled_from([10**400, -(10**400)])
        | st.floats(-2, 2)
        | st.sampled_from([{"$float": "nan"}, {"$float": "inf"}, "high", True, None])
    },
)
_CANDIDATES = st.lists(
    st.builds(Candidate, st.integers(0, 60), _METRICS, st.booleans()),
    unique_by=lambda candidate: candidate.epoch,
    max_size=30,
)
_COUNT = st.none() | st.integers(1, 8)


@given(_CANDIDATES, _COUNT, _COUNT, _COUNT, st.booleans())
def test_the_rules(
    candidates: list[Candidate], last: int | None, best: int | None, every: int | None, lowest: bool
) -> None:
    """What is kept is the union of what each rule keeps, said of each by a plainer word: no rule is lost in
    another, and nothing else stays."""
    if last is best is every is None:
        last = 1
    values = {
        candidate.epoch: value
        for candidate in candidates
        if (value := number(candidate.metrics, "loss")) is not None
    }
    metric = None if best is None else "loss"
    rules = Retention(last, best, metric, lowest and best is not None, every)
    if best is not None and candidates and not values:
        with pytest.raises(UsageError, match="no checkpoint has a number named 'loss'"):
            rules.keep(candidates)
        return
    kept = rules.keep(candidates)
    for candidate in candidates:
        epoch = candidate.epoch
        reasons = kept.get(epoch, [])
        assert ("bot" in reasons) is candidate.is_bot
        assert ("every" in reasons) is (every is not None and epoch % every == 0)
        later = sum(other.epoch > epoch for other in candidates)
        assert ("last" in reasons) is (last is not None and later < last)
        if best is not None and epoch in values:
            better = sum(
                (value < values[epoch] if lowest and rules.lowest else value > values[epoch])
                or (value == values[epoch] and other > epoch)
                for other, value in values.items()
            )
            assert ("best" in reasons) is (better < best)
        else:
            assert "best" not in reasons
    assert set(kept) <= {candidate.epoch for candidate in candidates}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({}, "nothing says"),
        ({"last": 0}, "nothing says"),
        ({"every": -3}, "nothing says"),
        ({"best": 3}, "best by a metric"),
        ({"metric": "loss", "last": 1}, "best by a metric"),
        ({"last": 1, "lowest": True}, "lowest values of what"),
    ],
    ids=str,
)
def test_rules_that_mean_nothing(rules: dict[str, Any], said: str) -> None:
    """They are refused before anything is looked at, with what to write instead."""
    with pytest.raises(UsageError, match=said) as caught:
        Retention(**rules)
    assert "--keep-" in str(caught.value.hint)


def test_a_misspelt_metric_removes_nothing() -> None:
    """The metrics that there are get named."""
    candidates = [Candidate(epoch, {"loss": 1.0, "reward": 2.0}, False) for epoch in range(3)]
    with pytest.raises(UsageError, match="'los'") as caught:
        Retention(best=1, metric="los").keep(candidates)
    assert caught.value.hint == "the metrics are: 'loss', 'reward'"
