"""How far a candidate's outputs are from the float model's, without labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import onnxruntime as ort

from .base import Feed

Outputs = Sequence[Sequence[np.ndarray]]
"""For each feed, the outputs that are compared."""

# A sample whose reference is all but zero is measured against this part of the average sample's power.
_FLOOR = 1e-6


def outputs(session: ort.InferenceSession, feeds: Iterable[Feed]) -> list[list[np.ndarray]]:
    """The float outputs of every feed; all tensor outputs where the model has no float one."""
    names = [output.name for output in session.get_outputs() if output.type.startswith("tensor(")]
    floats = [o.name for o in session.get_outputs() if o.type in ("tensor(float)", "tensor(double)", "tensor(float16)")]
    return [session.run(floats or names, dict(feed)) for feed in feeds]


def distance(reference: Outputs, found: Outputs) -> float:
    """Mean over samples and outputs of ‖found − reference‖² / ‖reference‖².

    Samples are the rows along the first axis where all outputs of a feed agree in it, else the feed is one sample.
    Where an output is not float: the fraction of elements that differ. Elements where the reference itself is not
    finite do not count.

    Returns:
        At least 0; infinity where `found` holds a NaN or infinity, or has other shapes.
    """
    sums: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for whole, mine in zip(reference, found, strict=True):
        rows = {array.shape[:1] for array in whole}
        count = int(next(iter(rows))[0]) if len(rows) == 1 and next(iter(rows)) else 1
        for position, (expected, got) in enumerate(zip(whole, mine, strict=True)):
            if expected.shape != got.shape:
                return math.inf
            if not expected.size:
                continue
            sums.setdefault(position, []).append(_squares(expected.reshape(count, -1), got.reshape(count, -1)))
    if not sums:
        return 0.0
    values = []
    for parts in sums.values():
        errors = np.concatenate([error for error, _ in parts])
        powers = np.concatenate([power for _, power in parts])
        if not np.isfinite(errors).all():
            return math.inf
        floor = _FLOOR * float(powers.mean())
        if floor == 0.0:
            values.append(math.inf if errors.any() else 0.0)
        else:
            values.append(float((errors / np.maximum(powers, floor)).mean()))
    return float(np.mean(values))


def _squares(expected: np.ndarray, got: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row by row ‖got − expected‖² and ‖expected‖², float64 [rows]."""
    if expected.dtype.kind != "f":
        return (expected != got).sum(axis=1).astype(np.float64), np.full(len(expected), expected.shape[1], np.float64)
    wide, error = floats(expected), floats(got) - floats(expected)
    finite = np.isfinite(wide)
    if not finite.all():
        wide, error = np.where(finite, wide, 0), np.where(finite, error, 0)
    return power(error), power(wide)


def floats(array: np.ndarray) -> np.ndarray:
    """float32 or float64 as it is, float16 as float32: outputs can be large, and their copies are what takes time."""
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def power(rows: np.ndarray) -> np.ndarray:
    """Sum of squares of each row, summed in float64 [rows]."""
    return np.asarray(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
