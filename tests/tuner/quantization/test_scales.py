import numpy as np
import pytest
from autoquant.tuner.quantization import scales
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

lows = st.floats(-1e6, 0.0, width=32)
highs = st.floats(0.0, 1e6, width=32)


def quantize(x, scale, zero_point, least, most):
    return np.clip(np.rint(np.float64(x) / np.float64(scale)) + zero_point, least, most)


@given(lows, highs)
def test_asymmetric_range_is_covered_and_zero_is_exact(low, high):
    scale, zero_point = scales.activation(low, high, symmetric=False, dtype="uint8")
    assert scale.dtype == np.float32
    assert 0 <= zero_point <= 255
    half = float(scale) * 0.5001
    for end in (low, 0.0, high):
        q = quantize(end, scale, zero_point, 0, 255)
        assert abs((q - zero_point) * float(scale) - end) <= half


@given(lows, highs)
def test_symmetric_zero_point_is_fixed(low, high):
    scale, zero_point = scales.activation(low, high, symmetric=True, dtype="uint8")
    assert zero_point == (0 if low == 0 else 128)
    assert scales.activation(low, high, symmetric=True, dtype="int8")[1] == 0
    largest = max(-low, high)
    assert float(scale) * (255 if low == 0 else 127) >= largest * (1 - 1e-6)


def test_equal_ranges_give_textbook_scales():
    assert scales.activation(0.0, 255.0, symmetric=False, dtype="uint8") == (np.float32(1), 0)
    assert scales.activation(-127.0, 127.0, symmetric=True, dtype="uint8") == (np.float32(1), 128)
    assert scales.activation(-127.0, 127.0, symmetric=True, dtype="int8") == (np.float32(1), 0)
    assert scales.activation(-1.0, 254.0, symmetric=False, dtype="uint8") == (np.float32(1), 1)


def test_range_of_nothing_has_a_usable_scale():
    scale, zero_point = scales.activation(0.0, 0.0, symmetric=False, dtype="uint8")
    assert scale >= scales.TINY
    assert zero_point == 0


@given(st.floats(-4.0, 0.0, width=32), st.floats(0.125, 8.0, width=32), st.floats(0.1, 1.0), st.floats(0.1, 1.0))
def test_quantization_inside_a_clip_makes_it_redundant(low, high, part_of_low, part_of_high):
    before, zero_point = scales.activation(low * part_of_low, high * part_of_high, symmetric=False, dtype="uint8")
    scale = scales.inside_clip(before, zero_point, low, high)
    # the condition under which ONNX Runtime drops a Clip before a Q
    assert np.rint(np.float32(low) / scale) + zero_point <= 0
    assert np.rint(np.float32(high) / scale) + zero_point >= 255
    assert scale >= before * 0.99


weights = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=5),
    elements=st.floats(-100, 100, width=32),
)


@settings(max_examples=60)
@given(weights, st.booleans(), st.sampled_from([8, 7]), st.booleans(), st.booleans())
def test_weight_error_is_at_most_half_a_step(values, symmetric, bits, unsigned, per_channel):
    axis = 0 if per_channel else None
    made = scales.weight(values, axis=axis, symmetric=symmetric, bits=bits, unsigned=unsigned)
    assert made.values.dtype == (np.uint8 if unsigned else np.int8)
    assert made.scale.shape == made.zero_point.shape == (values.shape[:1] if per_channel else ())
    centred = made.values.astype(np.int32) - (128 if unsigned else 0)
    assert centred.min() >= -(2 ** (bits - 1)) + symmetric
    assert centred.max() <= 2 ** (bits - 1) - 1
    step = made.scale.reshape([-1] + [1] * (values.ndim - 1)) if per_channel else made.scale
    assert (np.abs(scales.dequantize(made) - values) <= step * np.float32(0.5001)).all()
    assert (scales.dequantize(made)[values == 0] == 0).all()


@given(weights)
def test_symmetric_weights_have_zero_point_zero(values):
    assert not scales.weight(values, axis=1, symmetric=True).zero_point.any()


def test_channel_of_zeros_has_scale_one():
    values = np.array([[0, 0], [1, -2]], np.float32)
    made = scales.weight(values, axis=0, symmetric=True)
    assert made.scale.tolist() == [1.0, np.float32(2 / 127)]
    assert made.values.tolist() == [[0, 0], [64, -127]]


def test_scalar_constant():
    made = scales.weight(np.float32(2.55), axis=None, symmetric=False, unsigned=True)
    assert made.values.shape == ()
    assert float(scales.dequantize(made)) == pytest.approx(2.55)


def test_bias_lands_on_the_accumulator_scale():
    values, scale = scales.bias(np.array([1.0, -2.0], np.float32), np.float32(0.5), np.array([0.25, 0.125], np.float32))
    assert values.dtype == np.int32
    assert values.tolist() == [8, -32]
    assert scale.tolist() == [0.125, 0.0625]


@pytest.mark.parametrize("axis", [0, None])
@pytest.mark.parametrize("symmetric", [True, False])
def test_dead_channel_gets_a_scale_at_which_its_bias_fits(axis, symmetric):
    values = np.array([[1.0, -1.0], [1e-12, -1e-12]], np.float32)
    if axis is None:
        values = values[1:].repeat(2, 0)
    bias, activation = np.array([0.5, 3.0], np.float32), np.float32(0.02)
    before = scales.weight(values, axis=axis, symmetric=symmetric)
    assert not scales.bias_fits(bias, activation, before.scale).all()
    after = scales.with_room_for_bias(before, values, bias, activation, symmetric=symmetric)
    integers, scale = scales.bias(bias, activation, after.scale)
    assert np.abs(integers.astype(np.int64)).max() < 2**30
    assert (np.abs(integers * scale.astype(np.float64) - bias) <= scale * 0.51).all()
    if axis == 0:
        assert after.scale[0] == before.scale[0]
        assert (after.values[0] == before.values[0]).all()


def test_weight_with_room_is_returned_as_it_is():
    values = np.ones((2, 2), np.float32)
    made = scales.weight(values, axis=0, symmetric=True)
    assert scales.with_room_for_bias(made, values, np.zeros(2, np.float32), np.float32(1), symmetric=True) is made
