"""Carries out what a strategy asks: builds a candidate, scores it, probes it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnxruntime as ort

from ...errors import EvaluationError, ModelError
from ...evaluators.base import Feed, Latency, Scored
from ...evaluators.distance import outputs
from ...evaluators.distances import KINDS
from ...evaluators.profiling import kernel_times
from ...evaluators.racing import Stopped
from ...evaluators.stopwatch import Stopwatch
from ...strategies.base import Profile, Recipe
from ...strategies.words import BIAS, BIASES, CLOSENESS, EMPIRICAL, LATENCY, WEIGHTS
from ..calibration.ranges import Ranges
from ..graph.analysis import Analysis
from ..quantization import halves
from ..quantization.candidate import Candidate
from ..quantization.cost import ops
from ..quantization.errors import LayerError, measure
from ..quantization.variants import Builders
from .baseline import Baseline
from .bench import Bench
from .feeds import PROBE_SAMPLES
from .inputs import Inputs
from .racing import Racer
from .timing import profiled
from .trial import Measured

PAIRS = 31
PRECISION = 0.01
"""A trial is timed until half the interval of its speedup is this part of it, at most 31 pairs."""
_PROBE_PAIRS = 15
"""Of a latency probe: the model that learns of it is no more exact."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A scored candidate.

    Attributes:
        measured: What is recorded.
        samples: Per-sample scores, NaN where not scored; None for eval form 1.
        pruned: Whether it was stopped early, since it cannot hold the target.
    """

    measured: Measured
    samples: np.ndarray | None
    pruned: bool = False


class Executor:
    """Scores and probes recipes of one study. Holds sessions and caches, no decision depends on it."""

    def __init__(
        self,
        inputs: Inputs,
        builder: Builders,
        ranges: Ranges,
        baseline: Baseline,
        probes: Sequence[Feed],
        timed: Feed,
    ) -> None:
        self._inputs = inputs
        self._builder = builder
        self._ranges = ranges
        self._baseline = baseline
        self._probes = probes
        self._timed = timed
        self.racer = Racer(inputs, baseline)
        self._reference: list[list[np.ndarray]] = []
        self._last: tuple[Recipe, list[list[np.ndarray]]] | None = None
        self._stopwatch: Stopwatch | None = None

    def candidate(self, recipe: Recipe, bench: Bench) -> Candidate:
        """Build a recipe's model for a bench."""
        return self._builder.build(recipe, simulate=bench.simulated)

    def listed(self, recipe: Recipe) -> tuple[Analysis, Ranges]:
        """What recipe.json says of a recipe's tensors; see `Builders.listed`."""
        return self._builder.listed(recipe)

    def halves(self, recipe: Recipe) -> tuple[Candidate, Candidate]:
        """A recipe's model with only its weights rounded, and with only its activations; for `open_simulated`."""
        whole = self._builder.build(recipe, simulate=True)
        value = self._builder.builder(recipe).weights.value
        # float weights want their float biases
        uncorrected = self._builder.build(recipe.replace({BIAS: "off"}), simulate=True)
        return halves.weights_only(whole), halves.activations_only(uncorrected, value)

    def open_simulated(self, candidate: Candidate) -> ort.InferenceSession:
        """A session of a candidate whose float kernels must stay float."""
        return replace(self._inputs.bench, simulated=True).open(candidate)

    def distance(self, session: ort.InferenceSession) -> float:
        """Distance of a session's outputs from float on the probe samples, as the probe `distance`."""
        return self._distance("distance", session)

    def _distance(self, kind: str, session: ort.InferenceSession) -> float:
        feeds = self._probed(kind)
        return KINDS[kind](self._floats(feeds), outputs(session, feeds))

    def _probed(self, kind: str) -> Sequence[Feed]:
        """The samples that a kind of probe runs on."""
        return self._probes if kind in (CLOSENESS, WEIGHTS) else self._probes[:PROBE_SAMPLES]

    def deliverable(self, recipe: Recipe) -> Candidate:
        """Build a recipe's model in the form that is delivered."""
        return self._builder.build(recipe)

    def score(
        self, recipe: Recipe, place: int, progress: Callable[[int, int | None], None], known: Scored | None = None
    ) -> Attempt:
        """Score a recipe, in full or until it cannot hold the target; its cost alone where the metric is `known`.

        Args:
            recipe: The recipe.
            place: Of the trial in the study.
            progress: Told the samples scored and how many there are.
            known: Its full score in another study.

        Raises:
            EvaluationError: The user's code failed on this candidate.
            ModelError: ONNX Runtime refuses the candidate.
        """
        bench = self._inputs.bench
        before = self._builder.corrections_seconds
        began = time.perf_counter()
        candidate = self.candidate(recipe, bench)
        built = time.perf_counter()
        corrected = self._builder.corrections_seconds - before
        session = bench.open(candidate)
        opened = time.perf_counter()
        scored = known or self.racer.score(session, place, progress)
        evaluated = time.perf_counter()
        seconds = {
            "build": built - began - corrected,
            "corrections": corrected,
            "session": opened - built,
            "evaluate": evaluated - opened,
        }
        if isinstance(scored, Stopped):
            return Attempt(self._stopped(candidate, scored, seconds), scored.samples, pruned=True)
        latency = self.time(recipe, session if bench == self._inputs.real else None)
        request = self._inputs.request
        drop = request.target_drop.drop(self._baseline.metric, scored.metric, self._inputs.evaluation.higher_is_better)
        measured = Measured(
            metric=scored.metric,
            drop=drop,
            cost=self.cost(candidate, latency),
            latency_ms=latency.candidate_ms if latency else None,
            speedup=latency.speedup if latency else None,
            speedup_ci=latency.speedup_ci if latency else None,
            size_bytes=candidate.size_bytes,
            int8_layers=_int8(candidate),
            samples=None if scored.samples is None else len(scored.samples),
            seconds={**seconds, "latency": time.perf_counter() - evaluated},
            scored_on=self._inputs.scored_on,
            extra=self._cost_of_corrections(candidate),
        )
        return Attempt(measured, scored.samples)

    def _stopped(self, candidate: Candidate, stopped: Stopped, seconds: Mapping[str, float]) -> Measured:
        """A pruned trial: its drop is a lower bound, its metric estimated."""
        before = self._baseline.metric
        estimate = before - stopped.estimate if self._inputs.evaluation.higher_is_better else before + stopped.estimate
        unit = abs(before) if self._inputs.request.target_drop.relative else 1.0
        return Measured(
            metric=estimate,
            drop=stopped.bound / unit,
            drop_estimate=stopped.estimate / unit,
            size_bytes=candidate.size_bytes,
            int8_layers=_int8(candidate),
            samples=stopped.seen,
            seconds=seconds,
            scored_on=self._inputs.scored_on,
            extra=self._cost_of_corrections(candidate),
        )

    def _cost_of_corrections(self, candidate: Candidate) -> dict[str, float]:
        """The attribute that says so; most often they were computed before the trial, for a probe."""
        cost = self._builder.corrections_cost(candidate)
        return {"corrections_seconds": round(cost, 4)} if candidate.corrections else {}

    def cost(self, candidate: Candidate, latency: Latency | None) -> float:
        """The objective's value relative to float: below 1 is a gain."""
        if latency is not None:
            return 1.0 / latency.speedup
        if self._inputs.objective == "size":
            return candidate.size_bytes / self._inputs.model.source_bytes
        return ops(self._inputs.analysis, self._ranges.shapes, candidate.layers, self._inputs.target.weight_bits)

    def time(
        self, recipe: Recipe, session: ort.InferenceSession | None, beat: float | None = None, pairs: int = PAIRS
    ) -> Latency | None:
        """Time a recipe against the float file on the target's kernels; None under another objective.

        Args:
            recipe: What is timed.
            session: Of it, None to open one.
            beat: A cost; the timing ends as soon as the recipe's is known to be higher.
            pairs: At most.
        """
        real = self._inputs.real
        if self._inputs.objective != "latency" or real is None:
            return None
        session = session or real.open(self.candidate(recipe, real))
        return self.compare(session, pairs=pairs, precision=PRECISION, beat=1.0 / beat if beat else 0.0)

    def compare(self, session: ort.InferenceSession, pairs: int, precision: float = 0.0, beat: float = 0.0) -> Latency:
        """Time a session of the target's kernels against the float file's, in alternation."""
        return self._watch.compare(session, pairs=pairs, precision=precision, beat=beat)

    def settled(self, session: ort.InferenceSession, pairs: int, expected: float | None) -> Latency:
        """Time a session of the target's kernels as often as it takes; see `Stopwatch.settled`."""
        return self._watch.settled(session, pairs=pairs, expected=expected)

    @property
    def _watch(self) -> Stopwatch:
        """Made when first asked for: it holds a session of the float file."""
        if self._stopwatch is None:
            assert self._inputs.real is not None
            same = self._inputs.real == self._inputs.bench
            timer = self._baseline.session if same else self._inputs.real.open_file(self._inputs.model.path)
            self._stopwatch = Stopwatch(timer, self._timed)
        return self._stopwatch

    def slowdown(self, latency: Latency) -> float:
        """How much slower the float model ran in a timing than at its calmest."""
        return self._stopwatch.slowdown(latency) if self._stopwatch else 1.0

    def probe(self, kind: str, recipe: Recipe, beat: float | None = None) -> float:
        """A distance (a kind of `evaluators/distances.py`) of a recipe's outputs from float on the probe samples.

        Of the kind `latency`, the recipe's cost by the clock, `beat` as in `Probe`. Distances asked one after the
        other of the same recipe take one run of the model.

        Returns:
            Infinity where the recipe cannot be built or run.
        """
        if kind == LATENCY:
            return self._latency(recipe, beat)
        feeds = self._probed(kind)
        reference = self._floats(feeds)
        try:
            if kind == WEIGHTS:
                rounded = halves.weights_only(self._builder.build(recipe, simulate=True))
                return self._distance(CLOSENESS, self.open_simulated(rounded))
            if self._last is None or self._last[0] != recipe or len(self._last[1]) < len(feeds):
                bench = self._inputs.bench
                self._last = recipe, outputs(bench.open(self.candidate(recipe, bench)), feeds)
            value = KINDS[kind](reference, self._last[1][: len(feeds)])
        except Exception:  # noqa: BLE001 - whatever ONNX Runtime raises: this recipe cannot run, which is the finding
            return math.inf
        return value if math.isfinite(value) else math.inf

    def _latency(self, recipe: Recipe, beat: float | None) -> float:
        try:
            latency = self.time(_clocked(recipe), None, beat, _PROBE_PAIRS)
        except (EvaluationError, ModelError):
            return math.inf
        return 1.0 / latency.speedup if latency else math.inf

    def errors(self, recipe: Recipe, builders: Builders | None = None) -> tuple[LayerError, ...]:
        """Signal-to-noise ratios of each int8 layer on the probe samples (`quantization/errors.py`).

        Args:
            recipe: The recipe.
            builders: That build it, by default those that build the trials.
        """
        bench = self._inputs.real or self._inputs.bench
        builders = builders or self._builder
        builder = builders.builder(recipe)
        return measure(
            builder.model,
            builder.analysis,
            builders.build(recipe, simulate=bench.simulated),
            builders.build(recipe, simulate=True),
            self._probes[:PROBE_SAMPLES],
            replace(bench, simulated=True).open_graph,
        )

    def profile(self, recipe: Recipe) -> Profile | None:
        """Where a recipe's time goes on the target's kernels; None where it does not run."""
        real = self._inputs.real
        if real is None:
            return None
        candidate = self.candidate(_clocked(recipe), real)
        float_graph = self._builder.builder(recipe)
        try:
            kernels = kernel_times(lambda prefix: real.open(candidate, profile_prefix=prefix), self._timed)
        except (EvaluationError, ModelError):
            return None
        return profiled(kernels, float_graph.analysis, float_graph.model.proto.graph)

    def _floats(self, feeds: Sequence[Feed]) -> list[list[np.ndarray]]:
        """The float model's outputs of the first probe samples, as many as `feeds` has."""
        self._reference += outputs(self._baseline.session, feeds[len(self._reference) :])
        return self._reference[: len(feeds)]


def _clocked(recipe: Recipe) -> Recipe:
    """The recipe as it is timed: biases measured for it alone would cost samples, and take no other time."""
    return recipe.replace({BIAS: BIASES[1]}) if recipe.get(BIAS) == EMPIRICAL else recipe


def _int8(candidate: Candidate) -> int:
    return sum(precision == "int8" for precision in candidate.layers.values())
