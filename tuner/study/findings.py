"""A diagnosis in sentences: what a few cheap checks say, and what helps."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...strategies.words import CALIBRATOR, LAYER, WEIGHT_GRANULARITY
from ..calibration.coverage import Coverage
from .causes import Effort, Examiner, Half
from .run import Run
from .stopping import Ended

_SAME = 1e-6
_NAMED = 3
_LARGE_PART = 0.1
_ROOM = 1.05


class Findings:
    """Puts what an Examiner measures into sentences.

    Attributes:
        causes: Why the target was not met.
        advice: What to do next, the likeliest help first.
        checks: The figures behind them, JSON-able.
    """

    def __init__(self, run: Run, best: Effort, ended: Ended) -> None:
        self._run = run
        self._best = best
        self._ended = ended
        self._target = run.inputs.request.target_drop
        self.causes: list[str] = []
        self.advice: list[str] = []
        self.checks: dict[str, Any] = {}

    def examine(self, examiner: Examiner) -> None:
        """Run the checks, the ones that explain most first."""
        best, total = self._best, len(self._run.inputs.analysis.layers)
        integers = sum(best.recipe.get(LAYER + layer.group) == "int8" for layer in self._run.inputs.analysis.layers)
        self.causes.append(
            f"the nearest model has {integers} of {total} layers in int8 and loses {self._target.shown(best.drop)}"
        )
        self._metric()
        if self._floats(examiner.floats()):
            if not examiner.late:
                self._halves(*examiner.halves())
            self._layers(examiner.layers())
            self._calibrators(examiner.calibrators())
        if not examiner.late:
            self._coverage(examiner.coverage())
        self._budget()

    def _metric(self) -> None:
        """Whether the target is finer than the evaluation can tell."""
        samples, mine, target = self._run.baseline.samples, self._best.samples, self._target.value
        scale = abs(self._run.baseline.metric) if self._target.relative else 1.0
        if samples is not None and mine is not None and set(np.unique([*samples, *mine])) <= {0.0, 1.0}:
            one = 1.0 / len(samples) / scale
            self.checks["one_sample"] = one
            if target < one:
                self.causes.append(
                    f"the target of {self._target} is finer than one of the {len(samples)} samples "
                    f"({self._target.shown(one)})"
                )
                self.advice.append(
                    f"evaluate on at least {math.ceil(1.0 / (target * scale)):,} samples, or allow a larger "
                    "--target-drop"
                )
        if self._best.drop_ci is not None:
            low, high = self._best.drop_ci
            half = 0.5 * (high - low)
            self.checks["drop_ci"] = [low, high]
            if samples is not None and half > target and low <= target:
                more = math.ceil(len(samples) * (half / target) ** 2)
                self.causes.append(
                    f"{len(samples)} samples tell the drop only to within {self._target.shown(low)} to "
                    f"{self._target.shown(high)} (95%), where {self._target} is allowed"
                )
                self.advice.append(f"evaluate on more samples (about {more:,}) to know whether the target is missed")
        if self._best.noise > 0.5 * target:
            self.causes.append(
                f"the metric moves by {self._target.shown(self._best.noise)} by itself between evaluations"
            )
            self.advice.append("seed the evaluation, or average over more samples")

    def _floats(self, half: Half) -> bool:
        """Whether the unquantized graph is sound, so that the quantization is to blame."""
        self.checks["float"] = _figures(half)
        if half.drop is not None and half.drop > self._target.value:
            lost = f"{100 * half.drop:.2g}%" if self._target.relative else f"{half.drop:.2g}"
            self.causes.append(
                f"even with nothing quantized the model as autoquant writes it loses {lost}, more than the target"
            )
            if half.distance <= _SAME:
                self.advice.insert(
                    0,
                    "the outputs are the float model's but for rounding: the metric itself moves more "
                    "than the target; seed the evaluation, or allow a larger --target-drop",
                )
            else:
                self.advice.insert(0, "please report it, with what `autoquant inspect` says of the model")
            return half.drop < 0.5 * self._best.drop
        if half.drop is not None:
            self.causes.append(f"with nothing quantized the target holds (drop {self._target.shown(half.drop)})")
        elif half.distance > _SAME:
            self.causes.append(
                f"with nothing quantized the outputs already differ from the float model's (distance "
                f"{half.distance:.2g})"
            )
        return True

    def _halves(self, weights: Half, activations: Half) -> None:
        """Which half of the quantization costs the metric."""
        self.checks["weights_only"], self.checks["activations_only"] = _figures(weights), _figures(activations)
        parts = {"weights": weights, "activations": activations}
        worst = max(parts, key=lambda name: parts[name].distance)
        drop, far = parts[worst].drop, ", ".join(f"{name} {part.distance:.2g}" for name, part in parts.items())
        if drop is None:
            self.causes.append(f"rounding the {worst} alone moves the outputs more (distances: {far})")
        else:
            change = f"{'loses' if drop > 0 else 'gains'} {self._target.shown(abs(drop))}"
            verdict = "more than the target" if drop > self._target.value else "within the target"
            self.causes.append(f"rounding the {worst} alone {change}: {verdict} (distances: {far})")
        self.advice.append(self._help(worst))

    def _help(self, half: str) -> str:
        recipe = self._best.recipe
        if half == "weights":
            coarse = recipe.get(WEIGHT_GRANULARITY) == "per_tensor"
            per_channel = "--fix weight/granularity=per_channel, or " if coarse else ""
            return f"weights: {per_channel}keep the layers that hold it back in float"
        per_layer = "" if self._run.space.calibrators else "search with --per-layer-calibrators, "
        return f"activations: {per_layer}calibrate on more samples, or keep the layers that hold it back in float"

    def _layers(self, parts: Mapping[str, float]) -> None:
        """Which layers hold it back."""
        worst = [(name, part) for name, part in parts.items() if part >= _LARGE_PART][:_NAMED]
        self.checks["layers"] = {name: round(part, 4) for name, part in list(parts.items())[:10]}
        if not parts:
            return
        if not worst:
            self.causes.append(f"no single layer stands out among {len(parts)}: all lose a little")
            return
        kept = [name for name, _ in worst if self._best.recipe.get(LAYER + name) != "int8"]
        told = ", ".join(f"{name} ({100 * part:.0f}%)" for name, part in worst)
        floats = f"; in float here: {', '.join(kept)}" if kept else ""
        self.causes.append(f"these layers, each alone, move the outputs most: {told}{floats}")
        left = [name for name, _ in worst if name not in kept]
        if left:
            self.advice.append(f"--keep-float '^({'|'.join(map(re.escape, left))})$' takes them out of the search")

    def _calibrators(self, found: Mapping[str, float]) -> None:
        """How much the calibrator decides."""
        self.checks["calibrators"] = {name: _finite(value) for name, value in found.items()}
        ranked = [(name, value) for name, value in found.items() if math.isfinite(value)]
        if len(ranked) < 2:
            return
        (best, low), (worst, high) = ranked[0], ranked[-1]
        self.causes.append(
            f"calibrators at all layers in int8: {best} is nearest ({low:.2g}), {worst} farthest ({high:.2g})"
        )
        mine = self._best.recipe.get(CALIBRATOR)
        offered = self._run.space.offered[CALIBRATOR]
        if len(offered) == 1:
            self.advice.append("search without --fix activation/calibrator")
        elif low < 0.5 * next((value for name, value in ranked if name.split(",")[0] == mine), low):
            self.advice.append(f"try --fix activation/calibrator={best.split(',')[0]}: its trials come nearer to float")

    def _coverage(self, tensors: Sequence[Coverage]) -> None:
        """Whether calibration saw what the evaluation feeds."""
        samples = self._run.ranges.samples
        unlike = [tensor for tensor in tensors if tensor.unlike(samples)]
        if not tensors:
            return
        self.checks["calibration"] = {
            "tensors": len(tensors),
            "unlike": [{"tensor": t.tensor, "beyond": t.beyond, "reach": t.reach} for t in unlike[:10]],
        }
        inputs = {value.name for value in self._run.inputs.model.proto.graph.input}
        chosen = [t for t in unlike if t.tensor in inputs] or sorted(unlike, key=lambda t: -t.beyond)
        if not chosen:
            return
        first = chosen[0]
        what = "input" if first.tensor in inputs else "tensor"
        if first.reach < 1.0 and not first.beyond:
            said = f"reaches only {100 * first.reach:.0f}% of its calibrated range"
        else:
            said = f"has {100 * first.beyond:.2g}% of its values beyond its calibrated range, up to {first.reach:.3g}×"
        more = f" (and {len(unlike) - 1} more tensors)" if len(unlike) > 1 else ""
        self.causes.append(f"calibration saw other data than the evaluation: {what} {first.tensor} {said}{more}")
        self.advice.insert(0, "let calibration() yield samples as the evaluation feeds them, preprocessing included")

    def _budget(self) -> None:
        """What a search would have needed."""
        if self._ended.by == "trials":
            self.advice.append("the trials were spent: a higher --max-trials goes on from here")
        elif self._ended.by == "timeout":
            self.advice.append("the time was over: the same command goes on from here")
        allowed = _ROOM * self._best.drop
        shown = f"{100 * allowed:.2g}%" if self._target.relative else f"{allowed:.2g}"
        if self._best.drop > 0 and (not self._target.relative or allowed < 1.0):
            self.advice.append(f"--target-drop {shown} is what the nearest model holds")


def _figures(half: Half) -> dict[str, float | None]:
    return {"distance": _finite(half.distance), "drop": half.drop}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
