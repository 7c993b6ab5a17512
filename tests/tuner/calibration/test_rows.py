"""How layers read tensors: against explicit im2col."""

import itertools

import numpy as np
import pytest
from autoquant.tuner.calibration.rows import Form, as_matrices, as_weight, form_of, sample, total
from autoquant.tuner.graph.analysis import Layer
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper


def layer(op_type: str, *, weight_input: int = 1, axis: int = 0) -> Layer:
    return Layer("l", op_type, 0, (), ("x",), "y", "w", weight_input, axis, None, "l", None)


def conv(dims: tuple[int, ...], **attributes) -> Form:
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    found = form_of(layer("Conv"), node, dims)
    assert isinstance(found, Form)
    return found


def im2col(x: np.ndarray, form: Form) -> np.ndarray:
    """[groups, rows, K], one window after the other."""
    spatial = len(form.kernel)
    padded = np.pad(x, [(0, 0), (0, 0), *zip(form.pads[:spatial], form.pads[spatial:], strict=True)])
    spans = [d * (k - 1) + 1 for d, k in zip(form.dilations, form.kernel, strict=True)]
    starts = [range(0, size - span + 1, s) for size, span, s in zip(padded.shape[2:], spans, form.strides, strict=True)]
    each = x.shape[1] // form.groups
    rows = []
    for number in range(len(x)):
        for corner in itertools.product(*starts):
            cuts = tuple(slice(c, c + s, d) for c, s, d in zip(corner, spans, form.dilations, strict=True))
            rows.append([padded[(number, slice(g * each, (g + 1) * each), *cuts)].ravel() for g in range(form.groups)])
    return np.array(rows).transpose(1, 0, 2)


GEOMETRIES = [
    ((6, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((6, 4, 3, 3), {"pads": [0, 2, 1, 0], "strides": [2, 1], "dilations": [1, 2]}),
    ((4, 1, 5, 3), {"pads": [2, 1, 2, 1], "group": 4}),
    ((6, 2, 1, 1), {"group": 2, "strides": [2, 2]}),
    ((3, 4, 3), {"pads": [1, 0]}),
    ((2, 4, 2, 2, 2), {"pads": [1, 0, 0, 0, 1, 0]}),
]


@pytest.mark.parametrize(("dims", "attributes"), GEOMETRIES)
def test_a_conv_s_rows_are_im2col(dims, attributes):
    form = conv(dims, **attributes)
    x = np.random.default_rng(0).standard_normal((2, 4, *(7, 6, 5)[: len(dims) - 2])).astype(np.float32)
    reference = im2col(x, form)
    sums, rows = total(form, x)
    assert rows == reference.shape[1]
    assert form.size == reference.shape[2]
    np.testing.assert_allclose(sums, reference.sum(axis=1, dtype=np.float64), rtol=1e-6, atol=1e-5)
    every = sample(form, x, 10**6, np.random.default_rng(0))
    np.testing.assert_array_equal(every, reference)
    some = sample(form, x, 7, np.random.default_rng(1))
    assert some.shape == (form.groups, 7, form.size)
    places = {tuple(row) for row in reference.transpose(1, 0, 2).reshape(rows, -1)}
    drawn = [tuple(row) for row in some.transpose(1, 0, 2).reshape(7, -1)]
    assert len(set(drawn)) == 7
    assert set(drawn) <= places


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("size", "stride"), [(7, 2), (8, 2), (5, 1), (6, 3)])
def test_automatic_padding_is_the_runtime_s(auto_pad, size, stride):
    import onnxruntime as ort
    from onnx import TensorProto

    form = conv((1, 1, 4), auto_pad=auto_pad, strides=[stride])
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad=auto_pad, strides=[stride])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "w", "y")]
    graph = helper.make_graph([node], "g", ends[:2], ends[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rng = np.random.default_rng(size)
    x, w = rng.standard_normal((1, 1, size)).astype(np.float32), rng.standard_normal((1, 1, 4)).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x, "w": w})
    rows = sample(form, x, 100, rng)
    np.testing.assert_allclose(rows[0] @ w.reshape(-1), y.reshape(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [0, 1])
def test_a_matmul_sums_over_its_inner_axis(side):
    dims = (5, 3) if side else (2, 5)
    node = helper.make_node("MatMul", ["x", "w"] if side else ["w", "x"], ["y"])
    form = form_of(layer("MatMul", weight_input=side, axis=side), node, dims)
    assert isinstance(form, Form)
    assert form.size == 5
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 6, 5) if side else (4, 5, 6)).astype(np.float32)
    w = rng.standard_normal(dims).astype(np.float32)
    rows = sample(form, x, 1000, rng)[0] @ as_matrices(w, form, side)[0].T
    y = x @ w if side else np.moveaxis(w @ x, 1, 2)
    np.testing.assert_allclose(rows, y.reshape(-1, dims[side]), rtol=1e-5, atol=1e-5)
    assert total(form, x)[1] == 24
    vector = rng.standard_normal(5).astype(np.float32)
    np.testing.assert_allclose(total(form, vector)[0][0], vector, rtol=1e-6)
    assert total(form, x[:0])[1] == 0
    assert sample(form, x[:0], 9, rng).shape == (1, 0, 5)


def test_what_has_no_rows_says_why():
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert form_of(layer("MatMul", axis=1), node, (2, 3, 4)) == "its weight has 3 dimensions"
    assert "ConvTranspose" in str(form_of(layer("ConvTranspose", axis=1), node, (2, 3, 3, 3)))


@given(st.sampled_from([(6, 4, 3, 3), (8, 1, 3), (5, 7), (7, 5)]), st.sampled_from([0, 1]), st.sampled_from([1, 2]))
@settings(max_examples=30)
def test_weights_come_back_from_matrices(dims, axis, groups):
    if len(dims) > 2 and axis:
        return
    form = Form("x", 1, kernel=dims[2:], groups=groups if dims[0] % groups == 0 and len(dims) > 2 else 1)
    weight = np.random.default_rng(0).standard_normal(dims).astype(np.float32)
    np.testing.assert_array_equal(as_weight(as_matrices(weight, form, axis), dims, axis), weight)
