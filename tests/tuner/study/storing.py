"""Spaces and stores for the tests of the study's storage."""

from pathlib import Path
from typing import Any

from autoquant.strategies.base import Space
from autoquant.strategies.words import (
    ACTIVATION_SYMMETRY,
    CALIBRATOR,
    CALIBRATORS,
    GRANULARITIES,
    PRECISIONS,
    SYMMETRIES,
    WEIGHT_GRANULARITY,
    WEIGHT_SYMMETRY,
)
from autoquant.tuner.study.database import url_of
from autoquant.tuner.study.store import Store
from autoquant.tuner.study.trial import Measured

FINGERPRINT = {"model": "a1", "evaluation": "b2", "calibration": "c3"}
SCORED_ON = {"provider": "CPUExecutionProvider", "mode": "fused", "runtime": "1.31.1", "threads": 2}


def make_space(layers: int = 4, **offered: tuple[str, ...]) -> Space:
    choices: dict[str, tuple[str, ...]] = {
        CALIBRATOR: CALIBRATORS,
        ACTIVATION_SYMMETRY: SYMMETRIES,
        WEIGHT_GRANULARITY: GRANULARITIES,
        WEIGHT_SYMMETRY: SYMMETRIES,
        "op/Add": ("int8", "fp32"),
    } | {f"layer/block.{i}/Conv": PRECISIONS for i in range(layers)}
    usual = {name: ("int8", "fp32") if name.startswith("layer/") else values for name, values in choices.items()}
    return Space(choices, usual | offered)


def make_store(file: Path, name: str = "study", space: Space | None = None, **options: Any) -> Store:
    attributes = {
        "fingerprint": FINGERPRINT,
        "target_drop": {"value": 0.01, "relative": True},
        "build": {"target": "cpu", "weight_bits": 8},
    } | options.pop("attributes", {})
    options = {"version": "0.1.0", "timeout": 0.2} | options
    return Store.create(url_of(file), name, space or make_space(), attributes=attributes, **options)


def measured(drop: float = 0.005, cost: float | None = 0.5, **more: Any) -> Measured:
    usual = {
        "metric": 0.8,
        "size_bytes": 1000,
        "int8_layers": 3,
        "samples": 100,
        "seconds": {"build": 0.01, "session": 0.02, "evaluate": 1.0},
        "scored_on": SCORED_ON,
    }
    return Measured(drop=drop, cost=cost, **(usual | more))
