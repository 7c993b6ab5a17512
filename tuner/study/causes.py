"""What keeps a study from its target: measurements for a diagnosis, label-free but for two evaluations at most."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnxruntime as ort

from ...errors import CalibrationError, EvaluationError
from ...evaluators.recording import Recorder
from ...evaluators.session import open_session
from ...strategies.base import History, Recipe
from ...strategies.recipes import compose, glue_of, settings_of
from ...strategies.sensitivity import only
from ...strategies.words import ACTIVATION_SYMMETRY, CALIBRATOR, LATENCY, LAYER, PROFILE
from ..calibration.collect import collect
from ..calibration.coverage import Coverage, coverage
from .confirm import Confirmed
from .result import LEAST_SHARE
from .run import Run

KIND = "distance"
_PROBING_SECONDS = 20.0
_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Effort:
    """The quantized model that comes nearest to the target without holding it.

    Attributes:
        drop: In the target's unit; an estimate where its trial was stopped early.
        drop_ci: Its 95 % interval on unseen data, None where it is not known.
        samples: Its scores, None where they are not at hand.
        noise: How far apart two evaluations of the float model lay, in the target's unit.
    """

    recipe: Recipe
    drop: float
    drop_ci: tuple[float, float] | None = None
    samples: np.ndarray | None = None
    noise: float = 0.0


def effort(run: Run, found: Confirmed) -> Effort | None:
    """What is to be examined; None where something on integers holds the target."""
    least = LEAST_SHARE * len(run.inputs.analysis.layers)
    quantized = [record for record in run.usable() if (record.int8_layers or 0) >= max(1.0, least)]
    if not found.holds:
        return Effort(found.record.recipe, found.drop, found.drop_ci, found.scored.samples, found.noise)
    if any(record.feasible for record in quantized):
        return None
    drops = [
        (record.drop if record.drop_estimate is None else record.drop_estimate, record.number, record.recipe)
        for record in quantized
    ]
    nearest = min(((drop, number, recipe) for drop, number, recipe in drops if drop is not None), default=None)
    return None if nearest is None else Effort(nearest[2], nearest[0], noise=found.noise)


@dataclass(frozen=True, slots=True)
class Half:
    """A part of the quantization by itself.

    Attributes:
        distance: Of the outputs from float, as the probe of that name.
        drop: In the target's unit; None where the metric was not asked.
    """

    distance: float
    drop: float | None = None


class Examiner:
    """Measures causes. Counts the evaluations it spends and looks at the clock before every probe.

    Args:
        run: The study's run.
        recipe: What is examined.
        evaluations: Full evaluations it may spend.

    Attributes:
        evaluations: Full evaluations spent.
    """

    def __init__(self, run: Run, recipe: Recipe, evaluations: int) -> None:
        self._run = run
        self._recipe = recipe
        self._left = evaluations
        self._deadline = time.monotonic() + _PROBING_SECONDS
        self.evaluations = 0
        self._recorder: Recorder | None = None

    @property
    def late(self) -> bool:
        """Whether `--timeout` has passed: then only what is known already is said."""
        return self._run.overtime

    def floats(self) -> Half:
        """The float model through our own graph passes: nothing quantized."""
        run, space = self._run, self._run.space
        recipe = compose(space, settings_of(self._recipe), floats=space.layers)
        session = run.inputs.bench.open(run.executor.candidate(recipe, run.inputs.bench))
        return Half(run.executor.distance(session), self._drop(session))

    def halves(self) -> tuple[Half, Half]:
        """(only weights rounded, only activations), simulated around float kernels; the farther one is scored."""
        executor = self._run.executor
        sessions = [executor.open_simulated(candidate) for candidate in executor.halves(self._recipe)]
        distances = [executor.distance(session) for session in sessions]
        worst = int(distances[1] >= distances[0])
        drop = self._drop(sessions[worst])
        weights, activations = (Half(far, drop if place == worst else None) for place, far in enumerate(distances))
        return weights, activations

    def calibrators(self) -> dict[str, float]:
        """`calibrator, symmetry` → distance of all layers in int8, the nearest first. Those not probed yet are."""
        space, settings = self._run.space, settings_of(self._recipe)
        found: dict[str, float] = {}
        for calibrator in space.offered[CALIBRATOR]:
            for symmetry in space.offered[ACTIVATION_SYMMETRY]:
                recipe = compose(
                    space,
                    {**settings, CALIBRATOR: calibrator, ACTIVATION_SYMMETRY: symmetry},
                    glue=glue_of(space, self._recipe),
                )
                value = self._probe(recipe)
                if value is None:
                    return {}
                found[f"{calibrator}, {symmetry}"] = value
        return dict(sorted(found.items(), key=lambda entry: entry[1]))

    def layers(self) -> dict[str, float]:
        """Layer → its part of the distances that single layers cause, the largest first.

        From what the strategy probed; where that was nothing, each layer is probed alone while there is time.
        """
        history = self._run.history()
        found = alone(history) or restored(history) or self._each_alone()
        total = sum(value for value in found.values() if np.isfinite(value)) or 1.0
        parts = {name: value / total if np.isfinite(value) else 1.0 for name, value in found.items()}
        return dict(sorted(parts.items(), key=lambda entry: -entry[1]))

    def coverage(self) -> list[Coverage]:
        """The evaluation's own inputs against the calibrated ranges; empty where they cannot be had cheaply."""
        run, evaluation = self._run, self._run.inputs.evaluation
        recorder = self._recorder
        count = evaluation.num_samples
        if recorder is None and count and evaluation.form not in ("function", "generator"):
            recorder = Recorder(run.baseline.session, limit_samples=_SAMPLES, seed=run.inputs.request.seed)
            some = np.random.default_rng(run.inputs.request.seed).choice(count, min(count, _SAMPLES), replace=False)
            evaluation.score_some(recorder, np.sort(some))
        if recorder is None:
            return []
        known = set(run.ranges.values)
        opener = partial(open_session, device=run.inputs.bench.device, threads=run.inputs.request.threads)
        try:
            names = [name for name in run.inputs.analysis.tensors if name in known]
            met = collect(run.inputs.model, names, recorder.feeds(), open_session=opener)
        except CalibrationError:  # the evaluation runs the model through an IOBinding, or not at all
            return []
        return coverage(met, run.ranges)

    def _drop(self, session: ort.InferenceSession) -> float | None:
        """The metric's drop, while evaluations are left. The first evaluation's inputs are remembered."""
        run = self._run
        if not self._left:
            return None
        self._left -= 1
        watched = session
        if self._recorder is None:
            watched = self._recorder = Recorder(session, limit_samples=_SAMPLES, seed=run.inputs.request.seed)
        try:
            metric = run.inputs.evaluation.score(watched).metric
        except EvaluationError:  # the user's code refuses this candidate, which the trials' errors already show
            return None
        self.evaluations += 1
        return run.inputs.request.target_drop.drop(run.baseline.metric, metric, run.inputs.evaluation.higher_is_better)

    def _each_alone(self) -> dict[str, float]:
        space, settings = self._run.space, settings_of(self._recipe)
        found = {}
        for name in space.free_layers:
            value = self._probe(only(space, settings, name))
            if value is None:
                return {}
            found[name[len(LAYER) :]] = value
        return found

    def _probe(self, recipe: Recipe) -> float | None:
        """A probe, from the study where it holds it; None when the time for probes is over."""
        run = self._run
        known = run.store.probes().get((KIND, recipe))
        if known is not None:
            return known
        if run.overtime or time.monotonic() > self._deadline:
            return None
        value = run.executor.probe(KIND, recipe)
        run.store.put_probe(KIND, recipe, value)
        return value


def alone(history: History) -> dict[str, float]:
    """Layer → distance it causes as the only free one in int8, by the probe kind that knows most of them."""
    free = history.space.free_layers
    found: dict[str, dict[str, float]] = {}
    for kind, recipe, value in _distances(history):
        integer = [name for name in free if recipe[name] == "int8"]
        if len(integer) == 1 and len(free) > 1:
            found.setdefault(kind, {})[integer[0][len(LAYER) :]] = value
    return _fullest(found, len(free))


def restored(history: History) -> dict[str, float]:
    """Layer → how much nearer to float the model of integers comes when it alone goes back to float."""
    free = history.space.free_layers
    found: dict[str, dict[str, float]] = {}
    whole: dict[tuple[str, Recipe], float] = {}
    single: list[tuple[str, Recipe, str, float]] = []
    for kind, recipe, value in _distances(history):
        floats = [name for name in free if recipe[name] != "int8"]
        rest = Recipe({name: choice for name, choice in recipe.items() if name not in free})
        if not floats:
            whole[kind, rest] = value
        elif len(floats) == 1:
            single.append((kind, rest, floats[0], value))
    for kind, rest, name, value in single:
        if np.isfinite(whole.get((kind, rest), np.inf)) and np.isfinite(value):
            found.setdefault(kind, {})[name[len(LAYER) :]] = max(0.0, whole[kind, rest] - value)
    return _fullest(found, len(free))


def _distances(history: History) -> Iterator[tuple[str, Recipe, float]]:
    for (kind, recipe), value in history.probes.items():
        if kind not in (LATENCY, PROFILE) and all(name in recipe for name in history.space.free_layers):
            yield kind, recipe, value


def _fullest(found: Mapping[str, dict[str, float]], count: int) -> dict[str, float]:
    """The kind that knows the most layers, if it knows half of them."""
    best = max(found.values(), key=len, default={})
    return best if 2 * len(best) >= count else {}
