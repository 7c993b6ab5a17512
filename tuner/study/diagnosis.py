"""Why a target was not met, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .causes import Examiner, effort
from .confirm import Confirmed
from .findings import Findings
from .heldout import HeldOut
from .run import Run
from .stopping import Ended, expected
from .trial import recipe_hash

DIAGNOSIS = "diagnosis"

_EVALUATIONS = 2


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        findings: Sentences: why the target was not met.
        advice: Sentences: what to do next, the likeliest help first.
        checks: The figures behind them, JSON-able.
        evaluations: Full evaluations it took.
    """

    findings: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    checks: Mapping[str, Any] = field(default_factory=dict)
    evaluations: int = 0

    def to_json(self) -> dict[str, Any]:
        """The `diagnosis` of result.json."""
        return {
            "findings": list(self.findings),
            "advice": list(self.advice),
            "checks": dict(self.checks),
            "evaluations": self.evaluations,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Diagnosis:
        """The inverse of `to_json`."""
        return cls(tuple(data["findings"]), tuple(data["advice"]), data["checks"], data["evaluations"])


def diagnose(run: Run, found: Confirmed | None, ended: Ended, held: HeldOut | None = None) -> Diagnosis | None:
    """Examine the best effort of a study where nothing on integers holds the target; None where something does.

    At most two evaluations, none when a budget ended the search or they would outlast `--timeout`; probes take 20 s
    at most. Kept in the study: for the same best effort it is not done again.
    """
    if found is None:
        return _nothing_scored(run, ended)
    best = effort(run, found)
    if best is None:
        return _held_out(run, found, held) if held is not None and not held.holds else None
    allowed = 0 if ended.spent else _affordable(run)
    mine = recipe_hash(best.recipe)
    known = run.store.get(DIAGNOSIS)
    if known is not None and known["of"] == mine and known["allowed"] >= allowed:
        return Diagnosis.from_json(known)
    examiner = Examiner(run, best.recipe, allowed)
    written = Findings(run, best, ended)
    written.examine(examiner)
    made = Diagnosis(tuple(written.causes), tuple(written.advice), written.checks, examiner.evaluations)
    run.store.put({DIAGNOSIS: {"of": mine, "allowed": allowed, **made.to_json()}})
    return made


def _affordable(run: Run) -> int:
    timeout = run.inputs.request.timeout
    if timeout is None:
        return _EVALUATIONS
    return int(max(0.0, min(_EVALUATIONS, (timeout - run.clock.elapsed) / max(expected(run), 1e-9))))


def _nothing_scored(run: Run, ended: Ended) -> Diagnosis:
    failed = [record for record in run.store.trials() if record.state == "failed" and record.told]
    if failed:
        return Diagnosis(
            (f"all {len(failed)} trials failed, the last with: {failed[-1].error}",),
            ("mend what the error names, then run the same command again",),
        )
    if ended.by == "timeout":
        return Diagnosis(
            (f"the time was over before the first trial: the baseline alone took {run.baseline.seconds:.1f} s",),
            ("run the same command again with a longer --timeout: baseline and calibration are kept",),
        )
    return Diagnosis((ended.reason,), ("run the same command again with a larger budget",))


def _held_out(run: Run, found: Confirmed, held: HeldOut) -> Diagnosis:
    target = run.inputs.request.target_drop
    tried = sum(record.state == "complete" for record in run.usable())
    low, high = held.drop_ci
    findings = [
        f"the best of {tried} trials loses {target.shown(found.drop)} on the samples it was chosen by and "
        f"{target.shown(held.drop)} on the {held.samples} held out (95%: {target.shown(low)} to {target.shown(high)})"
    ]
    advice = ["search with a smaller --target-drop than the one you need, so that what is chosen has room to lose"]
    if low <= found.drop:
        findings.append("the difference is within the noise of so few samples")
        advice.insert(0, "evaluate on more samples: both the choice and its confirmation become surer")
    return Diagnosis(tuple(findings), tuple(advice), {"holdout": held.to_json()})
