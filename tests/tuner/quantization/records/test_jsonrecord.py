"""Our own record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from autoquant.errors import OptionError
from autoquant.tuner.quantization.records import jsonrecord
from autoquant.tuner.quantization.records.record import LayerRecord, Record, TensorRecord
from hypothesis import given

from tests.tuner.quantization.records.making import records


@given(records())
def test_written_read_and_written_again(record: Record) -> None:
    text = jsonrecord.write(record)
    assert jsonrecord.recognised(json.loads(text))
    again = jsonrecord.read(json.loads(text))
    assert again == record
    assert jsonrecord.write(again) == text


def test_per_tensor_numbers_per_channel_lists() -> None:
    one = TensorRecord("activation", (0.5,), (3,), "uint8", None, (1, 2))
    many = TensorRecord("weight", (0.5, 0.25), (0, 0), "int8", 1, (3, 2))
    single = TensorRecord("weight", (0.5,), (0,), "int8", 0, (1, 2))
    found = json.loads(jsonrecord.write(Record({"a": one, "w": many, "s": single}, {})))["tensors"]
    assert found["a"] == {
        "kind": "activation", "dtype": "uint8", "scale": 0.5, "offset": 3, "axis": None, "shape": [1, 2],
        "low": -1.5, "high": 126.0,
    }  # fmt: skip
    assert found["w"] == {
        "kind": "weight", "dtype": "int8", "scale": [0.5, 0.25], "offset": [0, 0], "axis": 1, "shape": [3, 2]
    }  # fmt: skip
    assert found["s"]["scale"] == [0.5]


def test_a_list_is_one_line() -> None:
    names = ("a[ 1 ]", "b, ]", "c")
    layer = LayerRecord("MatMul", "int8", names, "y", scale_d=(0.5, 0.25), offset_d=(1, -2))
    text = jsonrecord.write(Record({}, {"l": layer}))
    assert '"scale_d": [0.5, 0.25],' in text
    assert jsonrecord.read(json.loads(text)).layers["l"].inputs == names


TENSOR = {"kind": "activation", "dtype": "uint8", "scale": 0.5, "offset": 3}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"tensors": []}, "'tensors' must be an object of objects"),
        ({"tensors": {"a": 1}}, "'tensors' must be an object of objects"),
        ({"tensors": {"a": TENSOR | {"kind": "glue"}}}, "the kind of 'a' must be one of activation, weight, bias"),
        ({"tensors": {"a": TENSOR | {"dtype": "float32"}}}, "the dtype of 'a' must be one of uint8"),
        ({"tensors": {"a": TENSOR | {"scale": -0.5}}}, "the scale of 'a' must be a number above 0, but got -0.5"),
        ({"tensors": {"a": TENSOR | {"scale": None}}}, "the scale of 'a'"),
        ({"tensors": {"a": TENSOR | {"scale": 1e-60}}}, "the scale of 'a'"),
        ({"tensors": {"a": TENSOR | {"offset": 256}}}, "the offset of 'a' must be 0 to 255"),
        ({"tensors": {"a": TENSOR | {"offset": [1, 2]}}}, "as many as scales"),
        ({"tensors": {"a": TENSOR | {"axis": "1"}}}, "the axis of 'a' must be a whole number or null"),
        ({"layers": {"l": {"op_type": "Conv"}}}, "the layer 'l' lacks or does not know: precision, inputs, output"),
        (
            {"layers": {"l": {"op_type": "Conv", "precision": "int8", "inputs": [], "output": "y", "odd": 1}}},
            "does not know: odd",
        ),
    ],
)
def test_what_is_wrong_in_a_record(data: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        jsonrecord.read({"format": jsonrecord.FORMAT, **data})


@pytest.mark.parametrize("data", [None, [], {}, {"format": "autoquant recipe 1"}])
def test_what_is_no_record(data: Any) -> None:
    assert not jsonrecord.recognised(data)
