"""What `import autoquant` shows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import autoquant
import numpy as np
import onnx
import onnxruntime as ort

from tests import task


def test_the_public_names_are_these() -> None:
    assert sorted(autoquant.__all__) == ["AutoquantError", "Result", "__version__", "export", "recover", "tune"]
    for name in autoquant.__all__:
        assert getattr(autoquant, name) is not None


def test_importing_it_is_light() -> None:
    heavy = "[m for m in ('onnxruntime', 'optuna', 'onnx', 'pandas') if m in sys.modules]"
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, autoquant; print({heavy})"], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_a_function_is_an_evaluation_and_any_trial_comes_back(tmp_path: Path) -> None:
    made = task.write(tmp_path)
    data = np.load(tmp_path / "data.npz")

    def evaluate(session: ort.InferenceSession) -> Iterator[np.ndarray]:
        for i in range(0, len(data["x"]), 32):
            yield session.run(None, {"x": data["x"][i : i + 32]})[0].argmax(-1) == data["labels"][i : i + 32]

    options = {"objective": "ops", "max_trials": 2, "patience": 9, "holdout": "25%", "threads": 1}
    result = autoquant.tune(made.model, evaluate, "5%", out=made.out, **options)
    assert result.status == "met"
    assert result.holdout is not None
    assert result.holdout["samples"] == 24
    assert {"model", "recipe", "result", "report"} <= set(result.files)
    assert all(path.exists() for path in result.files.values())
    recovered = autoquant.recover(made.model, made.out)
    assert recovered == onnx.load(made.out / "model.onnx")
    cache = autoquant.export(made.out, tmp_path / "scales", format="tensorrt-cache")
    assert cache.read_text().startswith("TRT-")
    again = autoquant.tune(made.model, evaluate, "5%", out=tmp_path / "again", ranges=cache, **options)
    assert again.status in ("met", "no_gain")
    assert json.loads((tmp_path / "again" / "result.json").read_text())["study"]["name"] != result.study["name"]
    copy = autoquant.export(made.out, tmp_path / "copy.onnx", model=made.model)
    assert copy.read_bytes() == (made.out / "model.onnx").read_bytes()
