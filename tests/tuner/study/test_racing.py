"""Races inside a study: what is recorded of a trial stopped early, and who may use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from autoquant.errors import OptionError
from autoquant.strategies.words import UNCORRECTED
from autoquant.tuner.study.events import Event, TrialFinished
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.result import Result
from autoquant.tuner.study.tune import tune

from tests import task

# A sample is right where the output is near the float model's; of every tenth the opposite is asked.
MANY = """
from pathlib import Path

import numpy as np
import onnxruntime as ort

here = Path(__file__).parent
data = np.load(here / "data.npz")
session = ort.InferenceSession(str(here / "model.onnx"), providers=["CPUExecutionProvider"])
num_samples = 384


def feed(indices):
    return {"x": data["x"][indices % 96] * (1.0 + 0.1 * (indices // 96)).astype(np.float32)[:, None, None, None]}


reference = session.run(None, feed(np.arange(num_samples)))[0]


def score(session, indices):
    expected = reference[indices]
    error = np.linalg.norm(session.run(None, feed(indices))[0] - expected, axis=-1)
    return (error < 0.011 * np.linalg.norm(expected, axis=-1)) ^ (indices % 10 == 0)


def calibration():
    for i in range(0, 32, 8):
        yield {"x": data["x"][i : i + 8]}
"""


@pytest.fixture
def many(tmp_path: Path) -> task.Task:
    made = task.write(tmp_path)
    made.evaluate.write_text(MANY)
    return made


def run(of: task.Task, drop: str, **options: Any) -> tuple[Result, list[TrialFinished]]:
    events: list[Event] = []
    asked = {"objective": "ops", "threads": 1, "max_trials": 5, "out": of.out} | options
    result = tune(Request(of.model, str(of.evaluate), TargetDrop.parse(drop), **asked), events.append)
    return result, [event for event in events if isinstance(event, TrialFinished)]


def test_a_hopeless_trial_is_told_as_pruned(many: task.Task) -> None:
    result, told = run(many, "0.0001%")
    pruned = [event for event in told if event.state == "pruned"]
    assert pruned
    assert result.trials["pruned"] == len(pruned)
    with open_study(many.out) as store:
        records = {record.number: record for record in store.trials()}
        study = store.study()
    for event in pruned:
        record = records[event.number]
        assert event.samples == record.samples
        assert record.samples is not None
        assert record.samples < 384
        assert record.cost is None
        assert record.drop is not None
        assert record.drop_estimate is not None
        assert 1e-6 < record.drop <= record.drop_estimate
        assert record.constraint is not None
        assert record.constraint > 0.0
        assert record.outcome().estimate == record.drop_estimate
        assert study.trials[event.number].state == optuna.trial.TrialState.PRUNED
        assert study.trials[event.number].system_attrs["constraints"] == [record.constraint]
    scored = sum((event.samples or 0) / 384 for event in told)
    confirmed = result.tuned is not None
    assert result.trials["evaluations"] == pytest.approx(scored + confirmed, abs=1e-3)


def test_the_same_verdicts_without_racing(many: task.Task, tmp_path: Path) -> None:
    raced, told = run(many, "1%")
    plain, all_told = run(many, "1%", out=tmp_path / "plain", race=False, study_name="plain")
    assert {event.state for event in all_told} == {"complete"}
    assert [event.feasible for event in told] == [event.feasible for event in all_told]
    assert raced.status == plain.status
    assert raced.trials["evaluations"] < plain.trials["evaluations"]
    assert raced.tuned is not None
    assert plain.tuned is not None
    assert raced.tuned.metric == plain.tuned.metric


def test_where_nothing_was_scored_in_full_the_best_effort_is_delivered(many: task.Task) -> None:
    result, told = run(many, "0.0001%", strategy="random", max_trials=2, fix=UNCORRECTED)
    assert {event.state for event in told} == {"pruned"}
    assert result.status == "not_met"
    assert result.tuned is not None
    assert result.tuned.drop > 0.0
    assert result.files["model"].exists()
    with open_study(many.out) as store:
        likely = {r.number: r.drop_estimate for r in store.trials()}
    assert likely[result.tuned.trial] == min(likely.values())


def test_a_pruned_trial_is_no_full_score_for_another_target(many: task.Task) -> None:
    _, strict = run(many, "0.0001%", max_trials=1)
    assert strict[0].state == "pruned"
    _, loose = run(many, "60%", max_trials=1)
    assert loose[0].state == "complete"
    assert not loose[0].reused
    assert loose[0].samples == 384


def test_another_alpha_goes_on_with_the_study(many: task.Task) -> None:
    run(many, "1%", max_trials=2)
    result, told = run(many, "1%", max_trials=3, alpha=0.1)
    assert len(told) == 1
    assert result.trials["total"] == 3
    with open_study(many.out) as store:
        assert store.get("options")["alpha"] == 0.01


@pytest.mark.parametrize("alpha", [0.0, 0.5, float("nan"), 3.0])
def test_an_impossible_alpha(many: task.Task, alpha: float) -> None:
    with pytest.raises(OptionError, match="--alpha must lie above 0"):
        run(many, "1%", alpha=alpha)


def test_partial_scores_lie_apart(many: task.Task) -> None:
    _, told = run(many, "0.0001%", max_trials=1)
    (partial,) = (many.out / "samples").glob("*.partial.npy")
    assert not [path for path in (many.out / "samples").glob("*.npy") if path != partial]
    assert np.isfinite(np.load(partial)).sum() == told[0].samples
