"""Whole runs on a model with rewrites: search, delivery, export and replay agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from autoquant.errors import OptionError
from autoquant.strategies.base import Recipe
from autoquant.strategies.words import GLOBAL_CHOICES, REWRITE_CHOICES
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.rewrite.registry import rewritten
from autoquant.tuner.graph.serialize import inline
from autoquant.tuner.quantization.kernels import ran
from autoquant.tuner.study.export import export_trial, quantize_recipe
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.result import Result
from autoquant.tuner.study.space import build_space
from autoquant.tuner.study.tune import tune
from autoquant.tuner.targets.profiles import get

from tests import task, zoo


@pytest.fixture
def hardswish(tmp_path: Path) -> task.Task:
    return task.write(tmp_path, zoo.hardswish_net())


def run(of: task.Task, **options: Any) -> Result:
    options = {"objective": "ops", "threads": 1, "max_trials": 3} | options
    return tune(Request(of.model, str(of.evaluate), TargetDrop.parse("20%"), out=of.out, **options))


def parameters(result: Result) -> dict[str, str]:
    found: dict[str, str] = json.loads(result.files["recipe"].read_text())["parameters"]
    return found


def test_delivered_exported_and_replayed_are_one(hardswish: task.Task, tmp_path: Path) -> None:
    result = run(hardswish)
    assert result.tuned is not None
    assert parameters(result)["rewrite/hardswish"] == "on"
    delivered = result.files["model"].read_bytes()
    onnx.checker.check_model(delivered, full_check=True)
    with open_study(str(hardswish.out)) as store:
        assert export_trial(store, result.tuned.trial, tmp_path / "a.onnx").read_bytes() == delivered
    path, layers = quantize_recipe(hardswish.model, result.files["recipe"], tmp_path / "b.onnx")
    assert path.read_bytes() == delivered
    assert ran(path, analyse(load(hardswish.model))) == dict(layers)
    assert "Clip" not in {node.op_type for node in onnx.load(path).graph.node}


def test_switched_by_hand_it_still_runs(hardswish: task.Task, tmp_path: Path) -> None:
    result = run(hardswish)
    data = json.loads(result.files["recipe"].read_text())
    x = np.load(hardswish.folder / "data.npz")["x"][:8]
    answers = []
    for choice in REWRITE_CHOICES:
        data["parameters"].update({name: choice for name in data["parameters"] if name.startswith("rewrite/")})
        edited = tmp_path / "edited.json"
        edited.write_text(json.dumps(data))
        path, layers = quantize_recipe(hardswish.model, edited, tmp_path / f"{choice}.onnx")
        assert set(layers.values()) == {"int8"}
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        answers.append(session.run(None, {"x": x})[0])
    assert np.linalg.norm(answers[0] - answers[1]) < 0.05 * np.linalg.norm(answers[0])


def test_fixed_off(hardswish: task.Task) -> None:
    result = run(hardswish, fix={"rewrite/hardswish": "off"}, max_trials=2)
    assert parameters(result)["rewrite/hardswish"] == "off"
    assert "Clip" in {node.op_type for node in onnx.load(result.files["model"]).graph.node}


def test_an_unknown_rewrite_is_refused(hardswish: task.Task) -> None:
    with pytest.raises(OptionError, match=r"rewrite/softswish(.|\n)*rewrite/hardswish"):
        run(hardswish, fix={"rewrite/softswish": "off"})


def test_the_space_has_them_after_the_global_choices(hardswish: task.Task) -> None:
    analysis = analyse(load(hardswish.model))
    space = build_space(analysis, get("cpu"), calibrated=analysis.tensors, rewrites=["a", "b"])
    first = len(GLOBAL_CHOICES)
    assert list(space.choices)[first : first + 2] == ["rewrite/a", "rewrite/b"]
    assert space.choices["rewrite/a"] == space.offered["rewrite/a"] == REWRITE_CHOICES
    assert space.rewrites == ("rewrite/a", "rewrite/b")
    assert space.canonical(Recipe({"rewrite/b": "off"}))["rewrite/b"] == "off"


def test_tensorrt_gets_the_graph_as_it_is(hardswish: task.Task) -> None:
    analysis = analyse(load(hardswish.model))
    space = build_space(analysis, get("tensorrt"), calibrated=analysis.tensors, rewrites=["a"])
    assert space.offered["rewrite/a"] == ("off",)
    assert space.choices["rewrite/a"] == REWRITE_CHOICES


def test_onnx_takes_the_operators_of_onnx_runtime(tmp_path: Path) -> None:

    model = rewritten(load(zoo.save(zoo.transformer(), tmp_path / "m.onnx"))).model
    assert "Gelu" in {node.op_type for node in model.proto.graph.node}
    onnx.checker.check_model(inline(model.proto, model.weights), full_check=True)
