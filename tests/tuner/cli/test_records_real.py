"""Records of a real model: a study, its export in every format, and models and a study made of what was exported."""

from __future__ import annotations

import filecmp
import json
import os
import struct
from pathlib import Path

import pytest
from autoquant.tuner.cli.main import main
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.quantization.kernels import ran

TASKS = os.environ.get("AUTOQUANT_TASKS", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TASKS, reason="AUTOQUANT_TASKS names no folder with the public tasks"),
]


def tune(folder: Path, out: Path, *more: str) -> dict[str, float]:
    """One trial, all layers in int8; its metric and the float model's."""
    typed = ["tune", "--model", str(folder / "model.onnx"), "--eval", str(folder / "eval.py"), "--out", str(out)]
    typed += ["--objective", "ops", "--max-trials", "1", "--target-drop", "50%", "--stop", "first", *more]
    assert main(typed) == 0
    result = json.loads((out / "result.json").read_text())
    return {"float": result["baseline"]["metric"], "tuned": result["tuned"]["metric"]}


@pytest.mark.parametrize("name", ["cls180", "minilm_sentiment"])
def test_exported_imported_and_tuned_again(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = Path(TASKS) / name, tmp_path / "out"
    model = folder / "model.onnx"
    first = tune(folder, out)
    files = {form: tmp_path / form for form in ("tensorrt-cache", "qnn-encodings", "json-record")}
    for form, path in files.items():
        assert main(["export", str(out), "--format", form, "--out", str(path)]) == 0
    record = json.loads(files["json-record"].read_text())
    activations = {name: t for name, t in record["tensors"].items() if t["kind"] == "activation"}
    lines = files["tensorrt-cache"].read_text().splitlines()[1:]
    scales = {line.rpartition(": ")[0]: struct.unpack("!f", bytes.fromhex(line[-8:]))[0] for line in lines}
    # What a rewrite made by a factor stands in the files under the name of what it was made from.
    assert all(f"{name}/scaled" in activations for name in scales.keys() - activations.keys())
    assert len(scales) > len(activations) / 2
    encodings = json.loads(files["qnn-encodings"].read_text())["activation_encodings"]
    assert set(encodings) == set(scales)
    for tensor in scales.keys() & activations.keys():
        low, high = activations[tensor]["low"], activations[tensor]["high"]
        assert scales[tensor] == pytest.approx(max(-low, high) / 127, rel=1e-2)
        assert (encodings[tensor][0]["min"], encodings[tensor][0]["max"]) == pytest.approx((low, high))

    again = tmp_path / "again.onnx"
    typed = ["quantize", "--model", str(model), "--recipe", str(out / "recipe.json"), "--out", str(again)]
    assert main([*typed, "--ranges", str(files["json-record"])]) == 0
    assert filecmp.cmp(again, out / "model.onnx", shallow=False)

    capsys.readouterr()
    alone = ["quantize", "--model", str(model), "--ranges", str(files["tensorrt-cache"]), "--out", str(again)]
    assert main(alone) == 0
    layers = ran(again, analyse(load(model)))
    assert f"{sum(precision == 'int8' for precision in layers.values())} layers int8" in capsys.readouterr().out

    imported = tune(folder, tmp_path / "second", "--ranges", str(files["qnn-encodings"]))
    assert imported["float"] == first["float"]
    assert imported["tuned"] == pytest.approx(first["tuned"], abs=0.02)
