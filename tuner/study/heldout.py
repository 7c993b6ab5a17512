"""The delivered model's one examination on the samples that the search never saw."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ...errors import EvaluationError
from ...evaluators.base import Scored
from ...evaluators.paired import drop_interval
from .confirm import Confirmed
from .events import Noted, Progressed
from .files import MODEL
from .request import TargetDrop
from .run import Run
from .trial import comparable, recipe_hash

HOLDOUT = "holdout"

_FEW = 50
_WIDE = 2.0
"""An interval wider than this many times the target cannot tell whether the target holds."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the held-out samples say.

    Attributes:
        fraction: Of the evaluation's samples.
        samples: Number held out.
        baseline: The float model's metric on them.
        metric: The delivered model's.
        drop: In the target's unit.
        drop_ci: 95 % interval of the drop on unseen data.
        holds: Whether the drop is within the target.
        looks: Models of this study that these samples have judged, this one included.
    """

    fraction: float
    samples: int
    baseline: float
    metric: float
    drop: float
    drop_ci: tuple[float, float]
    holds: bool
    looks: int = 1

    @property
    def evaluations(self) -> float:
        """What scoring both models took, as a part of an evaluation over the search's samples."""
        return 2.0 * self.fraction / (1.0 - self.fraction)

    def to_json(self) -> dict[str, Any]:
        """The `holdout` of result.json."""
        return {**asdict(self), "drop_ci": list(self.drop_ci)}


def confirm_held(run: Run, found: Confirmed) -> HeldOut | None:
    """Score the model about to be delivered on the held-out samples: once, whatever is resumed later.

    Returns:
        None without a hold-out.

    Raises:
        EvaluationError: The user's code failed on these samples.
    """
    held = run.inputs.held
    if held is None:
        return None
    judged: dict[str, Any] = run.store.get(HOLDOUT, {})
    mine = recipe_hash(found.record.recipe)
    known = judged.get(mine)
    if known is not None and comparable(known["scored_on"], run.inputs.scored_on):
        stored = HeldOut(**{**known["verdict"], "drop_ci": tuple(known["verdict"]["drop_ci"])})
        return replace(stored, holds=stored.drop <= run.inputs.request.target_drop.value)
    run.observer(Noted(f"one look at the {held.held} of samples held out"))

    def progress(done: int, total: int | None) -> None:
        run.observer(Progressed(done, total))

    before = held.score(run.baseline.session, progress=progress)
    after = held.score(run.inputs.bench.open_delivered(found.folder / MODEL), progress=progress)
    verdict = _judged(run, before, after, looks=len(judged.keys() | {mine}))
    run.store.put({HOLDOUT: {**judged, mine: {"verdict": verdict.to_json(), "scored_on": run.inputs.scored_on}}})
    return verdict


def _judged(run: Run, before: Scored, after: Scored, looks: int) -> HeldOut:
    target, held = run.inputs.request.target_drop, run.inputs.held
    assert held is not None
    assert before.samples is not None
    assert after.samples is not None
    if target.relative and before.metric == 0:
        raise EvaluationError(
            f"the float model's metric is 0 on the {len(before.samples)} samples held out, so a relative target of "
            f"{target} means nothing there.\nGive an absolute one (--target-drop 0.01), or hold out more samples."
        )
    drop = target.drop(before.metric, after.metric, held.higher_is_better)
    return HeldOut(
        fraction=held.fraction,
        samples=len(before.samples),
        baseline=before.metric,
        metric=after.metric,
        drop=drop,
        drop_ci=drop_interval(
            before.samples,
            after.samples,
            relative=target.relative,
            higher_is_better=held.higher_is_better,
            seed=run.inputs.request.seed,
        ),
        holds=drop <= target.value,
        looks=looks,
    )


def warnings(held: HeldOut | None, target: TargetDrop) -> list[str]:
    """What the user should read beside it."""
    if held is None:
        return []
    said = []
    low, high = held.drop_ci
    if held.samples < _FEW:
        said.append(
            f"only {held.samples} samples are held out: too few to tell a drop of {target}. "
            "Hold out more, or evaluate on more samples"
        )
    elif high - low > _WIDE * target.value:
        said.append(
            f"the {held.samples} samples held out tell the drop only to within {target.shown(low)} to "
            f"{target.shown(high)} (95%), where {target} is allowed: hold out more, or evaluate on more samples"
        )
    if held.looks > 1:
        said.append(
            f"the samples held out have judged {held.looks} models of this study by now: "
            "each further look makes passing by luck likelier"
        )
    return said
