"""Ranges: what calibration leaves behind, all a candidate needs of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ranges:
    """The range of every tensor under every calibrator, and the tensors' shapes.

    Attributes:
        values: tensor → calibrator → symmetry → (low, high), low ≤ 0 ≤ high, float32 values held as floats.
            Symmetric ranges have low = -high, except for a tensor that was never negative: (0, high).
        shapes: tensor → its shape in the first calibration feed (batch as fed), for counting operations.
        samples: Number of calibration samples seen (sum of the first dimensions of the feeds).
    """

    values: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    samples: int = 0

    def get(self, tensor: str, calibrator: str, symmetry: str) -> tuple[float, float]:
        """(low, high) of a tensor. KeyError if it was not calibrated."""
        return self.values[tensor][calibrator][symmetry]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able form; floats are exact float32 values and survive the round trip."""
        return {
            "values": {
                t: {c: {s: list(r) for s, r in by.items()} for c, by in v.items()} for t, v in self.values.items()
            },
            "shapes": {t: list(s) for t, s in self.shapes.items()},
            "samples": self.samples,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ranges:
        """The inverse of `to_json`."""
        return cls(
            values={
                t: {c: {s: (float(r[0]), float(r[1])) for s, r in by.items()} for c, by in v.items()}
                for t, v in data["values"].items()
            },
            shapes={t: tuple(s) for t, s in data["shapes"].items()},
            samples=int(data["samples"]),
        )
