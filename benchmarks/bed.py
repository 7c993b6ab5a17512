"""A task ready to be scored and probed, for benchmarks that ask for many recipes; what is measured is remembered."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from autoquant.evaluators.distance import distance, outputs
from autoquant.evaluators.distances import KINDS
from autoquant.evaluators.session import open_session
from autoquant.strategies.base import Recipe, Space
from autoquant.strategies.words import WEIGHTS
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.calibration.ranges import Ranges
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.halves import weights_only
from autoquant.tuner.quantization.passes import Passes
from autoquant.tuner.study.bench import UNWANTED
from autoquant.tuner.study.space import build_space
from autoquant.tuner.targets import profiles

from .part import opened
from .remembered import Remembered

THREADS = 2
_SCORES, _PROBE, _EACH = "score", "probe", "each"


class Bed:
    """A task ready to be scored and probed; everything measured is remembered in a file.

    Attributes:
        indices: The samples that are scored, int64 [n].
        baseline: The float model's scores on them, float64 [n].
        feeds: The samples that are probed, those a study would choose.
    """

    def __init__(self, folder: Path, samples: int, cache: Path | None) -> None:
        self.name = folder.name
        self._part, given = opened(folder, samples, THREADS)
        self.evaluation, self.indices, self.feeds = self._part.evaluation, self._part.indices, self._part.probes
        model, target = load(folder / "model.onnx"), profiles.get("cpu")
        analysis = analyse(model)
        self._ranges = cache / f"{folder.name}.ranges.json" if cache else None
        self._known = Remembered(cache / f"{folder.name}.jsonl" if cache else None)
        if self._ranges and self._ranges.exists():
            ranges = Ranges.from_json(json.loads(self._ranges.read_text()))
        else:
            ranges = compute_ranges(collect(model, analysis.tensors, given, open_session=open_session))
            if self._ranges:
                self._ranges.parent.mkdir(parents=True, exist_ok=True)
                self._ranges.write_text(json.dumps(ranges.to_json()))
        source = Passes(lambda: given, open_session, ranges.samples)
        self.builder = Builder(model, analysis, ranges, target, source)
        self.space: Space = build_space(analysis, target, calibrated=set(ranges.values), faulty=self.builder.faults)
        self.baseline = self._measure("float", lambda: self._part.session)

    def seconds(self, recipe: Recipe) -> tuple[float, float]:
        """Wall time of a probe, build and session included, and of one sample's evaluation, right after it."""
        probes = []
        for _ in range(3):
            began = time.perf_counter()
            session = self._open(recipe)
            outputs(session, self.feeds)
            probes.append(time.perf_counter() - began)
        began = time.perf_counter()
        self.evaluation.score_some(session, self.indices)
        return float(np.median(probes)), (time.perf_counter() - began) / len(self.indices)

    def drop(self, recipe: Recipe) -> float:
        """Measured drop on the subset, absolute."""
        return float(np.mean(self.baseline - self._scores(recipe)))

    def changed(self, recipe: Recipe) -> float:
        """Mean absolute change of the samples' scores: drops by noise, in which losses and gains cancel, aside."""
        return float(np.mean(np.abs(self.baseline - self._scores(recipe))))

    def probe(self, recipe: Recipe) -> dict[str, float]:
        """Every kind of distance of a recipe."""
        if (_PROBE, _key(recipe)) not in self._known:
            self._run(recipe)
        return dict(self._known[_PROBE, _key(recipe)])

    def value(self, kind: str, recipe: Recipe) -> float:
        """What a study's probe of this kind would say."""
        if kind != WEIGHTS:
            return self.probe(recipe)[kind]
        if (WEIGHTS, _key(recipe)) not in self._known:
            half = weights_only(self.builder.build(recipe, simulate=True))
            session = open_session(half.skeleton(), weights=half.weights, threads=THREADS, disabled_optimizers=UNWANTED)
            self._known[WEIGHTS, _key(recipe)] = self._part.distance(session)
        return float(self._known[WEIGHTS, _key(recipe)])

    def each(self, recipe: Recipe) -> np.ndarray:
        """The relative squared error of each probe sample."""
        if (_EACH, _key(recipe)) not in self._known:
            self._run(recipe)
        return np.array(self._known[_EACH, _key(recipe)])

    def _run(self, recipe: Recipe) -> None:
        found = outputs(self._open(recipe), self.feeds)
        values = {kind: measure(self._part.reference, found) for kind, measure in KINDS.items()}
        self._known[_PROBE, _key(recipe)] = values
        each = [distance([whole], [mine]) for whole, mine in zip(self._part.reference, found, strict=True)]
        self._known[_EACH, _key(recipe)] = each

    def _open(self, recipe: Recipe) -> ort.InferenceSession:
        candidate = self.builder.build(recipe)
        return open_session(candidate.skeleton(), weights=candidate.weights, threads=THREADS)

    def _scores(self, recipe: Recipe) -> np.ndarray:
        return self._measure(_key(recipe), lambda: self._open(recipe))

    def _measure(self, key: str, session: Callable[[], ort.InferenceSession]) -> np.ndarray:
        key = f"{key} {len(self.indices)}"
        if (_SCORES, key) not in self._known:
            self._known[_SCORES, key] = [float(score) for score in self._part.scores(session())]
        return np.array(self._known[_SCORES, key])


def _key(recipe: Recipe) -> str:
    return hashlib.sha256(json.dumps(dict(recipe)).encode()).hexdigest()[:16]
