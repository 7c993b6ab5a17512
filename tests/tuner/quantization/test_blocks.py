"""Weights of 4 bits in blocks, against a plain reading of the operator and against ONNX Runtime's kernel."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from autoquant.tuner.quantization import blocks
from autoquant.tuner.quantization.gptq import gptq
from autoquant.tuner.quantization.scales import QuantizedWeight, dequantize
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper, numpy_helper

WEIGHTS = st.integers(1, 5).flatmap(
    lambda outputs: st.integers(1, 70).flatmap(
        lambda size: arrays(np.float32, (outputs, size), elements=st.floats(-100, 100, width=32))
    )
)


def by_the_book(packed: blocks.Packed, outputs: int, size: int, block: int) -> np.ndarray:
    """MatMulNBits' documentation, byte by byte: B [N, K]."""
    count = packed.values.shape[1]
    found = np.zeros((outputs, count * block), np.float32)
    for n in range(outputs):
        for b in range(count):
            zero = 8
            if packed.zero_points is not None:
                byte = int(packed.zero_points[n * -(-count // 2) + b // 2])
                zero = byte >> 4 if b % 2 else byte & 15
            for i in range(block):
                byte = int(packed.values[n, b, i // 2])
                number = byte >> 4 if i % 2 else byte & 15
                found[n, b * block + i] = (number - zero) * packed.scales[n * count + b]
    return found[:, :size]


@given(WEIGHTS, st.booleans(), st.sampled_from([16, 32]))
def test_packed_integers_are_those_that_were_quantized(weight: np.ndarray, symmetric: bool, block: int) -> None:
    quantized = blocks.quantize(weight, axis=0, symmetric=symmetric, block=block)
    read = by_the_book(blocks.pack(quantized), *weight.shape, block)
    np.testing.assert_array_equal(read, dequantize(quantized))


@given(WEIGHTS, st.booleans())
def test_no_value_is_off_by_more_than_a_step(weight: np.ndarray, symmetric: bool) -> None:
    quantized = blocks.quantize(weight, axis=0, symmetric=symmetric)
    step = np.abs(blocks.spread(quantized.scale, blocks.BLOCK, weight.shape[1]))
    assert (np.abs(dequantize(quantized) - weight) <= step * 1.001).all()
    assert blocks.LOW <= quantized.values.min() <= quantized.values.max() <= blocks.HIGH
    assert np.isfinite(quantized.scale).all()
    assert (quantized.scale != 0).all()


@given(WEIGHTS, st.booleans())
def test_clipped_ranges_have_no_larger_error(weight: np.ndarray, symmetric: bool) -> None:
    plain, clipped = (blocks.quantize(weight, axis=0, symmetric=symmetric, clipped=each) for each in (False, True))
    errors = [np.square((dequantize(each) - weight).astype(np.float64)).sum() for each in (clipped, plain)]
    assert errors[0] <= errors[1] * (1 + 1e-5) + 1e-30


def test_outliers_are_clipped_for_a_finer_step() -> None:
    rng = np.random.default_rng(0)
    weight = rng.laplace(size=(64, 256)).astype(np.float32)
    for symmetric in (False, True):
        plain, clipped = (blocks.quantize(weight, axis=0, symmetric=symmetric, clipped=each) for each in (False, True))
        assert np.square(dequantize(clipped) - weight).sum() < 0.97 * np.square(dequantize(plain) - weight).sum()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("size", "outputs", "axis"), [(64, 16, 1), (50, 7, 0), (96, 5, 1), (3, 4, 0)])
def test_onnxruntime_reads_it_alike(size: int, outputs: int, axis: int, symmetric: bool) -> None:
    rng = np.random.default_rng(size)
    weight = rng.normal(size=(outputs, size) if axis == 0 else (size, outputs)).astype(np.float32)
    quantized = blocks.quantize(weight, axis=axis, symmetric=symmetric)
    packed = blocks.pack(quantized)
    constants = {"B": packed.values, "scales": packed.scales}
    if packed.zero_points is not None:
        constants["zeros"] = packed.zero_points
    node = helper.make_node(
        "MatMulNBits", ["x", *constants], ["y"], domain="com.microsoft", K=size, N=outputs, bits=4, block_size=32
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, [None, size])],
        [helper.make_tensor_value_info("y", 1, [None, outputs])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    x = rng.normal(size=(6, size)).astype(np.float32)
    found = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    matrix = dequantize(quantized) if axis == 1 else dequantize(quantized).T
    np.testing.assert_allclose(found, x @ matrix, rtol=1e-5, atol=1e-5)


def slow_gptq(weight: np.ndarray, hessian: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """Optimal brain quantization of one matrix with the inverse recomputed at every step; a scale for each input."""
    found, left = np.zeros(weight.shape), weight.astype(np.float64)
    rest = list(np.argsort(-np.diagonal(hessian), kind="stable"))
    damped = hessian + 0.01 * np.diagonal(hessian).mean() * np.eye(len(hessian))
    while rest:
        inverse = np.linalg.inv(damped[np.ix_(rest, rest)])
        j = rest[0]
        found[:, j] = np.clip(np.rint(left[:, j] / scale[:, j]) + zero[:, j], -8, 7)
        error = (left[:, j] - (found[:, j] - zero[:, j]) * scale[:, j]) / inverse[0, 0]
        left[:, rest] -= np.outer(error, inverse[0])
        rest = rest[1:]
    return found


@pytest.mark.parametrize("symmetric", [True, False])
def test_gptq_rounds_on_the_grid_of_each_block(symmetric: bool) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(200, 40)) @ rng.normal(size=(40, 40))
    weight, hessian = rng.normal(size=(6, 40)).astype(np.float32), rows.T @ rows / len(rows)
    quantized = blocks.quantize(weight, axis=0, symmetric=symmetric, block=16)
    scale, zero = (blocks.spread(each, 16, 40)[None] for each in (quantized.scale, quantized.zero_point))
    found = gptq(weight[None], hessian[None], scale, zero, blocks.LOW, blocks.HIGH)
    expected = slow_gptq(weight, hessian, scale[0].astype(np.float64), zero[0].astype(np.float64))

    def loss(integers: np.ndarray) -> np.ndarray:
        grid = (quantized.scale, quantized.zero_point, 0, 16)
        error = dequantize(QuantizedWeight(integers.astype(np.int8), *grid)) - weight
        return np.einsum("ni,ij,nj->n", error, hessian, error)

    nearest = loss(quantized.values)
    reference = np.where(loss(expected) <= nearest, loss(expected), nearest)
    np.testing.assert_allclose(loss(found[0]), reference, rtol=1e-4)
    assert loss(found[0]).sum() < 0.8 * nearest.sum()
