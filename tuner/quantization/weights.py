"""Quantized weights, made once per (weight, scheme) and kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ..graph.model import Model
from ..graph.tensors import is_stub
from . import scales
from .scales import QuantizedWeight


class Weights:
    """The float constants of a model and their quantized forms.

    The cache holds at most one integer copy per scheme that was asked for: a quarter of the float weights each.
    """

    def __init__(self, model: Model) -> None:
        self._tensors: Mapping[str, onnx.TensorProto] = {t.name: t for t in model.proto.graph.initializer}
        self._data = model.weights
        self._floats: dict[str, np.ndarray] = {}
        self._largest: dict[str, float] = {}
        self._quantized: dict[tuple[str, int | None, bool, int, bool], QuantizedWeight] = {}
        self._rounded: dict[tuple[str, int | None, bool, int, bool], np.ndarray] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def dims(self, name: str) -> tuple[int, ...]:
        """Shape of a constant, without touching its data."""
        return tuple(self._tensors[name].dims)

    def is_float(self, name: str) -> bool:
        """Whether a name is a float32 constant."""
        return name in self._tensors and self._tensors[name].data_type == TensorProto.FLOAT

    def value(self, name: str) -> np.ndarray:
        """Data of a constant."""
        if name not in self._floats:
            tensor = self._tensors[name]
            self._floats[name] = self._data[name] if is_stub(tensor) else numpy_helper.to_array(tensor)
        return self._floats[name]

    def largest(self, name: str) -> float:
        """The largest magnitude in a constant; NaN if it holds one."""
        if name not in self._largest:
            values = self.value(name)
            ends = (values.min(initial=0.0), values.max(initial=0.0))
            self._largest[name] = float(np.abs(ends).max())
        return self._largest[name]

    def finite(self, name: str) -> bool:
        """Whether a constant has neither NaN nor infinity."""
        return bool(np.isfinite(self.largest(name)))

    def half(self, name: str) -> np.ndarray:
        """A constant in float16."""
        return self.value(name).astype(np.float16)

    def quantized(
        self, name: str, *, axis: int | None, symmetric: bool, bits: int = 8, unsigned: bool = False
    ) -> QuantizedWeight:
        """A constant on integers; see `scales.weight`."""
        key = (name, axis, symmetric, bits, unsigned)
        if key not in self._quantized:
            self._quantized[key] = scales.weight(
                self.value(name), axis=axis, symmetric=symmetric, bits=bits, unsigned=unsigned
            )
        return self._quantized[key]

    def rounded(
        self, name: str, *, axis: int | None, symmetric: bool, bits: int = 8, unsigned: bool = False
    ) -> np.ndarray:
        """A constant in float32, at the values its integers stand for."""
        key = (name, axis, symmetric, bits, unsigned)
        if key not in self._rounded:
            self._rounded[key] = scales.dequantize(
                self.quantized(name, axis=axis, symmetric=symmetric, bits=bits, unsigned=unsigned)
            )
        return self._rounded[key]
