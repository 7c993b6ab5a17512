"""TensorRT's calibration cache: the scale of every activation, symmetric int8, one line a tensor.

    TRT-8601-EntropyCalibration2
    input: 3c008912
    /features/Relu_output_0: 3c88edfc

First line: `TRT-`, the version of TensorRT without dots (8.6.1 → 8601, 10.3.0 → 100300) and its calibrator. A TensorRT
that does not accept the header calibrates anew, without an error: put your version there, or read the scales through
`setDynamicRange`. Every other line: a tensor's name as the ONNX file has it, a colon, a space, and the eight hex digits
of its scale as a big-endian IEEE 754 float32.

The scale is amax / 127: int8 q = round(x / scale) in [−128, 127] with zero point 0. What an asymmetric grid covers is
given by the larger of its two ends, amax = max(−low, high): no value is cut off that the trial kept, but up to half of
TensorRT's steps are wasted where a tensor is of one sign. A symmetric grid's own scale is kept as it is.

Weights are not in it: TensorRT quantizes them itself, per channel. Nor are the tensors that a trial leaves in float:
TensorRT runs a layer without a scale for what it reads and writes in float.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

import numpy as np

from ....errors import OptionError
from .record import Record

VERSION = 8601
_HEADER = re.compile(r"TRT-\d+-\w+")
_STEPS = 127
_INTERNAL = "(Unnamed Layer"
"""How the names begin that TensorRT itself gives: no tensor of an ONNX file has them."""


def scales(record: Record) -> tuple[dict[str, float], list[str]]:
    """Activation → its symmetric scale (a float32), and the names of those whose own grid is asymmetric."""
    found, asymmetric = {}, []
    for name, tensor in record.activations.items():
        if tensor.symmetric and tensor.bits == 8:
            found[name] = tensor.scale[0]
            continue
        low, high = tensor.ends[0]
        found[name] = float(np.float32(max(-low, high) / _STEPS))
        if not tensor.symmetric:
            asymmetric.append(name)
    return found, asymmetric


def write(symmetric: Mapping[str, float], version: int = VERSION) -> str:
    """The cache's text, by name.

    Args:
        symmetric: Tensor → scale.
        version: TensorRT's, without dots.
    """
    lines = [f"{name}: {struct.pack('>f', symmetric[name]).hex()}" for name in sorted(symmetric)]
    return "\n".join([f"TRT-{version}-EntropyCalibration2", *lines]) + "\n"


def recognised(text: str) -> bool:
    """Whether a text begins as a cache does."""
    return _HEADER.fullmatch(text.partition("\n")[0].strip()) is not None


def read(text: str) -> dict[str, float]:
    """Tensor → scale, but for tensors that TensorRT made itself.

    Raises:
        OptionError: A line that is none of a cache, or a scale that is no number above 0.
    """
    found = {}
    for number, line in enumerate(text.splitlines()[1:], start=2):
        if not line.strip():
            continue
        name, _, digits = line.rpartition(":")
        digits = digits.strip()
        if not name or re.fullmatch(r"[0-9a-fA-F]{1,8}", digits) is None:
            raise OptionError(f"line {number} must be `tensor: hex of its scale`, but got {line!r:.60}.")
        scale = struct.unpack(">f", bytes.fromhex(digits.rjust(8, "0")))[0]
        if not 0 < scale < float("inf"):
            raise OptionError(f"the scale of {name!r} must be a number above 0, but line {number} has {scale:g}.")
        if not name.startswith(_INTERNAL):
            found[name] = scale
    return found
