"""Does AdaRound beat GPTQ? `python -m benchmarks.rounding cls180 --granularity per_tensor --samples 1000`.

Both minimise the same quadratic, tr(ΔW·H·ΔWᵀ) on the layers' Hessian, AdaRound by Adam on a relaxed choice between the
step below and the step above (no autograd: the gradient of a quadratic is 2·ΔW·H). For each layer: the error on the
calibration samples that H is of and on as many others, relative to rounding to nearest, and seconds. For the model: the
drop and the distance of the outputs with nothing but the weights rounded. Writes results/rounding_<task>.json.

It does not: geometric means over the layers, weights per tensor, relative to rounding to nearest, on the samples seen
and on others. cls180 (2000 iterations): AdaRound 0.31 and 0.33, GPTQ 0.20 and 0.26, for 80 times the seconds;
EfficientNet-Lite0 (500): 0.29 and 0.32 against 0.20 and 0.28, for 29 times. On half of the layers there, wide ones of
few inputs, AdaRound is the better one, mostly by 5 to 20 %. Coordinate descent behind GPTQ gains on the samples seen
(0.19 on both) and loses on others (0.27 and 0.31). So neither is a choice of `correction/rounding`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from autoquant.evaluators.session import open_session
from autoquant.strategies.recipes import activation_settings, compose
from autoquant.strategies.words import CALIBRATOR, CALIBRATORS, GRANULARITIES, ROUNDING, WEIGHT_GRANULARITY
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.calibration.moments import moments
from autoquant.tuner.calibration.rows import Form, as_matrices, as_weight
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.quantization import halves
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.gptq import gptq
from autoquant.tuner.quantization.passes import Passes
from autoquant.tuner.quantization.results import Kept, Wanted
from autoquant.tuner.study.space import build_space
from autoquant.tuner.targets import profiles

from .environment import environment, folders, task_arguments, write
from .part import opened

ZETA, GAMMA = 1.1, -0.1
"""The rectified sigmoid's stretch (Louizos et al. 2018, as AdaRound has it)."""
WARM = 0.2
"""Part of the iterations without the regulariser."""
BETAS = (20.0, 2.0)


def nearest(
    weight: np.ndarray, hessian: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, low: int, high: int
) -> np.ndarray:
    """Rounding to nearest, arguments as for `gptq`."""
    return np.clip(np.rint(weight.astype(np.float64) / scale) + zero_point, low, high).astype(np.int64)


def adaround(
    weight: np.ndarray,
    hessian: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    low: int,
    high: int,
    *,
    iterations: int = 2000,
    strength: float = 10.0,
    rate: float = 0.03,
) -> np.ndarray:
    """AdaRound, arguments and result as for `gptq`.

    Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization": W̃ = s·clip(⌊W/s⌋ + h(V)) with the
    rectified sigmoid h(V) = clip(σ(V)(ζ − γ) + γ, 0, 1) (equation 23), the reconstruction error and λ·Σ(1 − |2h − 1|^β)
    (equations 21, 24) minimised by Adam, β falling from 20 to 2 after a warm start. The error is the one on all samples
    at once, in units of rounding to nearest per output, so that one λ fits all layers. On such a Hessian the
    figures hardly change between λ = 3 and 300 or rates of 0.01 and 0.1.

    Args:
        iterations: Of Adam.
        strength: λ.
        rate: Of Adam.
    """
    step, zero = np.asarray(scale, np.float32), np.asarray(zero_point, np.float32)
    step, zero = (np.broadcast_to(each, (*weight.shape[:2], 1)) for each in (step, zero))
    steps = weight / step
    below = np.floor(steps)
    rest = np.clip(steps - below, 0.001, 0.999)
    inner = (rest - GAMMA) / (ZETA - GAMMA)
    values = np.log(inner / (1.0 - inner)).astype(np.float32)
    matrix = hessian.astype(np.float32)
    near = (np.clip(np.rint(steps) + zero, low, high) - zero - steps).astype(np.float32)
    unit = np.maximum(((near @ matrix) * near).sum(axis=2, keepdims=True), 1e-12) / weight.shape[2]
    first, second = np.zeros_like(values), np.zeros_like(values)
    inside = (below + zero >= low) & (below + 1 + zero <= high)
    for number in range(1, iterations + 1):
        sigmoid = 1.0 / (1.0 + np.exp(-values))
        stretched = sigmoid * (ZETA - GAMMA) + GAMMA
        chosen = np.clip(stretched, 0.0, 1.0)
        off = (np.clip(below + chosen + zero, low, high) - zero - steps).astype(np.float32)
        slope = 2.0 * (off @ matrix) / unit
        done = number / iterations
        if done > WARM:
            beta = BETAS[1] + 0.5 * (BETAS[0] - BETAS[1]) * (1.0 + np.cos(np.pi * (done - WARM) / (1.0 - WARM)))
            centred = 2.0 * chosen - 1.0
            slope -= strength * 2.0 * beta * np.sign(centred) * np.abs(centred) ** (beta - 1.0)
        slope *= ((stretched > 0.0) & (stretched < 1.0) & inside) * (ZETA - GAMMA) * sigmoid * (1.0 - sigmoid)
        first += 0.1 * (slope - first)
        second += 0.001 * (slope * slope - second)
        values -= rate * (first / (1.0 - 0.9**number)) / (np.sqrt(second / (1.0 - 0.999**number)) + 1e-8)
    up = np.clip(1.0 / (1.0 + np.exp(-values)) * (ZETA - GAMMA) + GAMMA, 0.0, 1.0) >= 0.5
    return np.clip(below + up + zero, low, high).astype(np.int64)


def descended(
    weight: np.ndarray,
    hessian: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray,
    low: int,
    high: int,
    *,
    sweeps: int = 3,
) -> np.ndarray:
    """GPTQ, then cyclic coordinate descent on the same quadratic, arguments and result as for `gptq`.

    Each weight in turn goes to the step that is best with all others as they are (Behdin et al. 2023, "QuantEase",
    section 3): of the output's error e, to ⌊e_j − (e·H)_j / H_jj⌉ on the grid.
    """
    found = gptq(weight, hessian, scale, zero_point, low, high)
    step, zero = (np.broadcast_to(np.asarray(of, np.float64), (*weight.shape[:2], 1)) for of in (scale, zero_point))
    exact = hessian.astype(np.float64)
    integers = found.astype(np.float64)
    error = (integers - zero) * step - weight
    slope = error @ exact
    for _ in range(sweeps):
        before = integers.copy()
        for j in range(weight.shape[2]):
            curve = exact[:, j, j][:, np.newaxis, np.newaxis]
            best = integers[:, :, j : j + 1] - slope[:, :, j : j + 1] / np.where(curve > 0, curve, np.inf) / step
            moved = np.clip(np.rint(best), low, high) - integers[:, :, j : j + 1]
            integers[:, :, j : j + 1] += moved
            slope += moved * step * exact[:, j : j + 1, :]
        if np.array_equal(before, integers):
            break
    return integers.astype(np.int64)


Method = Callable[..., np.ndarray]


class Compared(Passes):
    """Computes every rounding by every method, hands on one of them, and keeps what each found."""

    def __init__(self, methods: Mapping[str, Method], others: Any, **passes: Any) -> None:
        super().__init__(**passes)
        self._methods = methods
        self._others = others
        self._beside: Mapping[Form, Any] = {}
        self.chosen = next(iter(methods))
        self.found: dict[str, dict[str, np.ndarray]] = {}
        self.layers: dict[str, dict[str, dict[str, float]]] = {}

    def get(self, wanted: Wanted) -> Kept:
        """The rounded weight by the method chosen."""
        rounding = wanted.rounding
        if rounding is None:
            return super().get(wanted)
        if wanted.key not in self.found:
            if not self._beside:
                self._beside = self._others(wanted)
            known = self._known(wanted)
            hessian, beside = (sum(of[form].hessian for form in wanted.readers) for of in (known, self._beside))
            weight = as_matrices(rounding.weight, rounding.form, rounding.axis)
            shape = (*weight.shape[:2], 1) if rounding.quantized.axis is not None else (1, 1, 1)
            scale, zero = rounding.quantized.scale.reshape(shape), rounding.quantized.zero_point.reshape(shape)
            self.found[wanted.key], self.layers[wanted.layer] = {}, {}
            for name, method in self._methods.items():
                began = time.perf_counter()
                integers = method(weight, hessian, scale, zero.astype(np.float64), rounding.low, rounding.high)
                seconds = time.perf_counter() - began
                off = (integers - zero.astype(np.float64)) * scale - weight
                seen, unseen = (float(np.sum((off @ of) * off)) for of in (hessian, beside))
                self.layers[wanted.layer][name] = {"seen": seen, "unseen": unseen, "seconds": round(seconds, 3)}
                typed = integers.astype(rounding.quantized.values.dtype)
                self.found[wanted.key][name] = as_weight(typed, rounding.weight.shape, rounding.axis)
            told = self.layers[wanted.layer]
            print(
                f"{wanted.layer[:30]:30s} {weight.shape}",
                *(
                    f"{name} {of['seen'] / told['nearest']['seen']:.3f}/{of['unseen'] / told['nearest']['unseen']:.3f}"
                    f" {of['seconds']:.1f} s"
                    for name, of in told.items()
                ),
                flush=True,
            )
        return Kept(self.found[wanted.key][self.chosen])


def measure(folder: Path, samples: int, granularity: str, calibrator: str, iterations: int, threads: int) -> Any:
    """The figures of one task."""
    part, feeds = opened(folder, samples, threads)
    opener = partial(open_session, threads=threads)
    model = load(folder / "model.onnx")
    analysis = analyse(model)
    statistics = collect(model, analysis.tensors, feeds, open_session=opener)
    ranges = compute_ranges(statistics)
    half, size = feeds[::2], statistics.samples // 2
    others = feeds[1::2]
    methods: dict[str, Method] = {
        "nearest": nearest,
        "gptq": gptq,
        "adaround": partial(adaround, iterations=iterations),
        "descended": descended,
    }
    source = Compared(
        methods,
        lambda wanted: moments(
            model, wanted.forms, others, open_session=opener, hessians=list(wanted.hessians), samples=size
        ),
        feeds=lambda: half,
        open_session=opener,
        samples=size,
    )
    figures: dict[str, dict[str, float]] = {}
    for name in methods:
        source.chosen = name
        builder = Builder(model, analysis, ranges, profiles.get("cpu"), source)
        space = build_space(analysis, profiles.get("cpu"), calibrated=set(ranges.values), faulty=builder.faults)
        settings = next(each for each in activation_settings(space) if each[CALIBRATOR] == calibrator)
        recipe = compose(space, {**settings, WEIGHT_GRANULARITY: granularity, ROUNDING: "gptq"})
        rounded = halves.weights_only(builder.build(recipe, simulate=True))
        alone = open_session(rounded.skeleton(), weights=rounded.weights, threads=threads)
        candidate = builder.build(recipe)
        session = open_session(candidate.skeleton(), weights=candidate.weights, threads=threads)
        figures[name] = {
            "drop": part.drop(session),
            "distance": part.distance(session),
            "weights": part.distance(alone),
            "seconds": round(sum(of[name]["seconds"] for of in source.layers.values()), 2),
        }
        print(folder.name, name, figures[name], flush=True)
    ratios = {
        where: {
            name: float(np.exp(np.mean([np.log(of[name][where] / of["nearest"][where]) for of in told])))
            for name in methods
        }
        for told in [[of for of in source.layers.values() if of["nearest"]["seen"] > 0]]
        for where in ("seen", "unseen")
    }
    print(folder.name, ratios)
    return {
        "environment": environment(),
        "task": folder.name,
        "granularity": granularity,
        "calibrator": calibrator,
        "iterations": iterations,
        "baseline": float(np.mean(part.baseline)),
        "samples": len(part.indices),
        "model": figures,
        "error_relative_to_nearest": ratios,
        "layers": source.layers,
    }


def main() -> None:
    """Measure and write."""
    parser = task_arguments(__doc__, 0)
    parser.add_argument("--granularity", choices=GRANULARITIES, default="per_tensor")
    parser.add_argument("--calibrator", choices=CALIBRATORS, default="minmax")
    parser.add_argument("--iterations", type=int, default=2000)
    given = parser.parse_args()
    for folder in folders(given.tasks, given.task):
        figures = measure(folder, given.samples, given.granularity, given.calibrator, given.iterations, given.threads)
        print(write(f"rounding_{folder.name}", figures))


if __name__ == "__main__":
    main()
