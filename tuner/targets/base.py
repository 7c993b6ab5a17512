"""What a target runtime runs fast, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Target:
    """A runtime's profile.

    Attributes:
        name: `cpu`, `cuda`, `tensorrt` or `qnn`.
        precisions: What a layer may be, the preferred first.
        activation: Integer type of an activation per symmetry: `{"asymmetric": "uint8", "symmetric": "uint8"}`.
        weight: Integer type of a weight per symmetry.
        weight_bits: 8, or 7 where 8-bit products saturate (x86 without VNNI): the weight's largest magnitude is
            2**(bits-1) - 1.
        bias: `int32` (quantized with scale = activation scale × weight scale) or `float`.
        layers: Compute operator types that run on integers → whether the kernel needs a Q on its output.
        glue: Glue operator types that compute or pass int8 there.
        symmetries: Activation symmetries offered, the preferred first.
        weight_only: Operator type → the precisions beside these that quantize nothing but its constants and run in
            float (`weight8`, `int4`). Offered where the objective is size, or where they are asked for.
    """

    name: str
    precisions: tuple[str, ...]
    activation: Mapping[str, str]
    weight: Mapping[str, str]
    weight_bits: int
    bias: str
    layers: Mapping[str, bool]
    glue: tuple[str, ...]
    symmetries: tuple[str, ...]
    weight_only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Target:
        """The inverse of `to_json`."""
        lists = {name: tuple(data[name]) for name in ("precisions", "glue", "symmetries")}
        return cls(**{**data, **lists})
