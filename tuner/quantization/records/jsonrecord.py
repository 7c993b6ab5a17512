"""Our own record, JSON: every quantized tensor, every layer, and where they come from.

- `format`: `autoquant record 1`. `autoquant`: the version that wrote it. `model`: fingerprint of the float model
  (sha256 of the file, external data included). `target`, `weight_bits`: what it was quantized for. `study`, `trial`,
  `metric`, `drop`: the trial. `parameters`: its recipe. `ranges`: the file its ranges were imported from, if any.
- `tensors`: one object per quantized tensor, as in `TensorRecord`: `kind` (`activation`, `weight`, `bias`), `dtype`
  (`uint8`, `int8`, `int32`, …), `scale`, `offset` (the zero point, in the grid of `dtype`), `axis` (of the channels,
  null per tensor), `shape`. Scale and offset are numbers per tensor, lists per channel. x ≈ (q − offset) · scale.
  Activations also have `low` and `high`, the ends of the grid, for a reader.
- `layers`: one object per compute layer, as in `LayerRecord`: `op_type`, `precision`, `inputs`, `output`, `weight`; of
  a layer in int8 also what Huawei AMCT's record carries under these names: `scale_d`, `offset_d` (lists, one per
  activation it reads), `scale_w`, `offset_w` (lists, one entry or one per output channel), all offsets on the signed
  grid, q = round(x / scale) + offset in [−128, 127]; then `axis_w`, `shape_w` and `scale_b` (of an int32 bias). Of a
  layer in int4: `scale_w` and `offset_w`, q in [−8, 7], one entry per output channel and block of `block_w` inputs,
  the blocks of the first channel first. Empty fields are left out.

Tensors and layers bear the names of the graph that the trial was built from: those of the float model, but for what
autoquant's rewrites brought.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, get_args

import numpy as np

from ....errors import OptionError
from .record import Kind, LayerRecord, Record, TensorRecord

FORMAT = "autoquant record 1"
_LIST = re.compile(r"\[\n\s*([^\[\]{}]*?)\n\s*\]")
"""A list of numbers or names over several lines: a weight has hundreds of scales. No JSON string holds a line break."""

_TYPES = ("uint8", "int8", "uint16", "int16", "uint4", "int4", "int32")
_LAYER_LISTS = ("inputs", "scale_d", "offset_d", "scale_w", "offset_w", "shape_w", "scale_b")


def write(record: Record) -> str:
    """The record's text."""
    data = {
        "format": FORMAT,
        **record.about,
        "tensors": {name: _tensor_json(tensor) for name, tensor in record.tensors.items()},
        "layers": {name: _layer_json(layer) for name, layer in record.layers.items()},
    }
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    return _LIST.sub(lambda found: "[" + re.sub(r"\n\s*", " ", found[1]) + "]", text)


def _tensor_json(tensor: TensorRecord) -> dict[str, Any]:
    alone = tensor.axis is None and len(tensor.scale) == 1
    found: dict[str, Any] = {
        "kind": tensor.kind,
        "dtype": tensor.dtype,
        "scale": tensor.scale[0] if alone else list(tensor.scale),
        "offset": tensor.offset[0] if alone else list(tensor.offset),
        "axis": tensor.axis,
        "shape": list(tensor.shape),
    }
    if tensor.kind == "activation":
        found["low"], found["high"] = tensor.ends[0]
    return found


def _layer_json(layer: LayerRecord) -> dict[str, Any]:
    kept = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(layer).items()}
    always = ("op_type", "precision", "inputs", "output", "weight", *(("axis_w",) if layer.scale_w else ()))
    return {name: value for name, value in kept.items() if name in always or value not in ([], None)}


def recognised(data: Any) -> bool:
    """Whether parsed JSON has the form."""
    return isinstance(data, dict) and data.get("format") == FORMAT


def read(data: Mapping[str, Any]) -> Record:
    """The inverse of `write`.

    Raises:
        OptionError: Something is missing or makes no sense.
    """
    return Record(
        tensors={name: _tensor(name, entry) for name, entry in _objects(data, "tensors")},
        layers={name: _layer(name, entry) for name, entry in _objects(data, "layers")},
        about={name: value for name, value in data.items() if name not in ("format", "tensors", "layers")},
    )


def _objects(data: Mapping[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    found = data.get(key, {})
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise OptionError(f"{key!r} must be an object of objects, but got {found!r:.60}.")
    return list(found.items())


def _tensor(name: str, entry: Mapping[str, Any]) -> TensorRecord:
    kind: Any = entry.get("kind")
    dtype, axis = entry.get("dtype"), entry.get("axis")
    if kind not in get_args(Kind):
        raise OptionError(f"the kind of {name!r} must be one of {', '.join(get_args(Kind))}, but got {kind!r}.")
    if dtype not in _TYPES:
        raise OptionError(f"the dtype of {name!r} must be one of {', '.join(_TYPES)}, but got {dtype!r}.")
    scales = _listed(entry.get("scale"))
    offsets = _listed(entry.get("offset"))
    found = TensorRecord(kind, tuple(scales), tuple(offsets), dtype, axis, tuple(_listed(entry.get("shape"))))
    if not scales or not all(_above_zero(scale) for scale in scales):
        raise OptionError(f"the scale of {name!r} must be a number above 0, but got {entry.get('scale')!r:.40}.")
    lowest, highest = found.lowest, found.lowest + 2**found.bits - 1
    if len(offsets) != len(scales) or not all(_whole(o) and lowest <= o <= highest for o in offsets):
        raise OptionError(
            f"the offset of {name!r} must be {lowest} to {highest}, as many as scales, "
            f"but got {entry.get('offset')!r:.40}."
        )
    if axis is not None and not _whole(axis):
        raise OptionError(f"the axis of {name!r} must be a whole number or null, but got {axis!r:.40}.")
    return found


def _layer(name: str, entry: Mapping[str, Any]) -> LayerRecord:
    known = {field.name for field in fields(LayerRecord)}
    lacking = [key for key in ("op_type", "precision", "inputs", "output") if key not in entry]
    if lacking or not entry.keys() <= known:
        wrong = lacking or sorted(entry.keys() - known)
        raise OptionError(f"the layer {name!r} lacks or does not know: {', '.join(wrong)}.")
    values: dict[str, Any] = {key: tuple(_listed(v)) if key in _LAYER_LISTS else v for key, v in entry.items()}
    return LayerRecord(**values)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _above_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(0 < np.float32(value) < np.inf)
