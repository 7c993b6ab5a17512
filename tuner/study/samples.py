"""The calibration samples of a run: which ones, the same in every pass over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from ...errors import CalibrationError
from ...evaluators.base import Feed
from ...evaluators.feeds import batch_of
from ...evaluators.session import open_session
from ..calibration import batchnorm
from ..calibration.collect import checked
from ..calibration.selection import Features, classes, evenly, farthest, some
from ..calibration.synthetic import synthesised
from ..graph.model import Model
from .calibrationoptions import RECORDED, CalibrationOptions
from .fingerprint import FeedHasher
from .inputs import Inputs

SURVEYED = 10_000
"""Samples a selection looks at; what comes behind them is not chosen."""
_POOLED = 4
"""Recorded samples for each wanted one, where they are chosen by what the model says of them."""


@dataclass(slots=True)
class Chosen:
    """What a survey settled; a study keeps it, so that a resumed run passes over the same samples.

    Attributes:
        places: Of the chosen samples among those surveyed, ascending; None for all.
        total: Samples surveyed.
        shapes: Of the inputs of made-up samples; empty for real ones.
    """

    places: tuple[int, ...] | None = None
    total: int = 0
    shapes: Mapping[str, tuple[int, ...]] | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {
            "places": None if self.places is None else list(self.places),
            "total": self.total,
            "shapes": None if self.shapes is None else {name: list(shape) for name, shape in self.shapes.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Chosen:
        """The inverse of `to_json`."""
        places, shapes = data["places"], data["shapes"]
        return cls(
            None if places is None else tuple(places),
            int(data["total"]),
            None if shapes is None else {name: tuple(shape) for name, shape in shapes.items()},
        )


class Samples:
    """Yields the calibration samples of a request, from the eval file, from a recording, or made up.

    Attributes:
        chosen: What was settled; None before the first pass.
        content: sha256 (hex) of everything that the eval file's `calibration()` yielded in the survey, "" without one.
    """

    def __init__(self, inputs: Inputs, chosen: Chosen | None = None) -> None:
        self._inputs = inputs
        self.options: CalibrationOptions = inputs.request.calibration
        self.chosen = chosen
        self.content = ""

    @property
    def data_free(self) -> bool:
        """Whether the samples are made up."""
        return self.options.data_free

    @cached_property
    def recorded(self) -> bool:
        """Whether they are the evaluation's own."""
        return not self.data_free and self._inputs.evaluation.calibration() is None

    @property
    def needs_shapes(self) -> bool:
        """Whether a feed of the evaluation has to tell how large made-up samples are."""
        if not self.data_free or self.chosen is not None or self._inputs.evaluation.latency_feed() is not None:
            return False
        sizes = [size for item in self._inputs.model.inputs for size in (item.shape or (None, None))[1:]]
        return not all(isinstance(size, int) for size in sizes)

    @property
    def wanted(self) -> int:
        """Samples to record, where they are the evaluation's own."""
        count = self.options.samples or RECORDED
        return count * _POOLED if self.options.surveys else count

    @property
    def model(self) -> Model:
        """The model that their ranges are collected on: for made-up ones with what BatchNormalizations remember."""
        return batchnorm.imposed(self._inputs.model, self._known)

    @cached_property
    def _known(self) -> Mapping[str, batchnorm.Known]:
        """What BatchNormalizations remember, where it is wanted."""
        return batchnorm.statistics_of(self._inputs.model) if self.data_free else {}

    @property
    def source(self) -> str:
        """Where they come from, for a person."""
        if not self.data_free:
            return "the evaluation's own feeds" if self.recorded else "calibration()"
        return f"made up (data-free{batchnorm.told(len(self._known))})"

    def feeds(self, recording: Callable[[], Iterable[Feed]]) -> Iterable[Feed]:
        """One pass over them.

        Args:
            recording: The evaluation's own feeds, asked for only where they are needed.

        Raises:
            CalibrationError: They do not fit the model, or cannot be selected this way.
        """
        if self.data_free:
            return self._synthesised(recording)
        given: Callable[[], Iterable[Feed]] = self._given
        if self.recorded:
            kept = list(recording())  # in memory anyway; one recording serves survey and pass
            given = lambda: kept  # noqa: E731
        if self.options.samples is None and not self.options.surveys:
            return given()
        if self.chosen is None:
            self.chosen = self._survey(given())
        return given() if self.chosen.places is None else self._cut(given(), self.chosen.places)

    def _given(self) -> Iterable[Feed]:
        return self._inputs.evaluation.calibration() or ()

    def _synthesised(self, recording: Callable[[], Iterable[Feed]]) -> Iterable[Feed]:
        if self.chosen is None:
            seen = self._inputs.evaluation.latency_feed()
            seen = seen if seen is not None else next(iter(recording()), {})
            shapes = {name: tuple(np.shape(array)) for name, array in seen.items()}
            self.chosen = Chosen(total=self.options.made, shapes=shapes)
        return synthesised(
            self._inputs.model,
            count=self.options.made,
            seed=self._inputs.request.seed,
            shapes=self.chosen.shapes,
            bounds=self.options.input_range,
        )

    def _survey(self, feeds: Iterable[Feed]) -> Chosen:
        """Look at all samples once and choose."""
        inputs, seed = self._inputs.model.inputs, self._inputs.request.seed
        session = self._inputs.bench.open_file(self._inputs.model.path) if self.options.surveys else None
        describe, hasher = Features(), FeedHasher()
        features: list[np.ndarray] = []
        labels: list[np.ndarray | None] = []
        sizes: list[int] = []
        for number, given in enumerate(feeds, 1):
            feed = checked(given, inputs, number)
            hasher.update(feed)
            units = batch_of(feed, inputs)
            if len(sizes) >= SURVEYED:
                continue
            sizes += [1] * units if units else [_rows(feed)]
            if session is not None:
                found = session.run(None, dict(feed))
                features.append(describe.of(found, units or 1))
                labels.append(classes(found, units or 1))
        self.content = hasher.hexdigest()
        total = len(sizes)
        if not total:
            return Chosen()  # whoever runs them says that there are none
        count = max(1, (self.options.samples or RECORDED) // max(sizes))
        if count >= total:
            return Chosen(total=total)
        places = self._choose(total, count, seed, features, labels)
        return Chosen(tuple(int(place) for place in places), total)

    def _choose(
        self, total: int, count: int, seed: int, features: Sequence[np.ndarray], labels: Sequence[np.ndarray | None]
    ) -> np.ndarray:
        if self.options.select == "first":
            return np.arange(count)
        if self.options.select == "diverse":
            return farthest(np.concatenate(features)[:total], count, seed)
        if self.options.select == "balanced":
            predicted = [label for label in labels if label is not None]
            if len(predicted) < len(labels):
                raise CalibrationError(
                    "--calibration-select balanced needs a classifier, whose first output is [samples, classes].\n"
                    "Use random or diverse."
                )
            return evenly(np.concatenate(predicted)[:total], count, seed)
        return some(total, count, seed)

    def _cut(self, feeds: Iterable[Feed], places: Sequence[int]) -> Iterator[Feed]:
        """The feeds with the chosen samples alone."""
        inputs = self._inputs.model.inputs
        wanted = np.asarray(places)
        first = 0
        for feed in feeds:
            arrays = {name: np.asarray(array) for name, array in feed.items()}
            units = batch_of(arrays, inputs)
            rows = wanted[(wanted >= first) & (wanted < first + (units or 1))] - first
            first += units or 1
            if len(rows) == (units or 1):
                yield feed
            elif len(rows):
                yield {name: np.ascontiguousarray(array[rows]) for name, array in arrays.items()}


def opener(inputs: Inputs) -> Callable[..., Any]:
    """Opens sessions for passes over the samples, where trials are scored."""
    return partial(open_session, device=inputs.bench.device, threads=inputs.request.threads)


def _rows(feed: Feed) -> int:
    """Samples in a feed that cannot be divided: its largest first dimension."""
    return max((np.shape(array)[0] for array in feed.values() if np.ndim(array)), default=1)
