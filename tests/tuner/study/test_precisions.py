"""Whole runs with other precisions than int8: searched, delivered, exported and replayed bit by bit, resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from autoquant.errors import OptionError
from autoquant.tuner.study.export import export_trial, quantize_recipe
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.result import Result
from autoquant.tuner.study.tune import tune

from tests import task
from tests.tuner.study.test_tune import FINE


@pytest.fixture
def fine(tmp_path: Path) -> task.Task:
    made = task.write(tmp_path)
    made.evaluate.write_text(FINE)
    return made


def run(of: task.Task, drop: str, **options: Any) -> Result:
    return tune(
        Request(of.model, str(of.evaluate), TargetDrop.parse(drop), out=of.out, threads=1, **options), lambda _: None
    )


def check_rebuilt(of: task.Task, result: Result) -> None:
    """Exported and replayed without data, the delivered file comes out bit by bit."""
    assert result.tuned is not None
    delivered = result.files["model"].read_bytes()
    exported = export_trial(open_study(of.out), result.tuned.trial, of.folder / "exported.onnx")
    assert exported.read_bytes() == delivered
    replayed, _ = quantize_recipe(of.model, result.files["recipe"], of.folder / "replayed.onnx")
    assert replayed.read_bytes() == delivered


def test_for_size_float_layers_are_stored_on_8_bits(fine: task.Task) -> None:
    result = run(fine, "0.4%", objective="size", max_trials=20)
    assert result.status == "met"
    layers = result.layers
    assert layers["fp32"] == 0
    assert layers["weight8"] >= 1
    assert sum(value for name, value in layers.items() if name != "total") == layers["total"] == 5
    assert not [warning for warning in result.warnings if "otherwise than the recipe says" in warning]
    check_rebuilt(fine, result)
    again = run(fine, "0.4%", objective="size", max_trials=20)
    assert again.to_json() == result.to_json()


def test_4_bits_where_they_are_asked_for(fine: task.Task) -> None:
    result = run(fine, "5%", objective="ops", fix={"layer/y": "int4"}, max_trials=6)
    assert result.layers["int4"] == 1
    assert result.layers["int8"] == 4
    check_rebuilt(fine, result)


def test_weights_alone(fine: task.Task) -> None:
    result = run(fine, "5%", objective="size", precisions=("weight8",))
    assert result.status == "met"
    assert result.layers == {"total": 5, "int8": 0, "weight8": 5, "fp16": 0, "fp32": 0}
    check_rebuilt(fine, result)


def test_an_npu_falls_back_to_16_bits(fine: task.Task) -> None:
    result = run(fine, "0.75%", target="qnn", max_trials=20)
    assert result.status == "met"
    assert result.objective == "ops"
    assert result.layers["int16"] >= 1
    assert result.layers["fp32"] == 0
    assert result.tuned is not None
    searched = open_study(fine.out).trial(result.tuned.trial)
    assert result.tuned.metric == pytest.approx(searched.metric, abs=1e-4)  # its file is not run on the CPU's kernels
    check_rebuilt(fine, result)
    recipe = json.loads(result.files["recipe"].read_text())
    assert recipe["target"] == "qnn"
    assert all({"scale", "zero_point", "dtype"} == entry["wide"].keys() for entry in recipe["activations"].values())


def test_a_precision_that_the_target_lacks_is_refused_before_anything_runs(fine: task.Task) -> None:
    with pytest.raises(OptionError, match="'int16' is not to be had on the target cpu"):
        run(fine, "5%", precisions=("int16",))
    assert not fine.out.exists()
