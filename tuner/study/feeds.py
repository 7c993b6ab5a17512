"""The few samples a run keeps: those the probes run on and the one that is timed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ...evaluators.base import Feed
from ...evaluators.distance import outputs
from ...evaluators.distances import certainty
from ...evaluators.feeds import Input, batch_of, single
from .fingerprint import FeedHasher

PROBE_SAMPLES = 16
CLOSER_SAMPLES = 32
"""For the probes that choose between a few recipes, `PROBE_SAMPLES` among them."""
POOL = 64
POOL_BYTES = 256 << 20


class Sampler:
    """Passes feeds through, hashes them and keeps a seeded reservoir of single samples (Vitter 1985, algorithm R).

    It holds `POOL` samples, large ones fewer: `PROBE_SAMPLES` at least, and else at most `POOL_BYTES`.
    """

    def __init__(self, inputs: Sequence[Input], seed: int) -> None:
        self._inputs = inputs
        self._random = np.random.default_rng(seed)
        self._hasher = FeedHasher()
        self._seen = 0
        self._room = POOL
        self.first: Feed | None = None
        self.kept: list[Feed] = []

    def watch(self, feeds: Iterable[Feed]) -> Iterator[Feed]:
        """Yield the feeds unchanged."""
        for feed in feeds:
            if isinstance(feed, Mapping):  # anything else is refused, with a message, by whoever runs it
                self._take(feed)
            yield feed

    def _take(self, feed: Feed) -> None:
        arrays = {name: np.asarray(array) for name, array in feed.items()}
        self._hasher.update(arrays)
        if self.first is None:
            self.first = {name: np.array(array) for name, array in single(arrays, self._inputs).items()}
            size = sum(array.nbytes for array in self.first.values())
            self._room = min(POOL, max(PROBE_SAMPLES, POOL_BYTES // max(size, 1)))
        samples = batch_of(arrays, self._inputs)
        for row in range(samples) if samples else (None,):
            self._seen += 1
            slot = len(self.kept) if len(self.kept) < self._room else int(self._random.integers(self._seen))
            if slot < self._room:
                cut = {name: array if row is None else array[row : row + 1] for name, array in arrays.items()}
                self.kept[slot : slot + 1] = [{name: np.array(array) for name, array in cut.items()}]

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of every feed seen."""
        return self._hasher.hexdigest()


def telling(pool: Sequence[Feed], session: ort.InferenceSession) -> list[Feed]:
    """The samples to probe on: of the pool the `CLOSER_SAMPLES` of which the float model is least sure.

    The `PROBE_SAMPLES` least sure of all come first; either part is in the pool's order.

    Where it is sure, a confident classifier's outputs hardly move, whatever is done to it. On the public tasks 16 such
    samples predict the measured harm as well as the whole pool, or 16 random ones, and on cls180 far better than these
    (rank correlation 0.93 ± 0.02 against 0.81 ± 0.15 on random recipes).
    """
    if len(pool) <= PROBE_SAMPLES:
        return list(pool)
    sure = [certainty(outputs(session, [feed])[0]) for feed in pool]
    ranked = sorted(range(len(pool)), key=lambda place: (sure[place], place))
    first, others = ranked[:PROBE_SAMPLES], ranked[PROBE_SAMPLES:CLOSER_SAMPLES]
    return [pool[place] for place in (*sorted(first), *sorted(others))]


def save(path: Path, probes: list[Feed], timed: Feed) -> None:
    """Keep the samples beside the study, so that a resumed run needs no calibration pass."""
    arrays = {f"probe/{i}/{name}": array for i, feed in enumerate(probes) for name, array in feed.items()}
    arrays.update({f"timed/{name}": array for name, array in timed.items()})
    partial = path.with_suffix(".partial.npz")
    escaped: dict[str, Any] = {name.replace("%", "%25").replace("/", "%2F"): array for name, array in arrays.items()}
    np.savez_compressed(partial, **escaped)
    partial.replace(path)


def load(path: Path) -> tuple[list[Feed], Feed] | None:
    """(probe feeds, timed feed) as `save` kept them; None where they are missing or unreadable."""
    probes: dict[int, dict[str, np.ndarray]] = {}
    timed: dict[str, np.ndarray] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for key in archive.files:
                kind, _, rest = key.replace("%2F", "/").replace("%25", "%").partition("/")
                if kind == "timed":
                    timed[rest] = archive[key]
                else:
                    index, _, name = rest.partition("/")
                    probes.setdefault(int(index), {})[name] = archive[key]
    except (OSError, ValueError, KeyError, EOFError):
        return None
    return [probes[i] for i in sorted(probes)], timed
