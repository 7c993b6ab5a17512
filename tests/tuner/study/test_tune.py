"""Whole runs on a small model: real ONNX Runtime, real SQLite."""

from __future__ import annotations

import errno
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from autoquant.errors import (
    CalibrationError,
    ChangedInputsError,
    EvaluationError,
    OutputError,
    StudyError,
    StudyLockedError,
)
from autoquant.evaluators.device import CUDA_PROVIDER, loads
from autoquant.evaluators.evaluation import load_evaluation
from autoquant.strategies.words import UNCORRECTED
from autoquant.tuner.study import executor as executors
from autoquant.tuner.study.bench import Bench
from autoquant.tuner.study.events import BaselineScored, Event, Noted, TrialFinished
from autoquant.tuner.study.export import export_trial, quantize_recipe
from autoquant.tuner.study.lock import FolderLock
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.result import Result
from autoquant.tuner.study.tune import tune

from tests import task, zoo

# Its metric moves with every float rounding, so that a strict target needs fallbacks.
FINE = """
from pathlib import Path

import numpy as np
import onnxruntime as ort

here = Path(__file__).parent
data = np.load(here / "data.npz")
session = ort.InferenceSession(str(here / "model.onnx"), providers=["CPUExecutionProvider"])
reference = session.run(None, {"x": data["x"]})[0]
num_samples = len(data["x"])
score_range = (0.0, 1.0)


def score(session, indices):
    outputs = session.run(None, {"x": data["x"][indices]})[0]
    expected = reference[indices]
    error = np.linalg.norm(outputs - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    return np.clip(1.0 - error, 0.0, 1.0)


def calibration():
    for i in range(0, 32, 8):
        yield {"x": data["x"][i : i + 8]}
"""

STRICT, UNREACHABLE = "0.75%", "0.00001%"
"""All-int8 loses about 1 %, and of the layers alone some lose less than half of it."""


@pytest.fixture
def coarse(tmp_path: Path) -> task.Task:
    """All-int8 holds a loose target."""
    return task.write(tmp_path)


@pytest.fixture
def fine(tmp_path: Path) -> task.Task:
    """Every layer costs a little."""
    made = task.write(tmp_path)
    made.evaluate.write_text(FINE)
    return made


def request(of: task.Task, drop: str = "5%", **options: Any) -> Request:
    options.setdefault("objective", "ops")
    options.setdefault("threads", 1)
    return Request(of.model, str(of.evaluate), TargetDrop.parse(drop), out=of.out, **options)


def run(of: task.Task, drop: str = "5%", **options: Any) -> tuple[Result, list[Event]]:
    events: list[Event] = []
    return tune(request(of, drop, **options), events.append), events


def finished(events: list[Event]) -> list[TrialFinished]:
    return [event for event in events if isinstance(event, TrialFinished)]


def plain(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_the_delivered_file_is_what_the_result_says(coarse: task.Task) -> None:
    result, _ = run(coarse)
    assert result.status == "met"
    assert result.layers == {"total": 5, "int8": 5, "fp16": 0, "fp32": 0}
    assert result.tuned is not None
    path = result.files["model"]
    onnx.checker.check_model(str(path), full_check=True)
    data = np.load(coarse.folder / "data.npz")
    accuracy = float(np.mean(plain(path).run(None, {"x": data["x"]})[0].argmax(-1) == data["labels"]))
    assert result.tuned.metric == accuracy
    assert result.tuned.drop == pytest.approx(1.0 - accuracy)
    assert result.size["tuned_bytes"] == path.stat().st_size
    assert result.trials["evaluations"] == result.trials["complete"] + 1
    assert not list(coarse.out.glob(".staged*"))
    assert Result.from_json(json.loads(json.dumps(result.to_json()))).to_json() == result.to_json()


def test_a_strict_target_is_held_with_fallbacks(fine: task.Task) -> None:
    loose, _ = run(fine, "5%", fix=UNCORRECTED)
    assert loose.tuned is not None
    assert loose.tuned.drop > 0.0075
    strict, events = run(fine, STRICT, max_trials=25, fix=UNCORRECTED)
    assert strict.status == "met"
    assert strict.tuned is not None
    assert 0 < strict.layers["int8"] < 5
    assert strict.tuned.drop <= 0.0075
    first = finished(events)[0]
    assert first.reused, "the all-int8 score of the first study is taken over"
    assert strict.trials["evaluations"] < strict.trials["total"] + 1


def test_a_finished_study_answers_at_once(fine: task.Task) -> None:
    first, _ = run(fine, STRICT, max_trials=8)
    again, events = run(fine, STRICT, max_trials=8)
    assert not finished(events)
    assert again.to_json() == first.to_json()


def test_a_larger_budget_goes_on(fine: task.Task) -> None:
    first, _ = run(fine, STRICT, max_trials=3, strategy="random")
    more, events = run(fine, STRICT, max_trials=5, strategy="random")
    assert len(finished(events)) == more.trials["total"] - first.trials["total"] > 0
    assert not any(event.reused for event in finished(events))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Result]:
    """The result of a run that nobody stops, by its strategy; each is run once."""

    @functools.cache
    def whole(strategy: str) -> Result:
        made = task.write(tmp_path_factory.mktemp(strategy))
        made.evaluate.write_text(FINE)
        return run(made, STRICT, max_trials=6, strategy=strategy)[0]

    return whole


@pytest.mark.parametrize(("strategy", "after"), [("auto", 0), ("auto", 1), ("auto", 2), ("tpe", 3), ("random", 4)])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    fine: task.Task,
    strategy: str,
    after: int,
    uninterrupted: Callable[[str], Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: dict[str, Any] = {"max_trials": 6, "strategy": strategy}
    whole = uninterrupted(strategy)
    score = executors.Executor.score
    calls = 0

    def stopped(self: Any, *args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return score(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(executors.Executor, "score", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(fine, STRICT, **options)
    resumed, _ = run(fine, STRICT, **options)
    assert resumed.tuned is not None
    assert whole.tuned is not None
    assert resumed.tuned.metric == whole.tuned.metric
    assert resumed.trials == whole.trials
    with open_study(fine.out) as store:
        assert sum(record.interrupted for record in store.trials()) == 1


def test_changed_inputs_are_refused_by_name(fine: task.Task) -> None:
    run(fine, max_trials=1)
    text = fine.evaluate.read_text()
    fine.evaluate.write_text(text + "\n# another word\n")
    with pytest.raises(ChangedInputsError, match="the eval file has changed"):
        run(fine, max_trials=1)
    fine.evaluate.write_text(text)
    proto = onnx.load(fine.model)
    proto.producer_name = "someone else"
    onnx.save(proto, fine.model)
    with pytest.raises(ChangedInputsError, match="the model has changed"):
        run(fine, max_trials=1)
    result, _ = run(fine, max_trials=1, fresh=True)
    assert result.status == "met"


@pytest.mark.parametrize(
    ("drop", "options", "stored", "asked"),
    [
        ("4%", {}, "--target-drop 5%", "--target-drop 4%"),
        ("0.05", {}, "--target-drop 5%", "--target-drop 0.05"),
        ("5%", {"objective": "size"}, "--objective ops", "--objective size"),
        ("4%", {"objective": "ops,drop"}, "--target-drop 5% --objective ops", "--target-drop 4% --objective ops,drop"),
    ],
)
def test_a_named_study_is_not_taken_for_another_search(
    fine: task.Task, drop: str, options: dict[str, Any], stored: str, asked: str
) -> None:
    run(fine, "5%", max_trials=1, study_name="mine")
    with pytest.raises(StudyError) as error:
        run(fine, drop, max_trials=1, study_name="mine", **options)
    first, second = str(error.value).splitlines()
    assert first.startswith("the study 'mine' in ")
    assert first.endswith(f" is for {stored}, but this run asks for {asked}.")
    assert second == "Give this one another --study-name, or start anew with --fresh."
    other, events = run(fine, drop, max_trials=1, study_name="other", **options)
    assert [event.reused for event in finished(events)] == [True]
    anew, events = run(fine, drop, max_trials=1, study_name="mine", fresh=True, **options)
    assert [event.reused for event in finished(events)] == [False]
    assert (anew.study["name"], other.study["name"]) == ("mine", "other")


def test_a_named_study_goes_on_with_another_strategy_and_budget(fine: task.Task) -> None:
    first, _ = run(fine, STRICT, max_trials=2, study_name="mine")
    other, events = run(fine, STRICT, max_trials=4, strategy="random", study_name="mine")
    assert len(finished(events)) == other.trials["total"] - first.trials["total"] == 2
    _, events = run(fine, STRICT, max_trials=4, strategy="tpe", study_name="mine")
    assert not finished(events), "the budget is spent"
    fixed, _ = run(fine, STRICT, max_trials=5, study_name="mine", fix={"weight/granularity": "per_tensor"})
    assert fixed.tuned is not None
    with open_study(fine.out, "mine") as store:
        assert store.trial(fixed.tuned.trial).recipe["weight/granularity"] == "per_tensor"


def test_changed_data_is_noticed(coarse: task.Task) -> None:
    run(coarse, max_trials=1)
    path = coarse.folder / "data.npz"
    data = dict(np.load(path))
    data["labels"] = (data["labels"] + 1) % 10
    np.savez(path, **data)
    with pytest.raises(ChangedInputsError, match="data changed"):
        run(coarse, max_trials=2)


def test_without_calibration_the_evaluation_s_own_samples_serve(tmp_path: Path) -> None:
    made = task.write(tmp_path, calibration=False)
    result, events = run(made)
    assert result.status == "met"
    assert any(isinstance(event, Noted) and "calibration()" in event.text for event in events)
    (made.out / "feeds.npz").unlink()
    again, events = run(made, "3%")
    assert again.status == "met"
    assert any(isinstance(event, BaselineScored) for event in events)


def test_an_empty_calibration_is_an_error(coarse: task.Task) -> None:
    coarse.evaluate.write_text(coarse.evaluate.read_text() + "\n\ndef calibration():\n    return iter(())\n")
    with pytest.raises(CalibrationError, match="yielded nothing"):
        run(coarse)


def test_a_target_out_of_reach_is_not_met_and_says_why(fine: task.Task) -> None:
    result, _ = run(fine, UNREACHABLE, max_trials=1)
    assert result.status == "not_met"
    assert result.exit_status == 1
    assert "--max-trials 1" in result.why
    assert plain(result.files["model"]).get_inputs()


def test_next_to_nothing_in_int8_is_no_gain(fine: task.Task) -> None:
    result, _ = run(fine, UNREACHABLE, max_trials=20)
    assert result.status in ("no_gain", "not_met")
    assert result.exit_status == 1


def test_a_failing_metric_is_reported_as_the_user_s(coarse: task.Task) -> None:
    broken = coarse.evaluate.read_text().replace("    logits =", "    raise ValueError('mine')\n    logits =")
    coarse.evaluate.write_text(broken)
    with pytest.raises(EvaluationError) as caught:
        run(coarse)
    assert "eval.py" in caught.value.traceback
    assert "mine" in caught.value.traceback


def test_failing_candidates_are_failed_trials(coarse: task.Task) -> None:
    text = coarse.evaluate.read_text()
    text = text.replace(
        "    logits =", "    global calls\n    calls += 1\n    if calls == 2: raise ValueError('mine')\n    logits ="
    )
    coarse.evaluate.write_text(text + "\ncalls = 0\n")
    _, events = run(coarse, max_trials=4)
    assert [event.state for event in finished(events)][:2] == ["failed", "complete"]
    assert "mine" in finished(events)[0].error


def test_a_second_run_in_the_folder_is_turned_away(coarse: task.Task) -> None:
    coarse.out.mkdir()
    with (
        FolderLock(coarse.out, "autoquant tune --model other.onnx"),
        pytest.raises(StudyLockedError, match=r"other\.onnx"),
    ):
        run(coarse)


@pytest.mark.parametrize("objective", ["size", "latency"])
def test_other_objectives(coarse: task.Task, objective: str) -> None:
    result, events = run(coarse, objective=objective, max_trials=4)
    assert result.objective == objective
    assert result.latency is not None
    assert result.latency["pairs"] >= 21
    costs = [event.cost for event in finished(events)]
    assert all(cost is not None and cost > 0 for cost in costs)
    if objective == "size":
        assert result.status == "met"
        assert costs[0] is not None
        assert costs[0] < 1
    else:
        assert result.status in ("met", "no_gain")
        assert all(event.speedup for event in finished(events))


@pytest.mark.parametrize("strategy", ["tpe", "random", "exhaustive"])
def test_every_strategy_runs(fine: task.Task, strategy: str) -> None:
    result, events = run(fine, "1%", strategy=strategy, max_trials=4)
    assert len(finished(events)) == 4
    assert result.trials["total"] == 4


def test_options_reach_the_space(fine: task.Task) -> None:
    result, _ = run(fine, keep_float=("stem",), fix={"weight/granularity": "per_tensor"}, max_trials=3)
    assert result.layers["fp32"] == 1
    with open_study(fine.out) as store:
        best = store.best()
    assert best is not None
    assert best.recipe["weight/granularity"] == "per_tensor"
    assert best.recipe["layer/stem"] == "fp32"


def test_timeout_ends_the_run_and_the_next_goes_on(fine: task.Task) -> None:
    result, _ = run(fine, STRICT, timeout=1e-6, strategy="random")
    assert result.trials["total"] == 0
    assert result.status == "not_met"
    assert result.tuned is None
    more, _ = run(fine, STRICT, max_trials=5, strategy="random")
    assert more.trials["total"] == 5


def test_any_trial_is_rebuilt_bit_for_bit_from_the_study_alone(fine: task.Task, tmp_path: Path) -> None:
    result, _ = run(fine, STRICT, max_trials=6)
    assert result.tuned is not None
    evaluation = load_evaluation(str(fine.evaluate), model_path=fine.model)
    alone = tmp_path / "elsewhere" / "copy.db"
    alone.parent.mkdir()
    shutil.copy(fine.out / "study.db", alone)
    with open_study(alone) as store:
        export_trial(store, result.tuned.trial, tmp_path / "again.onnx", fine.model)
        assert (tmp_path / "again.onnx").read_bytes() == result.files["model"].read_bytes()
        for record in store.trials():
            path = export_trial(store, record.number, tmp_path / "one.onnx", fine.model)
            scored = evaluation.score(plain(path))
            if record.state == "pruned":  # its metric is an estimate, its drop a lower bound
                assert record.drop is not None
                assert (
                    result.target.drop(result.baseline_metric, scored.metric, True) >= record.drop > result.target.value
                )
                continue
            assert scored.metric == pytest.approx(record.metric, abs=1e-7)
        with pytest.raises(StudyError, match="no trial 99"):
            export_trial(store, 99, tmp_path / "x.onnx", fine.model)


def test_a_recipe_is_replayed_bit_for_bit_and_edited_by_hand(fine: task.Task, tmp_path: Path) -> None:
    result, _ = run(fine, max_trials=1)
    path, layers = quantize_recipe(fine.model, result.files["recipe"], tmp_path / "again.onnx")
    assert path.read_bytes() == result.files["model"].read_bytes()
    recipe = json.loads(result.files["recipe"].read_text())
    recipe["parameters"]["layer/stem"] = "fp32"
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(recipe))
    _, fewer = quantize_recipe(fine.model, edited, tmp_path / "edited.onnx")
    assert layers["stem"] == "int8"
    assert fewer["stem"] == "fp32"
    assert sum(value == "int8" for value in fewer.values()) == 4


def test_simulated_scores_screen_and_real_ones_decide(fine: task.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA: the search scores simulated candidates, the delivered one is scored on the integer kernels."""
    real = Bench.on
    calls = 0

    def first_simulated(*args: Any) -> Bench:
        nonlocal calls
        calls += 1
        bench = real(*args)
        return Bench(bench.device, bench.target, bench.threads, simulated=True) if calls == 1 else bench

    monkeypatch.setattr(Bench, "on", first_simulated)
    result, _ = run(fine, "1%", max_trials=5)
    assert result.status == "met"
    assert result.scored_on["kernels"] == "fused"
    with open_study(fine.out) as store:
        kinds = [record.scored_on["kernels"] for record in store.trials()]
    assert kinds[0] == "simulated"
    assert kinds[-1] == "fused"


STRANGE = [
    zoo.transformer,
    zoo.hardswish_net,
    zoo.shared_weight_net,
    zoo.constant_weight_net,
    zoo.if_net,
    zoo.loop_net,
    zoo.half_net,
    zoo.quantized_net,
    zoo.two_input_net,
    zoo.slash_names_net,
    zoo.names_net,
]


@pytest.mark.gpu
@pytest.mark.skipif(not loads(CUDA_PROVIDER), reason="no CUDA here")
def test_on_cuda_simulated_scores_agree_with_the_integer_kernels(fine: task.Task) -> None:
    result, _ = run(fine, "5%", device="cuda", max_trials=3)
    assert result.status == "met"
    assert result.scored_on["kernels"] == "fused"
    with open_study(fine.out) as store:
        trials = [record for record in store.trials() if record.state == "complete"]
    simulated = {record.recipe: record for record in trials if record.scored_on["kernels"] == "simulated"}
    fused = [record for record in trials if record.scored_on["kernels"] == "fused"]
    assert simulated
    assert fused
    assert simulated[fused[0].recipe].scored_on["provider"] == CUDA_PROVIDER
    assert fused[0].metric == pytest.approx(simulated[fused[0].recipe].metric, abs=0.01)


@pytest.mark.parametrize(
    ("build", "external"), [*((build, False) for build in STRANGE), (zoo.slash_names_net, True), (zoo.half_net, True)]
)
def test_what_a_stranger_would_bring(build: Callable[[], onnx.ModelProto], external: bool, tmp_path: Path) -> None:
    """Metric: closeness of the outputs to the float model's, a Python callable without calibration samples."""
    proto = build()
    keep = zoo.external if external else zoo.save
    model = keep(proto, tmp_path / "model.onnx")
    feeds = zoo.feeds(proto, 8, batch=4)
    given = plain(model)
    expected = [np.asarray(given.run(None, feed)[0], np.float64) for feed in feeds]

    def closeness(session: ort.InferenceSession) -> Iterator[float]:
        for feed, reference in zip(feeds, expected, strict=True):
            error = np.linalg.norm(session.run(None, feed)[0] - reference) / np.linalg.norm(reference)
            yield max(0.0, 1.0 - float(error))

    result = tune(
        Request(
            model,
            closeness,
            TargetDrop.parse("20%"),
            out=tmp_path / "out",
            objective="ops",
            max_trials=3,
            threads=1,
        )
    )
    assert result.trials["complete"] >= 1
    assert not any("otherwise than the recipe" in warning for warning in result.warnings)
    session = plain(result.files["model"])
    assert [(i.name, i.type) for i in session.get_inputs()] == [(i.name, i.type) for i in given.get_inputs()]
    assert [(o.name, o.type) for o in session.get_outputs()] == [(o.name, o.type) for o in given.get_outputs()]


def test_a_full_disk_ends_in_words_and_loses_nothing(fine: task.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    from autoquant.tuner.study import search

    saved = 0

    def full(*args: Any) -> None:
        nonlocal saved
        saved += 1
        if saved == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(search, "save_samples", full)
        with pytest.raises(OutputError, match="No space left on device"):
            run(fine, STRICT, max_trials=6)
    result, events = run(fine, STRICT, max_trials=6)
    assert result.status == "met"
    assert len(finished(events)) == result.trials["total"] - 1


def test_scores_of_another_machine_are_not_compared(fine: task.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    run(fine, STRICT, max_trials=3, fix=UNCORRECTED)
    real = Bench.scored_on
    monkeypatch.setattr(Bench, "scored_on", lambda self: {**real(self), "instruction_set": "another"})
    result, events = run(fine, STRICT, max_trials=5, fix=UNCORRECTED)
    assert any(isinstance(event, Noted) and "another machine" in event.text for event in events)
    assert result.trials["total"] == 5


def test_a_layer_the_builder_refuses_is_never_offered(fine: task.Task) -> None:
    proto = onnx.load(fine.model)
    weight = next(t for t in proto.graph.initializer if t.name == "pointwise.w")
    values = np.array(onnx.numpy_helper.to_array(weight))
    values[3, 0] = np.inf
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(proto, fine.model)
    fine.evaluate.write_text(
        "import numpy as np\n\n\ndef evaluate(session):\n"
        '    x = np.random.default_rng(0).standard_normal((8, 3, 16, 16)).astype("float32")\n'
        '    return float(np.isfinite(session.run(None, {"x": x})[0]).mean()) + 1.0\n'
    )
    run(fine, "90%", max_trials=2)
    with open_study(fine.out) as store:
        assert all(record.recipe["layer/pointwise"] == "fp32" for record in store.trials())


def test_an_eval_file_may_be_mended_until_something_was_scored(coarse: task.Task) -> None:
    good = coarse.evaluate.read_text()
    coarse.evaluate.write_text(good.replace("    logits =", "    raise ValueError('mine')\n    logits ="))
    with pytest.raises(EvaluationError):
        run(coarse)
    coarse.evaluate.write_text(good)
    result, _ = run(coarse)
    assert result.status == "met"


def test_the_best_trial_is_the_delivered_one(fine: task.Task, tmp_path: Path) -> None:
    result, _ = run(fine, UNREACHABLE, max_trials=3, strategy="random")
    assert result.tuned is not None
    with open_study(fine.out) as store:
        assert store.best() is None, "nothing holds the target; the best effort was delivered"
        export_trial(store, "best", tmp_path / "best.onnx", fine.model)
    assert (tmp_path / "best.onnx").read_bytes() == result.files["model"].read_bytes()


def test_ctrl_c_while_the_files_are_written(coarse: task.Task, monkeypatch: pytest.MonkeyPatch) -> None:
    from autoquant.tuner.study import deliver

    def stopped(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deliver, "_place", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(coarse)
    assert not (coarse.out / "model.onnx").exists(), "half a delivery is none"
    result, events = run(coarse)
    assert not finished(events), "every trial is still there"
    assert result.status == "met"
    assert plain(result.files["model"]).get_inputs()
