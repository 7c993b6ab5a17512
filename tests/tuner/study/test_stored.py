"""Whole runs on models with tables, recurrent layers and ConvTransposes; what the space offers of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from autoquant.errors import OptionError
from autoquant.strategies.base import Space
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.quantization.kernels import ran
from autoquant.tuner.study.export import export_trial, quantize_recipe
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.request import Request, TargetDrop
from autoquant.tuner.study.result import Result
from autoquant.tuner.study.space import build_space
from autoquant.tuner.study.tune import tune
from autoquant.tuner.targets.profiles import get

from tests import exports, zoo

EVAL = """
from pathlib import Path

import numpy as np
import onnxruntime as ort

here = Path(__file__).parent
with np.load(here / "data.npz") as data:
    feeds = [{{name[2:]: data[name] for name in data.files if name.startswith(f"{{i}}/")}} for i in range({count})]
float_session = ort.InferenceSession(str(here / "model.onnx"), providers=["CPUExecutionProvider"])
expected = [float_session.run(None, feed)[0] for feed in feeds]
num_samples = len(feeds)
score_range = (0.0, 1.0)


def score(session, indices):
    errors = [np.linalg.norm(session.run(None, feeds[i])[0] - expected[i]) for i in indices]
    return [max(0.0, 1.0 - error / np.linalg.norm(expected[i])) for error, i in zip(errors, indices)]


def calibration():
    yield from feeds[:4]
"""


def request(name: str, folder: Path, **other: object) -> Request:
    proto = exports.ALL[name]()
    model = zoo.save(proto, folder / "model.onnx")
    feeds = exports.feeds(proto, 8)
    np.savez(
        folder / "data.npz", **{f"{i}/{key}": value for i, feed in enumerate(feeds) for key, value in feed.items()}
    )
    evaluate = folder / "eval.py"
    evaluate.write_text(EVAL.format(count=len(feeds)))
    defaults = {"target_drop": TargetDrop.parse("5%"), "objective": "size", "target": "cpu", "max_trials": 12}
    return Request(model=model, evaluate=str(evaluate), out=folder / "out", threads=1, **(defaults | other))


def rebuilt_alike(result: Result, folder: Path) -> None:
    """The delivered model comes again from the study, and from its recipe, without data."""
    delivered = result.files["model"].read_bytes()
    with open_study(str(folder / "out")) as store:
        assert export_trial(store, "best", folder / "again.onnx").read_bytes() == delivered
    quantize_recipe(folder / "model.onnx", result.files["recipe"], folder / "replayed.onnx")
    assert (folder / "replayed.onnx").read_bytes() == delivered


def test_tables_where_size_counts(tmp_path: Path) -> None:
    result = tune(request("words", tmp_path))
    assert result.status == "met"
    assert result.layers["total"] == 1  # tables are none
    assert result.tables == {"total": 2, "weight8": 2}
    recipe = json.loads(result.files["recipe"].read_text())["parameters"]
    assert {v for name, v in recipe.items() if name.startswith("table/")} == {"weight8"}
    assert result.size["tuned_bytes"] < 0.4 * result.size["baseline_bytes"]
    rebuilt_alike(result, tmp_path)
    assert tune(request("words", tmp_path)).tuned == result.tuned


@pytest.mark.parametrize(("name", "stored"), [("gru", 2), pytest.param("decoder", 2, marks=pytest.mark.slow)])
def test_layers_without_an_integer_kernel_where_size_counts(name: str, stored: int, tmp_path: Path) -> None:
    result = tune(request(name, tmp_path))
    assert result.status == "met"
    assert result.layers["weight8"] == stored
    assert result.size["tuned_bytes"] < 0.6 * result.size["baseline_bytes"]
    found = ran(result.files["model"], analyse(load(tmp_path / "model.onnx")))
    assert list(found.values()).count("weight8") == stored
    rebuilt_alike(result, tmp_path)


def test_lstms_run_on_integers_whatever_counts(tmp_path: Path) -> None:
    result = tune(request("bilstm", tmp_path, objective="ops"))
    assert result.status == "met"
    assert result.layers == {"total": 3, "int8": 3, "fp16": 0, "fp32": 0}
    assert result.tables is None
    rebuilt_alike(result, tmp_path)


def space(name: str, folder: Path, **options: object) -> Space:
    analysis = analyse(load(zoo.save(exports.ALL[name](), folder / "model.onnx")))
    return build_space(analysis, get("cpu"), calibrated=analysis.tensors, **options)  # type: ignore[arg-type]


TABLES = ("table/node_Gather_0", "table/node_Gather_4")


def test_tables_are_float_unless_bytes_count_or_they_are_asked_for(tmp_path: Path) -> None:
    floats = space("words", tmp_path, objective="ops")
    assert [floats.offered[name] for name in TABLES] == [("fp32",), ("fp32",)]
    assert floats.choices[TABLES[0]] == ("weight8", "fp32")
    assert floats.tables == ()
    assert space("words", tmp_path, objective="size").tables == TABLES
    assert space("words", tmp_path, precisions=("int8", "weight8")).tables == TABLES
    fixed = space("words", tmp_path, objective="latency", fix={TABLES[0]: "weight8"})
    assert [fixed.offered[name] for name in TABLES] == [("weight8",), ("fp32",)]


def test_tables_are_kept_in_float_by_name(tmp_path: Path) -> None:
    kept = space("words", tmp_path, objective="size", keep_float=["^table/.*_0"])
    assert kept.tables == TABLES[1:]
    assert space("words", tmp_path, objective="size", only=["MatMul"]).tables == ()
    assert space("words", tmp_path, objective="size", only=["MatMul", "table/"]).tables == TABLES
    with pytest.raises(OptionError, match="matches none of 2 names"):
        space("words", tmp_path, objective="size", keep_float=["table/none"])


def test_settings_of_weights_matter_to_tables(tmp_path: Path) -> None:
    found = space("words", tmp_path, objective="size")
    recipe = dict.fromkeys(TABLES, "weight8") | {"layer/node_MatMul_7": "fp32", "weight/granularity": "per_tensor"}
    assert found.canonical(recipe)["weight/granularity"] == "per_tensor"
    assert found.canonical(recipe | dict.fromkeys(TABLES, "fp32"))["weight/granularity"] == "per_channel"
