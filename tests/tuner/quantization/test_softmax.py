"""An integer Softmax whose probabilities are small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from autoquant.strategies.words import OP
from autoquant.tuner.quantization import scales
from autoquant.tuner.quantization.kernels import optimized

from tests import zoo
from tests.tuner.quantization.building import Case, case, distance


@pytest.fixture
def made(tmp_path) -> Case:
    return softmax(4, tmp_path)


def softmax(size: int, folder: Path) -> Case:
    """About equal probabilities: 255 steps of their range are finer than 1/256."""
    g = zoo.Sketch(3)
    g.add("MatMul", ["x", g.put("w", 0.05 * g.rng.standard_normal((8, size)))], "m")
    g.add("Mul", ["m", g.put("half", 0.5)], "s")
    g.add("Softmax", ["s"], "p", axis=-1)
    g.add("Mul", ["p", g.put("three", 3.0)], "y")
    return case(g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", size])]), folder)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_probabilities_are_no_noise(made, precision):
    """ONNX Runtime makes an integer kernel of a float Softmax between two DQs too."""
    candidate = made.builder.build(made.recipe(glue="int8").replace({OP + "Softmax": precision}))
    assert "QLinearSoftmax" in {node.op_type for node in optimized(candidate).graph.node}
    assert candidate.quantization["p"].scale == scales.SOFTMAX
    assert distance(made.float_outputs(), made.outputs(candidate)) < 1e-3


@pytest.mark.parametrize("size", [2, 32, 200, 512, 513, 2000])
def test_nothing_overflows(size, tmp_path):
    made = softmax(size, tmp_path)
    candidate = made.builder.build(made.recipe(glue="int8"))
    for before, after in zip(made.float_outputs(), made.outputs(candidate), strict=True):
        assert np.abs(before[0] - after[0]).max() <= 3.0 * 1.5 * scales.SOFTMAX


def test_overrides_go_no_further(made):
    recipe = made.recipe(glue="int8")
    first = made.builder.build(recipe)
    tiny = made.builder.parameters("p", recipe)
    assert tiny.scale < scales.SOFTMAX
    again = made.builder.build(recipe, overrides={**first.quantization, "p": tiny})
    assert again.skeleton() == first.skeleton()


def test_a_softmax_in_float_keeps_its_scale(tmp_path):
    g = zoo.Sketch(3)
    g.add("Mul", ["x", g.put("small", 0.01)], "s")
    g.add("Softmax", ["s"], "p", axis=-1)
    g.add("MatMul", ["p", g.weight("w", 8, 4)], "y")
    made = case(g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 4])]), tmp_path)
    candidate = made.builder.build(made.recipe())
    assert "QLinearSoftmax" not in {node.op_type for node in optimized(candidate).graph.node}
    assert candidate.quantization["p"].scale < scales.SOFTMAX
