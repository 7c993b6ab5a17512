"""Models with their analysis, ranges and builder, and seeded random recipes."""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from autoquant.evaluators.base import Feed
from autoquant.evaluators.session import open_session
from autoquant.strategies.base import Recipe
from autoquant.strategies.words import (
    ACTIVATION_SYMMETRY,
    CALIBRATOR,
    CALIBRATORS,
    GRANULARITIES,
    LAYER,
    OP,
    SYMMETRIES,
    WEIGHT_GRANULARITY,
    WEIGHT_SYMMETRY,
)
from autoquant.tuner.calibration.collect import collect, with_outputs
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

from tests import exports, zoo


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

    def outputs(self, candidate: Candidate, disabled: Sequence[str] = ()) -> list[list[np.ndarray]]:
        """What the candidate answers to the feeds, some of ONNX Runtime's optimizers switched off."""
        opened = session(candidate, disabled)
        return [opened.run(None, dict(feed)) for feed in self.feeds]

    def float_outputs(self) -> list[list[np.ndarray]]:
        """What the float model answers."""
        opened = open_session(self.model.proto.SerializeToString(), weights=self.model.weights, threads=1)
        return [opened.run(None, dict(feed)) for feed in self.feeds]


@functools.cache
def zoo_case(name: str) -> Case:
    """A model of the zoo."""
    with tempfile.TemporaryDirectory() as folder:
        return case(zoo.ALL[name](), Path(folder))


@functools.cache
def exported(name: str) -> Case:
    """A model of `tests/exports.py`."""
    with tempfile.TemporaryDirectory() as folder:
        proto = exports.ALL[name]()
        return case(proto, Path(folder), list(exports.feeds(proto)))


def case(proto: onnx.ModelProto, folder: Path, feeds: list[Feed] | None = None) -> Case:
    """Load, analyse and calibrate a model, with min-max ranges alone and shrunken ones for the other calibrators."""
    model = load(zoo.save(proto, folder / "model.onnx"))
    analysis = analyse(model)
    feeds = feeds or list(zoo.feeds(proto))
    ranges = quick_ranges(model, analysis, feeds)
    return Case(model, analysis, ranges, feeds, Builder(model, analysis, ranges, get("cpu")))


def real_case(path: Path, feeds: Iterable[Feed]) -> Case:
    """The same of a real model, calibrated in earnest."""
    model = load(path)
    analysis = analyse(model)
    kept = list(feeds)
    ranges = compute_ranges(collect(model, analysis.tensors, kept, open_session=open_session))
    return Case(model, analysis, ranges, kept, Builder(model, analysis, ranges, get("cpu")))


def quick_ranges(model: Model, analysis: Analysis, feeds: list[Feed]) -> Ranges:
    """Min-max ranges, and the same times a factor for every other calibrator."""
    opened = open_session(with_outputs(model.proto, analysis.tensors), weights=model.weights, threads=1)
    names = [output.name for output in opened.get_outputs()]
    ends: dict[str, tuple[float, float]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for feed in feeds:
        found = {**feed, **dict(zip(names, opened.run(None, dict(feed)), strict=True))}
        for name in analysis.tensors:
            low, high = ends.get(name, (0.0, 0.0))
            shapes.setdefault(name, found[name].shape)
            ends[name] = min(low, float(found[name].min())), max(high, float(found[name].max()))
    factors = {calibrator: 1.0 - 0.02 * i for i, calibrator in enumerate(CALIBRATORS)}
    values = {}
    for name, (low, high) in ends.items():
        most = max(-low, high)
        both = {"asymmetric": (low, high), "symmetric": (-most, most) if low < 0 else (0.0, high)}
        values[name] = {c: {s: (f * lo, f * hi) for s, (lo, hi) in both.items()} for c, f in factors.items()}
    return Ranges(values, shapes, len(feeds))


def session(candidate: Candidate, disabled: Sequence[str] = ()) -> ort.InferenceSession:
    """A session, under default graph optimizations unless some are switched off."""
    return open_session(candidate.skeleton(), weights=candidate.weights, threads=1, disabled_optimizers=list(disabled))


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
