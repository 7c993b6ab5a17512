"""Activations of 16 bits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...strategies.base import ACTIVATION_SYMMETRY, CALIBRATOR, IMPORTED
from ..calibration.ranges import Ranges
from . import scales
from .candidate import Quantization

OPSET = 21
"""The first whose QuantizeLinear and DequantizeLinear take 16-bit integers."""

TYPES = {"asymmetric": "uint16", "symmetric": "int16"}
"""Integer type of an activation per symmetry."""


def parameters(tensor: str, recipe: Mapping[str, str], ranges: Ranges, symmetry: str) -> Quantization:
    """Scale and zero point of an activation on 16 bits: min-max ranges, or imported ones.

    With 65536 steps rounding costs next to nothing whatever the range: what a calibrator cuts off for finer steps
    would be all there is to lose.

    Args:
        tensor: The activation.
        recipe: Parameter → choice.
        ranges: What calibration found.
        symmetry: The activations' where the recipe says nothing.

    Raises:
        KeyError: The tensor was not calibrated.
    """
    chosen = recipe.get(ACTIVATION_SYMMETRY, symmetry)
    calibrator = IMPORTED if recipe.get(CALIBRATOR) == IMPORTED else "minmax"
    low, high = ranges.get(tensor, calibrator, chosen)
    dtype = TYPES[chosen]
    scale, zero_point = scales.activation(low, high, symmetric=chosen == "symmetric", dtype=dtype)
    return Quantization(np.asarray(scale, np.float32), np.asarray(zero_point, dtype), dtype)
