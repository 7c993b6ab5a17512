"""Why a target was not met, and what to do about it: a few cheap checks put into sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...strategies.base import CALIBRATOR, LAYER, WEIGHT_GRANULARITY
from ..calibration.coverage import Coverage
from .causes import Effort, Examiner, Half, effort
from .confirm import Confirmed
from .heldout import HeldOut
from .run import Run
from .stopping import Ended, expected
from .trial import recipe_hash

DIAGNOSIS = "diagnosis"

_EVALUATIONS = 2
_SAME = 1e-6
_NAMED = 3
_LARGE_PART = 0.1
_DOMINATES = 4.0
_ROOM = 1.05


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        findings: Sentences: why the target was not met.
        advice: Sentences: what to do next, the likeliest help first.
        checks: The figures behind them, JSON-able.
        evaluations: Full evaluations it took.
    """

    findings: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    checks: Mapping[str, Any] = field(default_factory=dict)
    evaluations: int = 0

    def to_json(self) -> dict[str, Any]:
        """The `diagnosis` of result.json."""
        return {
            "findings": list(self.findings),
            "advice": list(self.advice),
            "checks": dict(self.checks),
            "evaluations": self.evaluations,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Diagnosis:
        """The inverse of `to_json`."""
        return cls(tuple(data["findings"]), tuple(data["advice"]), data["checks"], data["evaluations"])


def diagnose(run: Run, found: Confirmed | None, ended: Ended, held: HeldOut | None = None) -> Diagnosis | None:
    """Examine the best effort of a study where nothing on integers holds the target; None where something does.

    At most two evaluations, none when a budget ended the search or they would outlast `--timeout`; probes take 20 s
    at most. Kept in the study: for the same best effort it is not done again.
    """
    if found is None:
        return _nothing_scored(run, ended)
    best = effort(run, found)
    if best is None:
        return _held_out(run, found, held) if held is not None and not held.holds else None
    allowed = 0 if ended.spent else _affordable(run)
    mine = recipe_hash(best.recipe)
    known = run.store.get(DIAGNOSIS)
    if known is not None and known["of"] == mine and known["allowed"] >= allowed:
        return Diagnosis.from_json(known)
    made = _Writer(run, best, ended).write(Examiner(run, best.recipe, allowed))
    run.store.put({DIAGNOSIS: {"of": mine, "allowed": allowed, **made.to_json()}})
    return made


def _affordable(run: Run) -> int:
    timeout = run.inputs.request.timeout
    if timeout is None:
        return _EVALUATIONS
    return int(max(0.0, min(_EVALUATIONS, (timeout - run.clock.elapsed) / max(expected(run), 1e-9))))


def _nothing_scored(run: Run, ended: Ended) -> Diagnosis:
    failed = [record for record in run.store.trials() if record.state == "failed" and record.told]
    if failed:
        return Diagnosis(
            (f"all {len(failed)} trials failed, the last with: {failed[-1].error}",),
            ("mend what the error names, then run the same command again",),
        )
    if ended.by == "timeout":
        return Diagnosis(
            (f"the time was over before the first trial: the baseline alone took {run.baseline.seconds:.1f} s",),
            ("run the same command again with a longer --timeout: baseline and calibration are kept",),
        )
    return Diagnosis((ended.reason,), ("run the same command again with a larger budget",))


def _held_out(run: Run, found: Confirmed, held: HeldOut) -> Diagnosis:
    target = run.inputs.request.target_drop
    tried = sum(record.state == "complete" for record in run.usable())

    def shown(value: float) -> str:
        return f"{100 * value:.2f}%" if target.relative else f"{value:.4g}"

    low, high = held.drop_ci
    findings = [
        f"the best of {tried} trials loses {shown(found.drop)} on the samples it was chosen by and {shown(held.drop)} "
        f"on the {held.samples} held out (95%: {shown(low)} to {shown(high)})"
    ]
    advice = ["search with a smaller --target-drop than the one you need, so that what is chosen has room to lose"]
    if low <= found.drop:
        findings.append("the difference is within the noise of so few samples")
        advice.insert(0, "evaluate on more samples: both the choice and its confirmation become surer")
    return Diagnosis(tuple(findings), tuple(advice), {"holdout": held.to_json()})


class _Writer:
    """Puts what an Examiner measures into sentences."""

    def __init__(self, run: Run, best: Effort, ended: Ended) -> None:
        self._run = run
        self._best = best
        self._ended = ended
        self._target = run.inputs.request.target_drop
        self._findings: list[str] = []
        self._advice: list[str] = []
        self._checks: dict[str, Any] = {}

    def write(self, examiner: Examiner) -> Diagnosis:
        """Run the checks, the ones that explain most first."""
        best, total = self._best, len(self._run.inputs.analysis.layers)
        integers = sum(best.recipe.get(LAYER + layer.group) == "int8" for layer in self._run.inputs.analysis.layers)
        self._findings.append(
            f"the nearest model has {integers} of {total} layers in int8 and loses {self._shown(best.drop)}"
        )
        self._metric()
        if self._floats(examiner.floats()):
            self._halves(*examiner.halves())
            self._layers(examiner.layers())
            self._calibrators(examiner.calibrators())
        self._coverage(examiner.coverage())
        self._budget()
        return Diagnosis(tuple(self._findings), tuple(self._advice), self._checks, examiner.evaluations)

    def _shown(self, drop: float) -> str:
        return f"{100 * drop:.2f}%" if self._target.relative else f"{drop:.4g}"

    def _metric(self) -> None:
        """Whether the target is finer than the evaluation can tell."""
        samples, mine, target = self._run.baseline.samples, self._best.samples, self._target.value
        scale = abs(self._run.baseline.metric) if self._target.relative else 1.0
        if samples is not None and mine is not None and set(np.unique([*samples, *mine])) <= {0.0, 1.0}:
            one = 1.0 / len(samples) / scale
            self._checks["one_sample"] = one
            if target < one:
                self._findings.append(
                    f"the target of {self._target} is finer than one of the {len(samples)} samples ({self._shown(one)})"
                )
                self._advice.append(
                    f"evaluate on at least {math.ceil(1.0 / (target * scale)):,} samples, or allow a larger "
                    "--target-drop"
                )
        if self._best.drop_ci is not None:
            low, high = self._best.drop_ci
            half = 0.5 * (high - low)
            self._checks["drop_ci"] = [low, high]
            if samples is not None and half > target and low <= target:
                more = math.ceil(len(samples) * (half / target) ** 2)
                self._findings.append(
                    f"{len(samples)} samples tell the drop only to within {self._shown(low)} to {self._shown(high)} "
                    f"(95%), where {self._target} is allowed"
                )
                self._advice.append(f"evaluate on more samples (about {more:,}) to know whether the target is missed")
        if self._best.noise > 0.5 * target:
            self._findings.append(f"the metric moves by {self._shown(self._best.noise)} by itself between evaluations")
            self._advice.append("seed the evaluation, or average over more samples")

    def _floats(self, half: Half) -> bool:
        """Whether the unquantized graph is sound, so that the quantization is to blame."""
        self._checks["float"] = _figures(half)
        if half.drop is not None and half.drop > self._target.value:
            lost = f"{100 * half.drop:.2g}%" if self._target.relative else f"{half.drop:.2g}"
            self._findings.append(
                f"even with nothing quantized the model as autoquant writes it loses {lost}, more than the target"
            )
            if half.distance <= _SAME:
                self._advice.insert(
                    0,
                    "the outputs are the float model's but for rounding: the metric itself moves more "
                    "than the target; seed the evaluation, or allow a larger --target-drop",
                )
            else:
                self._advice.insert(0, "please report it, with what `autoquant inspect` says of the model")
            return half.drop < 0.5 * self._best.drop
        if half.drop is not None:
            self._findings.append(f"with nothing quantized the target holds (drop {self._shown(half.drop)})")
        elif half.distance > _SAME:
            self._findings.append(
                f"with nothing quantized the outputs already differ from the float model's (distance "
                f"{half.distance:.2g})"
            )
        return True

    def _halves(self, weights: Half, activations: Half) -> None:
        """Which half of the quantization costs the metric."""
        self._checks["weights_only"], self._checks["activations_only"] = _figures(weights), _figures(activations)
        pairs = (("weights", weights, activations), ("activations", activations, weights))
        for name, mine, other in pairs:
            if mine.drop is None and not mine.distance > _DOMINATES * other.distance:
                continue
            text = f"rounding the {name} alone"
            if mine.drop is not None:
                verb = "loses" if mine.drop > 0 else "gains"
                text += f" {verb} {self._shown(abs(mine.drop))}"
                text += ": more than the target" if mine.drop > self._target.value else ", within the target"
                text += " (distance" if mine.drop is not None else ""
                text += f" {mine.distance:.2g}, the other half {other.distance:.2g})"
            else:
                text += f" moves the outputs {mine.distance / max(other.distance, 1e-30):.0f} times as far as the rest"
            self._findings.append(text)
            if mine.distance >= other.distance:
                self._advice.append(self._help(name))

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
        self._checks["layers"] = {name: round(part, 4) for name, part in list(parts.items())[:10]}
        if not parts:
            return
        if not worst:
            self._findings.append(f"no single layer stands out among {len(parts)}: all lose a little")
            return
        kept = [name for name, _ in worst if self._best.recipe.get(LAYER + name) != "int8"]
        told = ", ".join(f"{name} ({100 * part:.0f}%)" for name, part in worst)
        floats = f"; in float here: {', '.join(kept)}" if kept else ""
        self._findings.append(f"these layers, each alone, move the outputs most: {told}{floats}")
        left = [name for name, _ in worst if name not in kept]
        if left:
            self._advice.append(f"--keep-float '^({'|'.join(map(re.escape, left))})$' takes them out of the search")

    def _calibrators(self, found: Mapping[str, float]) -> None:
        """How much the calibrator decides."""
        self._checks["calibrators"] = {name: _finite(value) for name, value in found.items()}
        ranked = [(name, value) for name, value in found.items() if math.isfinite(value)]
        if len(ranked) < 2:
            return
        (best, low), (worst, high) = ranked[0], ranked[-1]
        self._findings.append(
            f"calibrators at all layers in int8: {best} is nearest ({low:.2g}), {worst} farthest ({high:.2g})"
        )
        mine = self._best.recipe.get(CALIBRATOR)
        offered = self._run.space.offered[CALIBRATOR]
        if len(offered) == 1:
            self._advice.append("search without --fix activation/calibrator")
        elif low < 0.5 * next((value for name, value in ranked if name.split(",")[0] == mine), low):
            self._advice.append(
                f"try --fix activation/calibrator={best.split(',')[0]}: its trials come nearer to float"
            )

    def _coverage(self, tensors: Sequence[Coverage]) -> None:
        """Whether calibration saw what the evaluation feeds."""
        samples = self._run.ranges.samples
        unlike = [tensor for tensor in tensors if tensor.unlike(samples)]
        if not tensors:
            return
        self._checks["calibration"] = {
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
        self._findings.append(f"calibration saw other data than the evaluation: {what} {first.tensor} {said}{more}")
        self._advice.insert(0, "let calibration() yield samples as the evaluation feeds them, preprocessing included")

    def _budget(self) -> None:
        """What a search would have needed."""
        if self._ended.by == "trials":
            self._advice.append("the trials were spent: a higher --max-trials goes on from here")
        elif self._ended.by == "timeout":
            self._advice.append("the time was over: the same command goes on from here")
        allowed = _ROOM * self._best.drop
        shown = f"{100 * allowed:.2g}%" if self._target.relative else f"{allowed:.2g}"
        if self._best.drop > 0 and (not self._target.relative or allowed < 1.0):
            self._advice.append(f"--target-drop {shown} is what the nearest model holds")


def _figures(half: Half) -> dict[str, float | None]:
    return {"distance": _finite(half.distance), "drop": half.drop}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
