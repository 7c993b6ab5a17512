"""The outcome of a tuning run: what result.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from .request import TargetDrop

Status = Literal["met", "not_met", "no_gain"]

LEAST_SHARE = 0.1
"""Of the layers must run on integers, else nothing is gained."""


@dataclass(frozen=True)
class Tuned:
    """The delivered trial. `drop` and `drop_ci` are in the target's unit; `drop_ci` is None for eval form 1."""

    trial: int
    metric: float
    drop: float
    drop_ci: tuple[float, float] | None


@dataclass(frozen=True)
class Result:
    """Everything a run found. `to_json` is the content of result.json.

    Attributes:
        status: `met`, `not_met` or `no_gain`.
        why: One sentence for a person: why this status.
        latency: baseline_ms, tuned_ms, speedup, speedup_ci, device, threads, input_shapes, rewrites_only (speedup and
            speedup_ci of the same rewrites in float; None where they change nothing); None where not timed.
        layers: total, int8, fp16, fp32, and where they occur int16, int4, weight8: compute layers of the float model;
            int8 = ran on integer kernels in the delivered file under default session options.
        holdout: fraction, samples, baseline, metric, drop, drop_ci, holds: the delivered model on the samples that the
            search never saw; None without `--holdout`.
        diagnosis: findings, advice (sentences) and checks (figures): why nothing on integers holds the target; None
            where something does.
        tables: total, weight8: embeddings, and those on 8 bits in the delivered file; None without any.
        certificate: status (`complete` or `11 of 14`), refuted, of, layers: what is known against each float layer of
            the delivered recipe being int8; None where the target is not held.
        front: trial, drop, cost, metric, speedup, speedup_ci, size_bytes, int8_layers of each point, from the least
            drop to the least cost; empty but for an objective with `,drop`.
        evidence: trial, cost, speedup, speedup_ci, drop, holds, int8_layers of the cheapest candidates with anything in
            int8; empty but for `no_gain`.
        errors: layer, weight, input, local, propagated, uncorrected, corrections of each int8 layer of the delivered
            model: its signal-to-noise ratios in decibels, and what each correction gains alone (`layererrors.py`).
        calibration: samples, of (how many there were to choose from), source, data_free, selection, repeated, constant,
            overlap (calibration samples that are evaluation inputs too), evaluation_samples, coverage (how many tensors
            the evaluation drives out of their calibrated range) and warnings: what ranges come from; None for studies
            that did not note it.
        warnings: Sentences the user should read.
        files: name → path of what was written (model, recipe, result, report).
    """

    status: Status
    why: str
    target: TargetDrop
    baseline_metric: float
    tuned: Tuned | None
    trials: Mapping[str, float]
    seconds: Mapping[str, float]
    latency: Mapping[str, Any] | None
    size: Mapping[str, int]
    layers: Mapping[str, int]
    study: Mapping[str, str]
    scored_on: Mapping[str, Any]
    versions: Mapping[str, str]
    objective: str
    holdout: Mapping[str, Any] | None = None
    diagnosis: Mapping[str, Any] | None = None
    certificate: Mapping[str, Any] | None = None
    front: tuple[Mapping[str, Any], ...] = ()
    evidence: tuple[Mapping[str, Any], ...] = ()
    errors: tuple[Mapping[str, Any], ...] = ()
    calibration: Mapping[str, Any] | None = None
    tables: Mapping[str, int] | None = None
    warnings: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def exit_status(self) -> int:
        """0 when the target is met, else 1."""
        return 0 if self.status == "met" else 1

    def to_json(self) -> dict[str, Any]:
        """The content of result.json."""
        return {
            "status": self.status,
            "why": self.why,
            "objective": self.objective,
            "target": {"drop": self.target.value, "relative": self.target.relative},
            "baseline": {"metric": self.baseline_metric},
            "tuned": asdict(self.tuned) if self.tuned else None,
            "trials": dict(self.trials),
            "seconds": dict(self.seconds),
            "latency": dict(self.latency) if self.latency else None,
            "size": dict(self.size),
            "layers": dict(self.layers),
            "study": dict(self.study),
            "scored_on": dict(self.scored_on),
            "versions": dict(self.versions),
            "holdout": dict(self.holdout) if self.holdout else None,
            "diagnosis": dict(self.diagnosis) if self.diagnosis else None,
            "certificate": dict(self.certificate) if self.certificate else None,
            "front": [dict(point) for point in self.front],
            "evidence": [dict(candidate) for candidate in self.evidence],
            "errors": [dict(layer) for layer in self.errors],
            "calibration": dict(self.calibration) if self.calibration else None,
            "tables": dict(self.tables) if self.tables else None,
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], files: Mapping[str, Path] | None = None) -> Result:
        """The inverse of `to_json`."""
        tuned = data["tuned"]
        interval = tuned["drop_ci"] if tuned else None
        return cls(
            status=data["status"],
            why=data["why"],
            target=TargetDrop(data["target"]["drop"], data["target"]["relative"]),
            baseline_metric=data["baseline"]["metric"],
            tuned=Tuned(tuned["trial"], tuned["metric"], tuned["drop"], tuple(interval) if interval else None)
            if tuned
            else None,
            trials=data["trials"],
            seconds=data["seconds"],
            latency=data["latency"],
            size=data["size"],
            layers=data["layers"],
            study=data["study"],
            scored_on=data["scored_on"],
            versions=data["versions"],
            objective=data["objective"],
            holdout=data.get("holdout"),
            diagnosis=data.get("diagnosis"),
            certificate=data.get("certificate"),
            tables=data.get("tables"),
            front=tuple(data.get("front", ())),
            evidence=tuple(data.get("evidence", ())),
            errors=tuple(data.get("errors", ())),
            calibration=data.get("calibration"),
            warnings=tuple(data["warnings"]),
            files=files or {},
        )
