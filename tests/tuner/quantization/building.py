"""Models with their analysis, ranges and builder, and seeded random recipes."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from autoquant.evaluators.base import Feed
from autoquant.evaluators.session import open_session
from autoquant.strategies.base import (
    ACTIVATION_SYMMETRY,
    CALIBRATOR,
    GRANULARITIES,
    LAYER,
    OP,
    SYMMETRIES,
    WEIGHT_GRANULARITY,
    WEIGHT_SYMMETRY,
    Recipe,
)
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.calibration.ranges import Ranges
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.analysis import Analysis
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import Model
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.candidate import Candidate
from autoquant.tuner.quantization.kernels import integer_kernels
from autoquant.tuner.targets.profiles import get

from tests import zoo


@dataclass(frozen=True)
class Case:
    """A model ready to be quantized."""

    model: Model
    analysis: Analysis
    ranges: Ranges
    feeds: list[Feed]
    builder: Builder

    def recipe(self, layers: str = "int8", glue: str = "fp32", **other: str) -> Recipe:
        """All layers and all glue of one precision; other parameters by their name with _ for /."""
        parameters = {OP + g.op_type: glue for g in self.analysis.glue}
        parameters |= {LAYER + group: layers for group in self.analysis.groups}
        parameters |= {
            CALIBRATOR: "minmax",
            ACTIVATION_SYMMETRY: "asymmetric",
            WEIGHT_GRANULARITY: "per_channel",
            WEIGHT_SYMMETRY: "symmetric",
        }
        return Recipe(parameters | {name.replace("_", "/", 1): value for name, value in other.items()})

    def random_recipe(self, seed: int) -> Recipe:
        """Every parameter drawn; a tenth to nine tenths of the layers int8."""
        draw = random.Random(seed)
        parameters = {
            CALIBRATOR: draw.choice(["minmax", "percentile_99.9", "mse"]),
            ACTIVATION_SYMMETRY: draw.choice(SYMMETRIES),
            WEIGHT_GRANULARITY: draw.choice(GRANULARITIES),
            WEIGHT_SYMMETRY: draw.choice(SYMMETRIES),
        }
        share = draw.choice([0.1, 0.3, 0.5, 0.7, 0.9])
        for op_type in sorted({g.op_type for g in self.analysis.glue}):
            parameters[OP + op_type] = draw.choice(["int8", "fp32"])
        for group in self.analysis.groups:
            parameters[LAYER + group] = "int8" if draw.random() < share else "fp32"
        return Recipe(parameters)

    def outputs(self, candidate: Candidate, **options: object) -> list[list[np.ndarray]]:
        """What the candidate answers to the feeds."""
        opened = session(candidate)
        return [opened.run(None, dict(feed)) for feed in self.feeds]

    def float_outputs(self) -> list[list[np.ndarray]]:
        """What the float model answers."""
        opened = open_session(self.model.proto.SerializeToString(), weights=self.model.weights, threads=1)
        return [opened.run(None, dict(feed)) for feed in self.feeds]


def case(proto: onnx.ModelProto, folder: Path, target: str = "cpu", feeds: Iterable[Feed] | None = None) -> Case:
    """Load, analyse and calibrate a model."""
    return case_of(zoo.save(proto, folder / "model.onnx"), feeds or zoo.feeds(proto), target)


def case_of(path: Path, feeds: Iterable[Feed], target: str = "cpu") -> Case:
    """The same from a file."""
    model = load(path)
    analysis = analyse(model)
    kept = list(feeds)
    ranges = compute_ranges(collect(model, analysis.tensors, kept, open_session=open_session))
    return Case(model, analysis, ranges, kept, Builder(model, analysis, ranges, get(target)))


def session(candidate: Candidate) -> ort.InferenceSession:
    """A session under default graph optimizations."""
    return open_session(candidate.skeleton(), weights=candidate.weights, threads=1)


def differences(case: Case, candidate: Candidate) -> dict[str, tuple[str, str]]:
    """Layers that run in another precision than they were built in: name → (built, ran); kernels of no layer too."""
    kernels = integer_kernels(candidate, case.analysis)
    integer = {kernel.layer for kernel in kernels}
    wrong = {
        name: (precision, "int8" if name in integer else "float")
        for name, precision in candidate.layers.items()
        if (precision == "int8") != (name in integer)
    }
    return wrong | {kernel.name: ("nothing of ours", kernel.op_type) for kernel in kernels if kernel.layer is None}


def distance(reference: list[list[np.ndarray]], outputs: list[list[np.ndarray]]) -> float:
    """Relative squared error over all outputs."""
    error = size = 0.0
    for before, after in zip(reference, outputs, strict=True):
        for a, b in zip(before, after, strict=True):
            error += float(((a.astype(np.float64) - b.astype(np.float64)) ** 2).sum())
            size += float((a.astype(np.float64) ** 2).sum())
    return error / size
