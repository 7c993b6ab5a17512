"""QNN/AIMET encodings against the formulas of their specification."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from autoquant.errors import OptionError
from autoquant.tuner.quantization.records import encodings
from autoquant.tuner.quantization.records.record import TensorRecord
from hypothesis import given
from hypothesis import strategies as st

from tests.tuner.quantization.records.making import NAMES, activations, tensors


def entries(text: str, key: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads(text)[key]
    return found


@given(st.dictionaries(NAMES, tensors(), max_size=4))
def test_written_read_and_written_again(found: dict[str, TensorRecord]) -> None:
    text = encodings.write(found)
    assert encodings.recognised(json.loads(text))
    again = encodings.read(json.loads(text))
    assert encodings.write(again) == text
    assert {name: tensor.ends for name, tensor in again.items()} == {
        name: tensor.ends for name, tensor in found.items()
    }


@given(tensors())
def test_the_fields_are_what_the_specification_says(tensor: TensorRecord) -> None:
    key = "activation_encodings" if tensor.kind == "activation" else "param_encodings"
    listed = entries(encodings.write({"t": tensor}), key)["t"]
    assert len(listed) == len(tensor.scale)
    bits = {"uint8": 8, "int8": 8, "int32": 32}[tensor.dtype]
    symmetric = set(tensor.offset) == {{"uint8": 128, "int8": 0, "int32": 0}[tensor.dtype]}
    for entry, scale in zip(listed, tensor.scale, strict=True):
        assert (entry["dtype"], entry["bitwidth"], entry["scale"]) == ("int", bits, scale)
        assert -(2**bits - 1) <= entry["offset"] <= 0
        assert entry["min"] == scale * entry["offset"]
        assert entry["max"] == scale * (entry["offset"] + 2**bits - 1)
        assert entry["is_symmetric"] == str(symmetric)


@given(activations(), st.floats(-300, 300))
def test_either_side_rounds_alike(tensor: TensorRecord, steps: float) -> None:
    """AIMET: q = clip(round(x/scale) − offset, 0, 255), x' = (q + offset)·scale. ONNX: as in QuantizeLinear."""
    entry = entries(encodings.write({"t": tensor}), "activation_encodings")["t"][0]
    x = steps * tensor.scale[0]
    theirs = (np.clip(np.rint(x / entry["scale"]) - entry["offset"], 0, 255) + entry["offset"]) * entry["scale"]
    limits = np.iinfo(tensor.dtype)
    ours = np.clip(np.rint(x / tensor.scale[0]) + tensor.offset[0], limits.min, limits.max) - tensor.offset[0]
    assert theirs == ours * tensor.scale[0]


def test_the_example_of_the_specification() -> None:
    entry = {"bitwidth": 8, "is_symmetric": "False", "max": 2.6086959838867188, "min": -2.109158515930176}
    entry |= {"offset": -114.0, "scale": 0.018501389771699905}
    found = encodings.read({"version": "0.4.0", "activation_encodings": {"20": [entry]}})["20"]
    assert (found.dtype, found.offset, found.kind) == ("uint8", (114,), "activation")
    assert found.ends[0] == pytest.approx((entry["min"], entry["max"]))


def test_version_one_has_lists() -> None:
    data = {
        "version": "1.0.0",
        "activation_encodings": [
            {"name": "a", "dtype": "INT", "enc_type": "PER_TENSOR", "bw": 8, "is_sym": False, "scale": [0.5],
             "offset": [-3]},
            {"name": "f", "dtype": "FLOAT", "enc_type": "PER_TENSOR", "bw": 16},
        ],
        "param_encodings": [
            {"name": "w", "dtype": "INT", "enc_type": "PER_CHANNEL", "bw": 8, "is_sym": True, "scale": [1, 2],
             "offset": [-128.0, -128.0]},
        ],
    }  # fmt: skip
    found = encodings.read(data)
    assert sorted(found) == ["a", "w"]
    assert found["a"].ends == ((-1.5, 126.0),)
    assert found["w"].ends == ((-128.0, 127.0), (-256.0, 254.0))
    assert found["w"].symmetric


def test_ends_alone_will_do() -> None:
    given_ends = {"bitwidth": 8, "min": -1.0, "max": 1.55}
    found = encodings.read({"activation_encodings": {"a": [given_ends]}})["a"]
    assert found.scale[0] == pytest.approx(0.01)
    assert found.offset == (100,)
    positive = {"bitwidth": 8, "min": -0.11, "max": 2.44, "offset": 11, "scale": 0.01}  # as TensorFlow models once had
    assert encodings.read({"activation_encodings": {"a": [positive]}})["a"].offset == (11,)


ENTRY = {"bitwidth": 8, "scale": 0.5, "offset": -3}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"version": "2.0.0"}, "version 2.0.0 are not read"),
        ({"activation_encodings": 3}, "'activation_encodings' must be an object"),
        ({"activation_encodings": [{"bw": 8}]}, "list of objects with a `name`"),
        ({"activation_encodings": {"a": [1]}}, "the encodings of 'a' must be a list of objects"),
        ({"activation_encodings": {"a": [ENTRY | {"scale": 0}]}}, "of 'a' must be a number above 0, but got 0"),
        ({"activation_encodings": {"a": [ENTRY | {"scale": "0.1"}]}}, "the scale of 'a'"),
        ({"activation_encodings": {"a": [ENTRY | {"scale": True}]}}, "the scale of 'a'"),
        ({"activation_encodings": {"a": [ENTRY | {"offset": 4}]}}, "of 'a' must be a whole number from -255 to 0"),
        ({"activation_encodings": {"a": [ENTRY | {"offset": -256}]}}, "the offset of 'a'"),
        ({"activation_encodings": {"a": [ENTRY | {"offset": -1.5}]}}, "the offset of 'a'"),
        ({"activation_encodings": {"a": [ENTRY | {"bitwidth": 64}]}}, "the bitwidth of 'a' must be 2 to 32"),
        ({"activation_encodings": {"a": [{"bitwidth": 8}]}}, "an encoding of 'a' needs a scale and an offset"),
        ({"activation_encodings": {"a": [{"min": 1, "max": 2}]}}, "needs a scale and an offset, or min ≤ 0 ≤ max"),
        ({"activation_encodings": {"a": [{"min": 0, "max": 0}]}}, "needs a scale"),
        ({"activation_encodings": {"a": [ENTRY, ENTRY | {"bitwidth": 4}]}}, "several bit widths"),
        ({"activation_encodings": [{"name": "a", "scale": [1, 2], "offset": [0]}]}, "'a' has 2 scales and 1 offsets"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_encodings(data: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        encodings.read(data)


def test_a_vocabulary_of_channels_is_written_and_read() -> None:
    """One step a channel: with one step for each pair of channels this would take the better part of an hour."""
    channels = 20_000
    scales = tuple(float(scale) for scale in np.linspace(1e-3, 2e-3, channels, dtype=np.float32))
    found = {"w": TensorRecord("weight", scales, (0,) * channels, "int8", axis=1)}
    again = encodings.read(json.loads(encodings.write(found)))
    assert again["w"].ends == found["w"].ends
