"""A few samples of many, drawn by a seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...evaluators.base import Feed
from ...evaluators.feeds import Input, batch_of, counted


def draw(feeds: Iterable[Feed], inputs: Sequence[Input], samples: int, count: int, seed: int) -> list[Feed]:
    """At most `count` samples without replacement, in their order; those of one feed side by side.

    Args:
        feeds: All of them, consumed one by one.
        inputs: The model's.
        samples: How many the feeds hold in all; 0 for not known, then the first ones are taken.
        count: How many are wanted.
        seed: Of the draw.
    """
    random = np.random.default_rng([seed, samples])
    chosen = np.arange(count) if samples <= count else np.sort(random.choice(samples, count, replace=False))
    found: list[Feed] = []
    done = 0
    for feed in feeds:
        arrays = {name: np.asarray(value) for name, value in feed.items()}
        size = counted(arrays)
        here = chosen[(chosen >= done) & (chosen < done + size)] - done
        done += size
        if not len(here):
            continue
        whole = len(here) == size or batch_of(arrays, inputs) is None
        found.append(arrays if whole else {name: np.ascontiguousarray(array[here]) for name, array in arrays.items()})
    return found
