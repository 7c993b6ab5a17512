"""The study's ranges and probe samples: calibrated once, found again ever after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...errors import CalibrationError, EvaluationError
from ...evaluators.base import Feed
from ...evaluators.feeds import describe, inputs_of_file, problem
from ...evaluators.session import open_session
from ...strategies.base import REWRITE
from ..calibration.collect import collect
from ..calibration.compute import compute_ranges
from ..calibration.ranges import Ranges
from ..quantization.records.ranges import without
from . import feeds as kept
from .attributes import FINGERPRINT
from .events import Noted, Observer
from .files import FEEDS
from .fingerprint import hash_feeds
from .inputs import Inputs
from .store import Store

RANGES = "ranges"


@dataclass(frozen=True)
class Calibration:
    """What the search needs of the calibration samples.

    Attributes:
        probes: Single samples that the probes run on.
        timed: The feed that is timed.
    """

    ranges: Ranges
    probes: list[Feed]
    timed: Feed


@dataclass(frozen=True, slots=True)
class Found:
    """A calibration, or a part of one, of this study or of a sibling.

    Attributes:
        ranges: As `Ranges.to_json` gives them; None where nothing was calibrated yet.
        samples: (probe feeds, timed feed); None where the folder does not hold them.
    """

    ranges: Mapping[str, Any] | None
    samples: tuple[list[Feed], Feed] | None

    @property
    def complete(self) -> bool:
        """Whether nothing is left to calibrate."""
        return self.ranges is not None and self.samples is not None


def fingerprint(inputs: Inputs) -> str:
    """sha256 of what `calibration()` yields; "" where the eval file has none or its samples differ at every call."""
    feeds = inputs.evaluation.calibration()
    if feeds is None:
        return ""
    # What is no feed is refused, with a message, when it is to be run.
    return hash_feeds(feed for feed in feeds if isinstance(feed, Mapping))


def found(inputs: Inputs, store: Store) -> Found:
    """What earlier runs left."""
    return Found(store.inherited(RANGES), kept.load(inputs.out / FEEDS))


def needs_reservoir(inputs: Inputs, there: Found) -> bool:
    """Whether calibration will need the baseline evaluation's own feeds."""
    return not there.complete and inputs.evaluation.calibration() is None


def calibrate(
    inputs: Inputs,
    store: Store,
    there: Found,
    reservoir: Iterable[Feed] | None,
    progress: Callable[[int], None],
    observer: Observer,
) -> Calibration:
    """The ranges of the study, from the database where they are there, else from one pass over the samples.

    Args:
        there: What earlier runs left.
        reservoir: Feeds of the baseline's evaluation, for an eval file without `calibration()`.
        progress: Called with the samples seen.

    Raises:
        CalibrationError: No samples, or samples that do not fit the model.
    """
    saved, samples = there.ranges, there.samples
    if saved is not None and samples is not None:
        ranges = _with_imported(Ranges.from_json(saved), inputs, observer)
        store.put({RANGES: ranges.to_json()})
        return Calibration(ranges, *samples)
    feeds: Iterable[Feed] | None = inputs.evaluation.calibration()
    if feeds is None:
        observer(
            Noted("no calibration() in the eval file: calibrating on samples of the evaluation itself", warning=True)
        )
        feeds = reservoir or ()
    sampler = kept.Sampler(inputs_of_file(inputs.model.path), inputs.request.seed)
    if saved is None:
        opener = partial(open_session, device=inputs.bench.device, threads=inputs.request.threads)
        statistics = collect(
            inputs.model, _tensors(inputs), sampler.watch(feeds), open_session=opener, progress=progress
        )
        ranges = compute_ranges(statistics)
        _unsteady(store, sampler, inputs, observer)
    else:
        ranges = Ranges.from_json(saved)
        for _ in sampler.watch(feeds):
            pass
    if sampler.first is None:
        raise CalibrationError(
            "there are no calibration samples: calibration() yielded nothing.\n"
            "Yield 100 to 200 representative inputs as {input name: array}."
        )
    ranges = _with_imported(ranges, inputs, observer)
    timed = _timed(inputs, sampler.first)
    probes = kept.telling(sampler.kept, inputs.bench.open_file(inputs.model.path))
    kept.save(inputs.out / FEEDS, probes, timed)
    store.put({RANGES: ranges.to_json()})
    return Calibration(ranges, probes, timed)


def _tensors(inputs: Inputs) -> tuple[str, ...]:
    """What is calibrated: fewer tensors where all rewrites are on offer."""
    kept_out = inputs.target.name == "tensorrt" or any(
        name.startswith(REWRITE) and choice == "off" for name, choice in inputs.request.fix.items()
    )
    return inputs.variants.collected if kept_out else inputs.variants.usual


def _with_imported(ranges: Ranges, inputs: Inputs, observer: Observer) -> Ranges:
    """The ranges with those of `--ranges` as one more calibrator, and without those of a sibling's."""
    if inputs.imported is None:
        return without(ranges)
    imported = inputs.imported.at_sources(inputs.variants.full.derived)
    used = len(imported.spans.keys() & ranges.values.keys())
    observer(
        Noted(
            f"{used} of {len(ranges.values)} tensors have imported ranges ({imported.form} {imported.path.name}), the "
            "others min-max ranges under this calibrator"
        )
    )
    if imported.model not in ("", inputs.model.fingerprint):
        observer(Noted(f"{imported.path.name} is of another model with the same tensor names", warning=True))
    return imported.over(ranges)


def _timed(inputs: Inputs, usual: Feed) -> Feed:
    """The feed to time: the eval file's own, else one calibration sample."""
    feed = inputs.evaluation.latency_feed()
    if feed is None:
        return usual
    wanted = inputs_of_file(inputs.model.path)
    wrong = problem(feed, wanted)
    if wrong is not None:
        raise EvaluationError(f"latency_inputs() does not fit the model: {wrong}.\nIts inputs: {describe(wanted)}.")
    return feed


def _unsteady(store: Store, sampler: kept.Sampler, inputs: Inputs, observer: Observer) -> None:
    """Take the calibration out of the fingerprint where two passes over it differ: it could never be resumed."""
    known = store.fingerprint
    if not known.calibration or known.calibration == sampler.fingerprint:
        return
    store.put({FINGERPRINT: replace(known, calibration="").to_json()})
    observer(
        Noted("calibration() yields other samples at every call; changes to it will not be noticed. Seed it.", True)
    )
