"""How many samples calibration needs, and which: `python -m benchmarks.calibration_data cls180 --pool 400`.

For each seed a pool of the evaluation's samples is drawn and others are scored. From the pool every selection takes N
samples; with every layer in int8 (compute layers alone, no corrections) the drop and the output distance of what these
ranges make are measured, under several calibrators. Beside them two calibrations without data: synthesised inputs
through the model, and through the model with its BatchNormalizations' statistics imposed. Writes
results/calibration_data_<task>.json.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from autoquant.evaluators.base import Feed
from autoquant.evaluators.feeds import batch_of, inputs_of
from autoquant.evaluators.recording import Recorder
from autoquant.evaluators.session import open_session
from autoquant.strategies.recipes import compose
from autoquant.strategies.words import ACTIVATION_SYMMETRY, CALIBRATOR, UNCORRECTED, WEIGHT_GRANULARITY, WEIGHT_SYMMETRY
from autoquant.tuner.calibration.batchnorm import imposed, statistics_of
from autoquant.tuner.calibration.calibrators import calibrate
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.ranges import Ranges
from autoquant.tuner.calibration.selection import Features, classes, evenly, farthest, some
from autoquant.tuner.calibration.synthetic import synthesised
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.study.space import build_space
from autoquant.tuner.targets import profiles

from .environment import environment, folders, task_arguments, write
from .part import Part, evaluation_of

COUNTS = (16, 32, 64, 128, 200)
CALIBRATORS = ("minmax", "percentile_99.99", "mse")
_PROBES = 48


class Pool:
    """Single samples of an evaluation, as it feeds them, and what the float model says of them."""

    def __init__(self, session: ort.InferenceSession, evaluation: Any, indices: np.ndarray) -> None:
        recorder = Recorder(session, limit_samples=len(indices))
        evaluation.score_some(recorder, indices)
        inputs, describe = inputs_of(session), Features()
        self.samples: list[Feed] = []
        features, labels = [], []
        for feed in recorder.feeds():
            rows = batch_of(feed, inputs)
            assert rows is not None
            found = session.run(None, dict(feed))
            features.append(describe.of(found, rows))
            labels.append(classes(found, rows))
            self.samples += [{name: array[row : row + 1] for name, array in feed.items()} for row in range(rows)]
        self.features = np.concatenate(features)
        self.labels = None if any(label is None for label in labels) else np.concatenate(labels)

    def skewed(self, part: float, seed: int) -> None:
        """Keep only this part of the samples whose predicted class is above the median one."""
        assert self.labels is not None, "no classifier"
        rare = np.flatnonzero(self.labels > np.median(self.labels))
        if not len(rare):
            rare = np.flatnonzero(self.labels == self.labels.max())
        gone = np.random.default_rng(seed).permutation(rare)[max(1, round(part * len(rare))) :]
        kept = np.setdiff1d(np.arange(len(self.samples)), gone)
        self.samples = [self.samples[place] for place in kept]
        self.features, self.labels = self.features[kept], self.labels[kept]

    def selections(self) -> dict[str, Callable[[int, int], np.ndarray]]:
        """Name → (count, seed) → places."""
        found = {
            "random": lambda count, seed: some(len(self.samples), count, seed),
            "diverse": lambda count, seed: farthest(self.features, count, seed),
        }
        if self.labels is not None:
            labels = self.labels
            found["balanced"] = lambda count, seed: evenly(labels, count, seed)
        return found


class Task:
    """A task's model, quantized under given ranges and scored."""

    def __init__(self, folder: Path, threads: int) -> None:
        path = folder / "model.onnx"
        self.path = path
        self.model = load(path)
        self.analysis = analyse(self.model)
        self.target = profiles.get("cpu")
        self.evaluation = evaluation_of(folder)
        self.opener = partial(open_session, threads=threads)
        self.float = self.opener(path)

    def calibrated(self, feeds: Sequence[Feed], model: Any = None) -> Ranges:
        """The ranges that these feeds give."""
        statistics = collect(model or self.model, self.analysis.tensors, feeds, open_session=self.opener)
        values = {}
        for name, tensor in statistics.tensors.items():
            if tensor.histogram.count and not tensor.histogram.inf:
                bins = tensor.histogram.bins()
                values[name] = {c: {"asymmetric": calibrate(bins, c, symmetric=False)} for c in CALIBRATORS}
        return Ranges(values, {n: t.shape for n, t in statistics.tensors.items() if t.shape}, statistics.samples)

    def figures(self, ranges: Ranges, part: Part) -> dict[str, dict[str, float]]:
        """Calibrator → drop and distance of all-int8."""
        builder = Builder(self.model, self.analysis, ranges, self.target)
        space = build_space(self.analysis, self.target, calibrated=set(ranges.values), faulty=builder.faults)
        found = {}
        for calibrator in CALIBRATORS:
            settings = {
                **UNCORRECTED,
                CALIBRATOR: calibrator,
                ACTIVATION_SYMMETRY: "asymmetric",
                WEIGHT_GRANULARITY: "per_channel",
                WEIGHT_SYMMETRY: "symmetric",
            }
            candidate = builder.build(compose(space, settings))
            session = self.opener(candidate.skeleton(), weights=candidate.weights)
            found[calibrator] = {"drop": part.drop(session), "distance": part.distance(session)}
        return found


def measure(
    folder: Path,
    pool: int,
    samples: int,
    seeds: int,
    counts: Sequence[int] = COUNTS,
    threads: int = 2,
    skew: float | None = None,
) -> dict[str, Any]:
    """The figures of one task."""
    task = Task(folder, threads)
    total = task.evaluation.num_samples
    assert total is not None
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(total)
        indices = np.sort(order[pool : pool + samples])
        drawn = Pool(task.float, task.evaluation, np.sort(order[:pool]))
        if skew is not None:
            drawn.skewed(skew, seed)
        probes = Pool(task.float, task.evaluation, indices[:: max(1, len(indices) // _PROBES)][:_PROBES]).samples
        part = Part(task.evaluation, task.float, indices, probes)

        def told(name: str, count: int, ranges: Ranges, seed: int = seed, part: Part = part) -> None:
            found = task.figures(ranges, part)
            rows.append({"selection": name, "count": count, "seed": seed, **found})
            print(folder.name, rows[-1], flush=True)

        shapes = {name: array.shape for name, array in probes[0].items()}
        feeds = list(synthesised(task.model, count=64, seed=seed, shapes=shapes))
        told("noise", 64, task.calibrated(feeds))
        known = statistics_of(task.model)
        if known:
            told("noise+batchnorm", 64, task.calibrated(feeds, imposed(task.model, known)))
        for count, (name, choose) in product(counts, drawn.selections().items()):
            told(name, count, task.calibrated([drawn.samples[i] for i in choose(count, seed)]))
    return {
        "environment": environment(),
        "task": folder.name,
        "pool": pool,
        "skew": skew,
        "samples": samples,
        "layers": len(task.analysis.layers),
        "rows": rows,
    }


def main() -> None:
    """Measure and write."""
    parser = task_arguments(__doc__, 300, "samples to score on")
    parser.add_argument("--pool", type=int, default=400, help="samples to choose from")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="samples to calibrate on")
    parser.add_argument("--skew", type=float, metavar="PART", help="keep this part of half of the classes in the pool")
    given = parser.parse_args()
    for folder in folders(given.tasks, given.task):
        figures = measure(folder, given.pool, given.samples, given.seeds, given.counts, given.threads, given.skew)
        words = [folder.name, *(["skewed"] if given.skew is not None else [])]
        print(write("_".join(["calibration_data", *words]), figures))


if __name__ == "__main__":
    main()
