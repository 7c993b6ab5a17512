"""Ranges from a file: what the space offers then, and models made of them without data."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from autoquant.strategies.words import CALIBRATORS, IMPORTED
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.rewrite.variants import Variants
from autoquant.tuner.quantization.kernels import ran
from autoquant.tuner.quantization.records import encodings, tensorrt
from autoquant.tuner.quantization.records.record import TensorRecord
from autoquant.tuner.study.imported import all_int8, quantize_ranges
from autoquant.tuner.study.space import build_space
from autoquant.tuner.targets.profiles import get
from onnx import numpy_helper

from tests import zoo


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return zoo.save(zoo.conv_net(), tmp_path / "model.onnx")


def cache(folder: Path, names: list[str]) -> Path:
    path = folder / "cache"
    path.write_text(tensorrt.write(dict.fromkeys(names, 0.05)))
    return path


def test_imported_is_the_first_calibrator_where_there_is_a_file(model: Path) -> None:
    analysis = analyse(load(model))
    for imported, wanted in ((False, CALIBRATORS), (True, (IMPORTED, *CALIBRATORS))):
        space = build_space(
            analysis, get("cpu"), calibrated=analysis.tensors, imported=imported, per_layer_calibrators=True
        )
        assert space.offered["activation/calibrator"] == space.choices["activation/calibrator"] == wanted
        own = [values for name, values in space.offered.items() if name.startswith("calibrator/")]
        assert own
        assert set(own) == {("inherit", *wanted)}
        assert space.default()["activation/calibrator"] == wanted[0]


def test_every_layer_with_its_ranges_is_int8(model: Path, tmp_path: Path) -> None:
    analysis = analyse(load(model))
    tensors = {name for layer in analysis.layers for name in (*layer.inputs, layer.output)}
    made = quantize_ranges(model, cache(tmp_path, sorted(tensors)), tmp_path / "x.onnx")
    assert set(made.candidate.layers.values()) == {"int8"}
    assert ran(made.path, analysis) == dict(made.candidate.layers)
    assert (made.others, made.candidate.notes) == (0, ())
    assert made.used == len(made.candidate.quantization.keys() & tensors)
    assert made.candidate.quantization["pointwise"].scale == pytest.approx(0.05)
    assert made.candidate.quantization["pointwise"].zero_point == 128
    assert made.candidate.quantization["relu"].zero_point == 0  # a Relu writes it: the whole grid for what is positive


def test_what_the_file_lacks_stays_float(model: Path, tmp_path: Path) -> None:
    analysis = analyse(load(model))
    first = analysis.layers[0]
    names = [*first.inputs, first.output]
    made = quantize_ranges(model, cache(tmp_path, names), tmp_path / "x.onnx")
    assert [name for name, kind in made.candidate.layers.items() if kind == "int8"] == [first.name]
    assert len(made.candidate.notes) == len(analysis.layers) - 1
    assert made.used == 2


def test_an_asymmetric_grid_is_kept_to_the_step(model: Path, tmp_path: Path) -> None:
    analysis = analyse(load(model))
    grids = {
        name: TensorRecord("activation", (0.01 * (i + 1),), (0 if "relu" in name else 100 + i,), "uint8")
        for i, name in enumerate(sorted({name for layer in analysis.layers for name in (*layer.inputs, layer.output)}))
    }
    path = tmp_path / "encodings.json"
    path.write_text(encodings.write(grids))
    made = quantize_ranges(model, path, tmp_path / "x.onnx")
    proto = onnx.load(made.path)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    seen = 0
    for node in proto.graph.node:
        name = node.input[0].removesuffix("/raw")
        if node.op_type == "QuantizeLinear" and name in grids:
            limit = grids[name].scale[0]
            assert values[node.input[1]] == pytest.approx(limit) or name == "relu6"  # which ends where its Clip does
            assert int(values[node.input[2]]) == grids[name].offset[0]
            seen += 1
    assert seen >= 5
    stamped = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(stamped["autoquant.recipe"])["activation/calibrator"] == IMPORTED


def test_all_int8_follows_file_and_target(model: Path) -> None:
    variants = Variants(load(model))
    assert all_int8(variants, get("cpu"), symmetric=True)["activation/symmetry"] == "symmetric"
    assert all_int8(variants, get("cpu"), symmetric=False)["activation/symmetry"] == "asymmetric"
    assert all_int8(variants, get("tensorrt"), symmetric=False)["activation/symmetry"] == "symmetric"


@pytest.mark.parametrize("target", ["cpu", "cuda", "tensorrt"])
def test_for_every_target(target: str, model: Path, tmp_path: Path) -> None:
    analysis = analyse(load(model))
    names = sorted({name for layer in analysis.layers for name in (*layer.inputs, layer.output)})
    made = quantize_ranges(model, cache(tmp_path, names), tmp_path / "x.onnx", target=target)
    onnx.checker.check_model(onnx.load(made.path), full_check=True)
    assert made.candidate.quantization["x"].dtype == get(target).activation["symmetric"]
    assert made.candidate.quantization["x"].scale == pytest.approx(0.05)
