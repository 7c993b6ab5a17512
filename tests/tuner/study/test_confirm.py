"""What is delivered where int8 gains nothing. Real models and scores; the clock is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from autoquant.evaluators import stopwatch
from autoquant.evaluators.base import Latency
from autoquant.evaluators.stopwatch import Stopwatch
from autoquant.tuner.study import executor
from autoquant.tuner.study.export import export_trial
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.result import Result
from autoquant.tuner.study.tune import tune

from tests import task, zoo

Clock = Callable[..., None]


def operators(proto: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in proto.graph.node}


@pytest.fixture
def made(tmp_path: Path) -> task.Task:
    """HardSwish in four operators: something to rewrite."""
    return task.write(tmp_path, zoo.hardswish_net())


def test_a_disturbance_while_the_winner_is_timed_is_not_believed(
    made: task.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopwatch, "_LONGER_PAUSE", 0.0)
    spoilt = 3

    def compare(self: Stopwatch, candidate: ort.InferenceSession, *, pairs: int, **options: Any) -> Latency:
        nonlocal spoilt
        final = pairs > executor.PAIRS
        spoilt -= final
        speedup = 1.0 + 0.2 * spoilt if final and spoilt >= 0 else 2.0
        return Latency(1.0, 1.0 / speedup, speedup, (0.98 * speedup, 1.02 * speedup), pairs)

    monkeypatch.setattr(Stopwatch, "compare", compare)
    result = run(made)
    assert result.status == "met"
    assert result.latency is not None
    assert result.latency["speedup"] == 2.0


def test_two_timings_that_agree_against_the_search_s_are_believed(
    made: task.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopwatch, "_LONGER_PAUSE", 0.0)

    def compare(self: Stopwatch, candidate: ort.InferenceSession, *, pairs: int, **options: Any) -> Latency:
        speedup = 1.5 if pairs > executor.PAIRS else 2.0
        return Latency(1.0, 1.0 / speedup, speedup, (0.98 * speedup, 1.02 * speedup), pairs)

    monkeypatch.setattr(Stopwatch, "compare", compare)
    latency = run(made).latency
    assert latency is not None
    assert latency["speedup"] == 1.5


@pytest.fixture
def clock(made: task.Task, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Times by what a model consists of: int8, float and rewritten, or float as given."""

    def install(int8: float, rewritten: float, plain: float = 1.0, width: float = 0.02) -> None:
        def speed(session: ort.InferenceSession) -> float:
            given = session._model_bytes
            model = onnx.ModelProto.FromString(given) if given else onnx.load(session._model_path)
            found = operators(model)
            return int8 if "QuantizeLinear" in found else plain if "Div" in found else rewritten

        def compare(self: Stopwatch, candidate: ort.InferenceSession, **options: Any) -> Latency:
            as_given = Path(self._baseline._model_path or "") == made.model
            speedup = speed(candidate) / (1.0 if as_given else speed(self._baseline))
            return Latency(1.0, 1.0 / speedup, speedup, (speedup * (1 - width), speedup * (1 + width)), 21)

        monkeypatch.setattr(Stopwatch, "compare", compare)

    return install


def run(of: task.Task, **options: Any) -> Result:
    values = {"objective": "latency", "strategy": "tpe", "max_trials": 2, "threads": 1, **options}
    return tune(Request(of.model, str(of.evaluate), TargetDrop.parse("50%"), out=of.out, **values))


def delivered(result: Result) -> set[str]:
    return operators(onnx.load(result.files["model"]))


def test_a_winner_in_int8_is_delivered_with_what_its_rewrites_bring_told_apart(made: task.Task, clock: Clock) -> None:
    clock(int8=2.1, rewritten=1.6)
    result = run(made, fix={"rewrite/hardswish": "on"})
    assert result.status == "met"
    assert "QuantizeLinear" in delivered(result)
    assert result.latency is not None
    assert result.latency["speedup"] == 2.1
    assert result.latency["rewrites_only"] == {"speedup": 1.6, "speedup_ci": [1.568, 1.632]}
    assert not result.evidence
    assert json.loads(json.dumps(result.to_json()))["certificate"]["of"] == len(result.certificate["layers"])  # type: ignore[index]


def test_rewrites_that_are_off_bring_nothing(made: task.Task, clock: Clock) -> None:
    clock(int8=2.1, rewritten=1.6)
    with open_study_of(made, run(made, max_trials=1)) as store:
        off = {name: "off" for name in store.choices if name.startswith("rewrite/")}
    assert off
    result = run(made, fix=off)
    assert result.latency is not None
    assert result.latency["rewrites_only"] is None


def open_study_of(made: task.Task, result: Result) -> Any:
    return open_study(made.out, result.study["name"])


@pytest.mark.parametrize("int8", [0.8, 1.3])
def test_the_rewritten_float_model_is_written_where_it_is_faster(
    int8: float, made: task.Task, clock: Clock, tmp_path: Path
) -> None:
    clock(int8=int8, rewritten=1.6)
    result = run(made, fix={"rewrite/hardswish": "on"})
    assert result.status == "no_gain"
    assert not delivered(result) & {"QuantizeLinear", "Div"}
    assert result.latency is not None
    assert result.latency["speedup"] == result.latency["rewrites_only"]["speedup"] == 1.6
    assert f"runs at {int8:.2f}×" in result.why
    assert "rewritten runs at 1.60× (1.57 to 1.63) of the file given" in result.why
    assert "take it" in result.why
    assert result.evidence
    assert all(candidate["speedup"] == int8 for candidate in result.evidence)
    assert result.tuned is not None
    assert abs(result.tuned.drop) < 0.05
    with open_study_of(made, result) as store:  # it is a trial like any other
        export_trial(store, "best", tmp_path / "best.onnx", made.model)
    assert (tmp_path / "best.onnx").read_bytes() == result.files["model"].read_bytes()


def test_a_little_less_speed_is_no_reason_to_give_int8_up(made: task.Task, clock: Clock) -> None:
    clock(int8=1.58, rewritten=1.6, width=0.001)
    result = run(made, fix={"rewrite/hardswish": "on"})
    assert result.status == "met"
    assert "QuantizeLinear" in delivered(result)


def test_the_float_model_is_written_where_everything_is_slower(made: task.Task, clock: Clock) -> None:
    clock(int8=0.8, rewritten=0.9)
    result = run(made)
    assert result.status == "no_gain"
    assert "Div" in delivered(result), "as given: nothing rewritten"
    assert "QuantizeLinear" not in delivered(result)
    assert "keep the float model; that is what was written" in result.why
    assert result.layers["int8"] == 0
    x = np.random.default_rng(1).standard_normal((4, 3, 16, 16)).astype(np.float32)
    before, after = (
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for path in (made.model, result.files["model"])
    )
    assert after == pytest.approx(before, abs=1e-5)


def test_no_difference_beyond_noise_keeps_the_smaller_file(made: task.Task, clock: Clock) -> None:
    """Not faster is no gain, but not slower is no harm either."""
    clock(int8=1.0, rewritten=1.0)
    result = run(made)
    assert result.status == "no_gain"
    assert "QuantizeLinear" in delivered(result)
    assert result.why.endswith("keep the float model")


def test_another_objective_delivers_what_was_asked_for(made: task.Task, clock: Clock) -> None:
    clock(int8=0.8, rewritten=1.6)
    result = run(made, objective="size")
    assert result.status == "met"
    assert "QuantizeLinear" in delivered(result)
    assert any("0.8× of the float model" in warning for warning in result.warnings)


def test_a_finished_study_with_nothing_gained_answers_at_once(made: task.Task, clock: Clock) -> None:
    clock(int8=0.8, rewritten=0.9)
    first = run(made)
    assert run(made).to_json() == first.to_json()
