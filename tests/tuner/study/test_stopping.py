"""Stop rules: what counts as an improvement, and whole runs that end by a rule."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from autoquant.errors import OptionError
from autoquant.evaluators.holdout import Holdout, Part
from autoquant.strategies.base import History, Outcome
from autoquant.strategies.words import UNCORRECTED
from autoquant.tuner.study import stopping
from autoquant.tuner.study.clock import Clock
from autoquant.tuner.study.export import chosen, export_trial
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.trial import TrialRecord
from autoquant.tuner.study.tune import tune

from tests import task
from tests.tuner.study.storing import make_space
from tests.tuner.study.test_tune import FINE, STRICT, finished, request, run

SPACE = make_space()


@pytest.fixture
def fine(tmp_path: Path) -> task.Task:
    """Every layer costs a little."""
    made = task.write(tmp_path)
    made.evaluate.write_text(FINE)
    return made


def history(*trials: tuple[float | None, float | None], pareto: bool = False, noise: float = 0.0) -> History:
    """Trials as (drop, cost): no cost for a pruned one, no drop for a failed one."""
    outcomes = [
        Outcome(
            number,
            SPACE.default(),
            "failed" if drop is None else "pruned" if cost is None else "complete",
            None,
            drop,
            cost,
            cost_noise=noise,
        )
        for number, (drop, cost) in enumerate(trials)
    ]
    return History(SPACE, 0.01, trials=tuple(outcomes), pareto=pareto)


@pytest.mark.parametrize(
    ("trials", "idle"),
    [
        ([], 0),
        ([(0.005, 0.5)], 0),
        ([(0.005, 0.5), (0.005, 0.5)], 1),
        ([(0.005, 0.5), (0.005, 0.4)], 0),
        ([(0.005, 0.5), (0.02, 0.4)], 1),
        ([(0.005, 0.5), (0.005, 0.4999)], 1),
        ([(0.05, 0.5), (0.04, 0.6)], 0),
        ([(0.05, 0.5), (0.06, 0.4), (0.05, 0.3)], 2),
        ([(0.05, None), (0.04, None), (0.005, 0.9)], 0),
        ([(None, None), (None, None)], 2),
        ([(0.005, 0.5), (0.004, 0.6), (None, None), (0.03, None)], 3),
    ],
)
def test_what_counts_as_an_improvement(trials: list[Any], idle: int) -> None:
    assert stopping.idle(history(*trials)) == idle


def test_a_measured_cost_must_fall_beyond_its_noise() -> None:
    assert stopping.idle(history((0.005, 0.5), (0.005, 0.48), noise=0.05)) == 1
    assert stopping.idle(history((0.005, 0.5), (0.005, 0.47), noise=0.05)) == 0


def test_of_a_front_every_trial_that_no_other_had_beaten_is_an_improvement() -> None:
    assert stopping.idle(history((0.005, 0.5), (0.004, 0.6), (0.02, 0.4), pareto=True)) == 0
    assert stopping.idle(history((0.005, 0.5), (0.006, 0.6), (0.02, 0.5), pareto=True)) == 2


def running(timeout: float | None, elapsed: float, *records: TrialRecord, held: Part | None = None) -> Any:
    """What the rules look at of a run whose baseline took 10 s."""
    inputs = SimpleNamespace(
        request=SimpleNamespace(timeout=timeout, holdout=held.fraction if held else None), held=held, pareto=False
    )
    return SimpleNamespace(
        inputs=inputs,
        clock=SimpleNamespace(elapsed=elapsed),
        baseline=SimpleNamespace(seconds=10.0),
        usable=lambda: list(records),
        observer=lambda event: None,
    )


def scored(number: int, evaluate: float, state: str = "complete", **other: Any) -> TrialRecord:
    seconds = {"build": 0.5, "session": 0.5, "evaluate": evaluate, "latency": 1.0}
    return TrialRecord(number, SPACE.default(), state, seconds=seconds, **other)  # type: ignore[arg-type]


def test_the_first_trial_is_expected_to_take_what_the_baseline_took() -> None:
    assert stopping.expected(running(None, 0.0)) == 10.0
    assert stopping.expected(running(None, 0.0, scored(0, 4.0), scored(1, 6.0), scored(2, 8.0))) == 8.0
    assert stopping.expected(running(None, 0.0, scored(0, 4.0, reused_from="other#1"))) == 10.0


def test_time_is_kept_for_the_confirmation_once_there_is_something_to_confirm() -> None:
    assert stopping.reserve(running(60.0, 0.0)) == 0.0
    assert stopping.reserve(running(60.0, 0.0, scored(0, 4.0, state="failed"))) == 0.0
    assert stopping.reserve(running(60.0, 0.0, scored(0, 1.0, state="pruned"))) == 10.0 + 1.0 + 5 * 1.0
    kept = stopping.reserve(running(60.0, 0.0, scored(0, 4.0)))
    assert kept == 4.0 + 1.0 + 5 * 1.0


def test_a_front_needs_time_for_each_of_its_points() -> None:
    points = [scored(n, 4.0, drop=0.01 * n, cost=0.5 - 0.1 * n) for n in range(3)]
    run = running(60.0, 0.0, *points)
    run.inputs.pareto = True
    run.history = lambda: history(*((point.drop, point.cost) for point in points), pareto=True)
    assert stopping.reserve(run) == stopping.reserve(running(60.0, 0.0, *points)) + 3 * 1.0


def test_a_hold_out_needs_time_for_two_models() -> None:
    class Whole:
        form, num_samples, name = "random_access", 100, "eval.py"

    held = Part(Whole(), Holdout(0.2), "held")  # type: ignore[arg-type]
    kept = stopping.reserve(running(60.0, 0.0, scored(0, 4.0), held=held))
    assert kept == pytest.approx(4.0 + 2 * 4.0 * 0.25 + 1.0 + 5.0)


def test_what_does_not_fit_is_not_begun() -> None:
    trial = scored(0, 4.0)  # 6 s, and 10 s to confirm it
    assert stopping.fits(running(60.0, 43.0, trial), stopping.expected(running(60.0, 43.0, trial)))
    assert not stopping.fits(running(60.0, 46.0, trial), 6.0)
    assert stopping.fits(running(None, 1e9, trial), 6.0)


def test_an_evaluation_is_cut_when_only_the_confirmation_is_left() -> None:
    stopping.watched(running(60.0, 50.0, scored(0, 4.0)))(1, 10)
    with pytest.raises(stopping.OutOfTime):
        stopping.watched(running(60.0, 52.0, scored(0, 4.0)))(1, 10)
    stopping.watched(running(60.0, 70.0))(1, 10)  # nothing to confirm yet: better late than nothing


def test_patience_ends_every_strategy(fine: task.Task) -> None:
    result, events = run(fine, "0.00001%", strategy="random", patience=3, race=False)
    assert "no better recipe in the last 3 trials" in result.why or result.status == "no_gain"
    drops = [event.drop for event in finished(events)]
    assert len(drops) >= 4
    assert min(drops[-3:]) >= min(drops[:-3])
    more, events = run(fine, "0.00001%", strategy="random", patience=5, race=False)
    assert more.trials["total"] > result.trials["total"], "another patience goes on"
    _, events = run(fine, "0.00001%", strategy="random", patience=5, race=False)
    assert not finished(events)


def test_a_longer_patience_is_the_strategys_own_too(fine: task.Task) -> None:
    usual, _ = run(fine, STRICT, patience=30, max_trials=40)
    assert usual.trials["total"] > 25 or usual.status == "met"


def test_stop_first_ends_at_the_first_success(fine: task.Task) -> None:
    result, events = run(fine, STRICT, stop="first", fix=UNCORRECTED)
    told = finished(events)
    assert result.status == "met"
    assert [event.feasible for event in told] == [False] * (len(told) - 1) + [True]
    assert result.tuned is not None
    assert result.tuned.trial == told[-1].number
    _, events = run(fine, STRICT, stop="first", fix=UNCORRECTED)
    assert not finished(events)
    _, events = run(fine, STRICT, max_trials=len(told) + 3, fix=UNCORRECTED)
    assert len(finished(events)) >= 1, "without --stop first it goes on"


@pytest.mark.parametrize(("options", "words"), [({"patience": 0}, "--patience"), ({"stop": "soon"}, "--stop")])
def test_impossible_rules(fine: task.Task, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        run(fine, STRICT, **options)


# Every yield advances a clock that the test reads: 1 s, from the fourth model on 10 s.
SLOW = """
import os
from pathlib import Path

import numpy as np

data = np.load(Path(__file__).with_name("data.npz"))
models = []


def evaluate(session):
    if not any(session is known for known in models):
        models.append(session)
    for i in range(0, 96, 8):
        os.environ["TESTED_TIME"] = str(float(os.environ["TESTED_TIME"]) + (1 if len(models) < 4 else 10))
        yield session.run(None, {"x": data["x"][i : i + 8]})[0].argmax(-1) == data["labels"][i : i + 8]


def calibration():
    for i in range(0, 32, 8):
        yield {"x": data["x"][i : i + 8]}
"""


def test_a_trial_slower_than_expected_is_cut_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = task.write(tmp_path)
    made.evaluate.write_text(SLOW)
    monkeypatch.setenv("TESTED_TIME", "0")
    monkeypatch.setattr(Clock, "elapsed", property(lambda clock: float(os.environ["TESTED_TIME"])))
    result, events = run(made, "50%", timeout=75.0, strategy="random")
    assert result.status == "met", "the best found is delivered"
    assert result.trials["total"] == 2
    assert len(finished(events)) == 2
    with open_study(made.out) as store:
        cut = [record for record in store.trials() if record.interrupted]
        (recipe,) = (record.recipe for record in cut)
    assert float(os.environ["TESTED_TIME"]) < 75 + 12 * 10 + 20
    monkeypatch.setenv("TESTED_TIME", "0")
    more, _ = run(made, "50%", max_trials=3, strategy="random")
    assert more.trials["total"] == 3
    with open_study(made.out) as store:
        assert store.trials()[-1].recipe == recipe, "what was cut off is tried again"


def test_ctrl_c_leaves_the_best_found_exportable(fine: task.Task, tmp_path: Path) -> None:
    seen = 0

    def interrupt(event: Any) -> None:
        nonlocal seen
        if type(event).__name__ == "TrialStarted":
            seen += 1
            if seen == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(request(fine, "5%", strategy="random"), interrupt)
    with open_study(fine.out) as store:
        best = store.best()
        assert best is not None
        assert export_trial(store, "best", tmp_path / "best.onnx", fine.model).stat().st_size > 0


def test_a_longer_search_that_is_interrupted_leaves_its_best_exportable(fine: task.Task) -> None:
    first, _ = run(fine, "5%", strategy="random", max_trials=1)

    def interrupt(event: Any) -> None:
        if type(event).__name__ == "TrialStarted" and event.number == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(request(fine, "5%", strategy="random", max_trials=20), interrupt)
    with open_study(fine.out) as store:
        best = store.best()
        assert best is not None
        assert first.tuned is not None
        assert best.number != first.tuned.trial, "the first of eight random draws is not the best"
        assert chosen(store, "best").number == best.number
