"""The study's ranges and probe samples: calibrated once, found again ever after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...errors import CalibrationError, EvaluationError
from ...evaluators.base import Feed
from ...evaluators.feeds import describe, problem
from ...strategies.words import REWRITE
from ..calibration.collect import collect
from ..calibration.compute import compute_ranges
from ..calibration.identity import Met
from ..calibration.inputshift import Profile
from ..calibration.ranges import Ranges
from ..quantization.records.ranges import without
from . import feeds as kept
from .attributes import FINGERPRINT
from .baseline import Baseline
from .events import Noted, Observer
from .files import FEEDS
from .fingerprint import hash_feeds
from .inputs import Inputs
from .likeness import COMPARED, about
from .samples import Chosen, Samples, opener
from .store import Store

RANGES = "ranges"
CALIBRATION = "calibration"
"""Study attribute: what is known of the calibration samples (`likeness.about`)."""


@dataclass(frozen=True)
class Calibration:
    """What the search needs of the calibration samples.

    Attributes:
        probes: Single samples that the probes run on.
        timed: The feed that is timed.
        source: The calibration samples, for further passes.
    """

    ranges: Ranges
    probes: list[Feed]
    timed: Feed
    source: Samples


@dataclass(frozen=True, slots=True)
class Found:
    """A calibration, or a part of one, of this study or of a sibling.

    Attributes:
        ranges: As `Ranges.to_json` gives them; None where nothing was calibrated yet.
        samples: (probe feeds, timed feed); None where the folder does not hold them.
        about: What is known of the calibration samples; None where nothing was calibrated yet.
    """

    ranges: Mapping[str, Any] | None
    samples: tuple[list[Feed], Feed] | None
    about: Mapping[str, Any] | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is left to calibrate."""
        return self.ranges is not None and self.samples is not None


def fingerprint(inputs: Inputs) -> str:
    """sha256 of what `calibration()` yields; "" where it is not used, or its samples differ at every call."""
    feeds = None if inputs.request.calibration.data_free else inputs.evaluation.calibration()
    if feeds is None:
        return ""
    # What is no feed is refused, with a message, when it is to be run.
    return hash_feeds(feed for feed in feeds if isinstance(feed, Mapping))


def found(inputs: Inputs, store: Store) -> Found:
    """What earlier runs left."""
    return Found(store.inherited(RANGES), kept.load(inputs.out / FEEDS), store.inherited(CALIBRATION))


def to_record(inputs: Inputs, there: Found, *, needed: bool) -> int:
    """How many of the baseline evaluation's own samples calibration will want; 0 for none.

    Args:
        there: What earlier runs left.
        needed: Whether only those count without which there is no calibration.
    """
    if there.complete:
        return 0
    source = Samples(inputs, _chosen(there))
    if source.recorded:
        return source.wanted
    return COMPARED if not needed or source.needs_shapes else 0


def calibrate(
    inputs: Inputs,
    store: Store,
    there: Found,
    measured: Baseline,
    progress: Callable[[int], None],
    observer: Observer,
) -> Calibration:
    """The ranges of the study, from the database where they are there, else from one pass over the samples.

    Args:
        there: What earlier runs left.
        measured: The float model's score, with feeds of its evaluation where `to_record` asked for them.
        progress: Called with the samples seen.

    Raises:
        CalibrationError: No samples, or samples that do not fit the model.
    """
    saved, samples = there.ranges, there.samples
    source = Samples(inputs, _chosen(there))
    if saved is not None and samples is not None:
        ranges = _with_imported(Ranges.from_json(saved), inputs, observer)
        store.put({RANGES: ranges.to_json(), **({CALIBRATION: there.about} if there.about else {})})
        return Calibration(ranges, *samples, source)
    _say(source, observer)
    wanted = inputs.model.inputs
    sampler, met, profile = kept.Sampler(wanted, inputs.request.seed), Met(wanted, constants=True), Profile(wanted)
    given = source.feeds(lambda: measured.recorder.feeds() if measured.recorder else ())
    feeds = _watched(sampler.watch(given), met, profile)
    if saved is None:
        tensors = _tensors(inputs)
        statistics = collect(source.model, tensors, feeds, open_session=opener(inputs), progress=progress)
        ranges = compute_ranges(statistics)
        _unsteady(store, source.content or sampler.fingerprint, observer)
        described = about(inputs, source, ranges, tensors, met, profile, measured)
        for warning in described["warnings"]:
            observer(Noted(warning, warning=True))
    else:
        ranges, described = Ranges.from_json(saved), dict(there.about or {})
        for _ in feeds:
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
    store.put({RANGES: ranges.to_json(), **({CALIBRATION: described} if described else {})})
    return Calibration(ranges, probes, timed, source)


def _chosen(there: Found) -> Chosen | None:
    """The samples that an earlier run settled on."""
    held = there.about.get("chosen") if there.about else None
    return Chosen.from_json(held) if held else None


def _say(source: Samples, observer: Observer) -> None:
    """What the user should know before it starts."""
    if source.recorded:
        observer(
            Noted("no calibration() in the eval file: calibrating on samples of the evaluation itself", warning=True)
        )
    elif source.data_free:
        observer(Noted(f"data-free calibration: samples {source.source}"))


def _watched(feeds: Iterable[Feed], met: Met, profile: Profile) -> Iterator[Feed]:
    """The feeds unchanged, those that are any taken note of."""
    for feed in feeds:
        if isinstance(feed, Mapping) and feed:
            met.add(feed)
            profile.add(feed)
        yield feed


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
    wanted = inputs.model.inputs
    wrong = problem(feed, wanted)
    if wrong is not None:
        raise EvaluationError(f"latency_inputs() does not fit the model: {wrong}.\nIts inputs: {describe(wanted)}.")
    return feed


def _unsteady(store: Store, content: str, observer: Observer) -> None:
    """Take the calibration out of the fingerprint where two passes over it differ: it could never be resumed.

    Args:
        content: sha256 of all that this pass over `calibration()` brought.
    """
    known = store.fingerprint
    if not known.calibration or known.calibration == content:
        return
    store.put({FINGERPRINT: replace(known, calibration="").to_json()})
    observer(
        Noted("calibration() yields other samples at every call; changes to it will not be noticed. Seed it.", True)
    )
