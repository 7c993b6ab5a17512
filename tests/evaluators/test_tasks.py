"""The real eval files of the five public tasks."""

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from autoquant.evaluators.evaluation import load_evaluation
from autoquant.evaluators.recording import Recorder
from autoquant.evaluators.session import open_session

TASKS = os.environ.get("AUTOQUANT_TASKS")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not TASKS, reason="AUTOQUANT_TASKS is not set")]


@pytest.mark.parametrize("task", ["cls180", "ocr_v4", "minilm_sentiment", "effnet_lite0", "ocr_v6s"])
def test_real_eval_files(task: str) -> None:
    folder = Path(TASKS or "") / task
    file = folder / "eval.py"
    evaluation = load_evaluation(file, model_path=folder / "model.onnx")
    assert evaluation.form == "random_access"
    indices = np.linspace(0, evaluation.num_samples - 1, 48).astype(int)
    recorder = Recorder(open_session(folder / "model.onnx", threads=2))
    scores = evaluation.score_some(recorder, indices)
    plain = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(scores, evaluation.score_some(plain, indices))
    assert 0.5 < scores.mean() <= 1.0
    assert sum(len(next(iter(feed.values()))) for feed in recorder.feeds()) == recorder.total == 48
    timed = evaluation.latency_feed()
    assert {len(array) for array in timed.values()} == {1}
    assert recorder.run(None, dict(timed))
    assert sum(len(next(iter(feed.values()))) for feed in evaluation.calibration()) >= 100


def test_the_float_metric_of_cls180() -> None:
    folder = Path(TASKS or "") / "cls180"
    file = folder / "eval.py"
    evaluation = load_evaluation(file, model_path=folder / "model.onnx")
    assert evaluation.score(open_session(folder / "model.onnx")).metric == pytest.approx(0.9045, abs=0.002)
