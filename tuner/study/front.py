"""The front of cost against drop as it is delivered: its trials timed afresh, each ready to be exported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...strategies.base import Outcome
from ...strategies.front import front_of
from .trial import TrialRecord

if TYPE_CHECKING:  # who only reads a study needs no runtime
    from .confirm import Confirmed
    from .run import Run
    from .store import Store

FRONT = "front"

_MOST = 24


def delivered(run: Run, found: Confirmed | None) -> tuple[dict[str, Any], ...]:
    """The front, from the least drop to the least cost, kept in the study.

    Where latency is the cost, every trial that may be on it is timed again, the delivered one with its file: a point
    that stood out by one lucky timing is flattered by it. The delivered one, if faster than the file, stays a point
    even where its advantage over the others turns out to be within noise.
    """
    records = {record.number: record for record in run.usable()}
    if run.inputs.objective == "latency":
        # Without their noise: what a calmer timing may bring to the front is timed too.
        likely = [outcome.number for outcome in front_of(_outcomes(records.values(), noisy=False))][-_MOST:]
        if found is not None and found.record.number not in likely:
            likely.append(found.record.number)
        records = {number: _timed(run, found, records[number]) for number in likely}
    chosen = among(records.values())
    own = [records[found.record.number]] if found is not None and found.record.number in records else []
    if own and found is not None and found.holds and own[0] not in chosen:
        chosen = sorted([*chosen, *among(own)], key=lambda record: (record.drop, record.number))
    points = tuple(_point(record) for record in chosen)
    run.store.put({FRONT: list(points)})
    return points


def on_front(store: Store) -> list[TrialRecord]:
    """A study's trials on the front, with the costs of their last timing: as delivered, else as it stands."""
    trials = {record.number: record for record in store.trials()}
    kept: list[dict[str, Any]] | None = store.get(FRONT)
    if kept is None:
        return among(trials.values())
    return [
        replace(trials[point["trial"]], cost=point["cost"], speedup=point["speedup"])
        for point in kept
        if point["trial"] in trials
    ]


def among(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Those on the front, by the costs they carry, from the least drop to the least cost."""
    known = {record.number: record for record in records}
    return [known[outcome.number] for outcome in front_of(_outcomes(known.values()))]


def _timed(run: Run, found: Confirmed | None, record: TrialRecord) -> TrialRecord:
    mine = found is not None and found.record.number == record.number
    latency = found.latency if mine and found is not None else run.executor.time(record.recipe, None)
    if latency is None:
        return record
    return replace(
        record,
        cost=1.0 / latency.speedup,
        speedup=latency.speedup,
        speedup_ci=latency.speedup_ci,
        latency_ms=latency.candidate_ms,
    )


def _outcomes(records: Iterable[TrialRecord], *, noisy: bool = True) -> list[Outcome]:
    told = [record.outcome() for record in records if record.state == "complete"]
    return told if noisy else [replace(outcome, cost_noise=0.0) for outcome in told]


def _point(record: TrialRecord) -> dict[str, Any]:
    return {
        "trial": record.number,
        "drop": record.drop,
        "cost": record.cost,
        "metric": record.metric,
        "speedup": record.speedup,
        "speedup_ci": list(record.speedup_ci) if record.speedup_ci else None,
        "size_bytes": record.size_bytes,
        "int8_layers": record.int8_layers,
    }
