"""The calibration cache against an independent decoding."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from autoquant.errors import OptionError
from autoquant.tuner.quantization.records import tensorrt
from autoquant.tuner.quantization.records.record import Record, TensorRecord
from hypothesis import given
from hypothesis import strategies as st

from tests.tuner.quantization.records.making import NAMES, SCALES, activations


def decoded(text: str) -> dict[str, float]:
    """What a reader in C++ would see: a header, then name, colon, blank, four bytes, most significant first."""
    header, *lines = text.splitlines()
    assert header.split("-")[0] == "TRT"
    assert header.endswith("EntropyCalibration2")
    pairs = [line.rsplit(": ", 1) for line in lines]
    assert all(len(digits) == 8 for _, digits in pairs)
    return {name: struct.unpack("!f", int(digits, 16).to_bytes(4, "big"))[0] for name, digits in pairs}


@given(st.dictionaries(NAMES, SCALES, max_size=5))
def test_written_read_and_written_again(found: dict[str, float]) -> None:
    text = tensorrt.write(found)
    assert decoded(text) == found
    assert tensorrt.recognised(text)
    again = tensorrt.read(text)
    assert again == found
    assert tensorrt.write(again) == text


@given(activations())
def test_the_scale_covers_the_grid(tensor: TensorRecord) -> None:
    scales, asymmetric = tensorrt.scales(Record({"t": tensor}, {}))
    zero, step = tensor.offset[0], tensor.scale[0]
    lowest, middle = (0, 128) if tensor.dtype == "uint8" else (-128, 0)
    if zero == middle:
        assert (scales["t"], asymmetric) == (step, [])
    else:
        ends = [(lowest - zero) * step, (lowest + 255 - zero) * step]
        assert scales["t"] == pytest.approx(np.abs(ends).max() / 127, rel=1e-6)
        assert asymmetric == ["t"]


def test_what_is_no_activation_is_not_in_it() -> None:
    weight = TensorRecord("weight", (1.0, 2.0), (0, 0), "int8", 0, (2, 3))
    assert tensorrt.scales(Record({"w": weight}, {})) == ({}, [])


def test_a_cache_of_tensorrt_itself() -> None:
    text = (
        "TRT-8203-EntropyCalibration2\n167: 3c009976\nrelu: 0:3e5d05cc\n(Unnamed Layer* 48) [Shuffle]_output: 3bbe\n\n"
    )
    found = tensorrt.read(text)
    assert list(found) == ["167", "relu: 0"]
    assert found["167"] == pytest.approx(0.0078491, rel=1e-4)
    assert tensorrt.read("TRT-1-MinMaxCalibration\nx: 1\n")["x"] == pytest.approx(1.4e-45)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x 3c009976", "line 2 must be `tensor: hex of its scale`, but got 'x 3c009976'"),
        ("x: 3c00997g", "line 2 must be"),
        ("x: 13c009976", "line 2 must be"),
        ("x: 00000000", "the scale of 'x' must be a number above 0, but line 2 has 0"),
        ("x: bf800000", "but line 2 has -1"),
        ("x: 7f800000", "but line 2 has inf"),
        ("x: 7fc00000", "but line 2 has nan"),
    ],
)
def test_what_is_wrong_in_a_cache(line: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        tensorrt.read(f"TRT-8601-EntropyCalibration2\n{line}\n")


@pytest.mark.parametrize("text", ["", "8601-EntropyCalibration2\n", '{"TRT": 1}', "TRT-x-Entropy\n", "\nTRT-1-E"])
def test_what_is_no_cache(text: str) -> None:
    assert not tensorrt.recognised(text)
