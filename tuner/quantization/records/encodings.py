"""Encodings: the JSON file that AIMET writes and Qualcomm's converters take as `--quantization_overrides`.

Written in version 0.6.1, which all of these converters read; read in all versions before 2.0.0.

    {
      "version": "0.6.1",
      "activation_encodings": {"input": [{"bitwidth": 8, "dtype": "int", "is_symmetric": "False",
                                          "min": -2.1, "max": 2.6, "offset": -114, "scale": 0.0185}]},
      "param_encodings": {"conv.weight": [{…first output channel…}, {…second…}]},
      "quantizer_args": {…}
    }

- A tensor's list has one encoding (per tensor) or one per output channel; the axis is the operator's own (0 of a Conv,
  1 of a ConvTranspose, the last of a MatMul) and is not in the file.
- `bitwidth`: 8; 32 for a bias. `dtype`: `int`. Float tensors have no entry: give the converter `--float_fallback`.
- `scale`: of one step. `offset` ≤ 0: where the grid begins, in steps; the unsigned integer −offset stands for 0. ONNX's
  zero point of an unsigned type is −offset, of a signed type of b bits −offset − 2^(b−1).
- `min` = scale · offset and `max` = scale · (offset + 2^bitwidth − 1): the ends of the grid.
- `is_symmetric`: "True" where every offset of the tensor is −2^(bitwidth−1).
- `quantizer_args`: how it was made, for a reader; no converter looks at it.

Version 1.0.0 has lists of objects with `name`, `enc_type` (PER_TENSOR, PER_CHANNEL), `dtype` (INT, FLOAT), `bw`,
`is_sym` and lists `scale` and `offset`. Of an activation with several encodings the range is their hull.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import numpy as np

from ....errors import OptionError
from .record import Kind, TensorRecord

VERSION = "0.6.1"
ACTIVATIONS, PARAMETERS = "activation_encodings", "param_encodings"
_VERSIONS = ("0.", "1.")


def write(tensors: Mapping[str, TensorRecord]) -> str:
    """The file's text."""
    activations = {name: _encodings(tensor) for name, tensor in sorted(tensors.items()) if tensor.kind == "activation"}
    parameters = {name: _encodings(tensor) for name, tensor in sorted(tensors.items()) if tensor.kind != "activation"}
    weights = [tensor for tensor in tensors.values() if tensor.kind == "weight"]
    data = {
        "version": VERSION,
        ACTIVATIONS: activations,
        PARAMETERS: parameters,
        "quantizer_args": {
            "activation_bitwidth": _widest(tensors, "activation"),
            "dtype": "int",
            "is_symmetric": str(all(tensor.symmetric for tensor in weights)),
            "param_bitwidth": _widest(tensors, "weight"),
            "per_channel_quantization": str(any(len(tensor.scale) > 1 for tensor in weights)),
            "quant_scheme": "post_training_tf",
        },
    }
    return json.dumps(data, indent=1) + "\n"


def _widest(tensors: Mapping[str, TensorRecord], kind: Kind) -> int:
    return max((tensor.bits for tensor in tensors.values() if tensor.kind == kind), default=8)


def _encodings(tensor: TensorRecord) -> list[dict[str, Any]]:
    # Asked once: a vocabulary's projection has tens of thousands of channels.
    bits, lowest, symmetric = tensor.bits, tensor.lowest, str(tensor.symmetric)
    return [
        {
            "bitwidth": bits,
            "dtype": "int",
            "is_symmetric": symmetric,
            "max": high,
            "min": low,
            "offset": lowest - offset,
            "scale": scale,
        }
        for scale, offset, (low, high) in zip(tensor.scale, tensor.offset, tensor.ends, strict=True)
    ]


def recognised(data: Any) -> bool:
    """Whether parsed JSON has the form."""
    return isinstance(data, dict) and ACTIVATIONS in data


def read(data: Mapping[str, Any]) -> dict[str, TensorRecord]:
    """Activation or parameter → its grid, as an unsigned type; tensors in float are left out.

    Raises:
        OptionError: A version that is not known, or an encoding that makes no sense.
    """
    version = str(data.get("version", "0.4.0"))
    if not version.startswith(_VERSIONS):
        raise OptionError(f"encodings of version {version} are not read, only those before 2.0.0.")
    found = {}
    for key in (ACTIVATIONS, PARAMETERS):
        for name, encodings in _entries(data.get(key, {}), key):
            if any(str(encoding.get("dtype", "int")).lower() == "float" for encoding in encodings):
                continue
            grids = [_grid(name, encoding) for encoding in encodings]
            if not grids:
                continue
            bits = {grid[2] for grid in grids}
            if len(bits) > 1:
                raise OptionError(f"the encodings of {name!r} have several bit widths: {sorted(bits)}.")
            found[name] = TensorRecord(
                kind="activation" if key == ACTIVATIONS else "bias" if bits == {32} else "weight",
                scale=tuple(scale for scale, _, _ in grids),
                offset=tuple(-offset for _, offset, _ in grids),
                dtype=f"uint{bits.pop()}",
            )
    return found


def _entries(group: Any, key: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Tensor and its encodings, each with one scale, of either version."""
    if isinstance(group, dict):
        pairs = list(group.items())
    elif isinstance(group, list) and all(isinstance(entry, dict) and "name" in entry for entry in group):
        pairs = [(str(entry["name"]), _unlisted(entry)) for entry in group]
    else:
        raise OptionError(f"{key!r} must be an object, or a list of objects with a `name`, but got {group!r:.40}.")
    for name, encodings in pairs:
        listed = [encodings] if isinstance(encodings, dict) else encodings
        if not isinstance(listed, list) or not all(isinstance(encoding, dict) for encoding in listed):
            raise OptionError(f"the encodings of {name!r} must be a list of objects, but got {encodings!r:.40}.")
        yield name, listed


def _unlisted(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An entry of version 1.0.0 as a list in the words of 0.6.1."""
    common = {"dtype": entry.get("dtype", "INT"), "bitwidth": entry.get("bw", entry.get("bitwidth", 8))}
    scales, offsets = entry.get("scale", []), entry.get("offset", [])
    scales = scales if isinstance(scales, list) else [scales]
    offsets = offsets if isinstance(offsets, list) else [offsets]
    if len(scales) != len(offsets):
        raise OptionError(f"{entry['name']!r} has {len(scales)} scales and {len(offsets)} offsets.")
    return [{**common, "scale": scale, "offset": offset} for scale, offset in zip(scales, offsets, strict=True)] or [
        common
    ]


def _grid(name: str, encoding: Mapping[str, Any]) -> tuple[float, int, int]:
    """Scale, offset (≤ 0) and bits of one encoding; from its ends where it has no scale, or an offset above 0."""
    bits = encoding.get("bitwidth", 8)
    if not isinstance(bits, int) or not 2 <= bits <= 32:
        raise OptionError(f"the bitwidth of {name!r} must be 2 to 32, but got {bits!r}.")
    most = 2**bits - 1
    scale, offset = encoding.get("scale"), encoding.get("offset")
    # Files of before 0.5 made of TensorFlow models have offsets with the other sign; their ends say what is meant.
    if scale is None or offset is None or (_number(offset) and offset > 0 and "min" in encoding):
        low, high = encoding.get("min"), encoding.get("max")
        if not (_number(low) and _number(high)) or not low <= 0 <= high or low == high:
            raise OptionError(f"an encoding of {name!r} needs a scale and an offset, or min ≤ 0 ≤ max.")
        scale = float(np.float32((high - low) / most))
        offset = round(low / scale) if scale > 0 else 0
    if not _number(scale) or not 0 < np.float32(scale) < np.inf:
        raise OptionError(f"the scale of {name!r} must be a number above 0, but got {scale!r}.")
    if not _number(offset) or not -most <= offset <= 0 or offset != int(offset):
        raise OptionError(f"the offset of {name!r} must be a whole number from {-most} to 0, but got {offset!r}.")
    return float(np.float32(scale)), int(offset), bits


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
