"""What a tuning run is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...errors import OptionError
from .calibrationoptions import CalibrationOptions

OBJECTIVES = ("latency", "size", "ops")
DROP = "drop"


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised: a cost alone, or a cost against the drop.

    Attributes:
        cost: `latency`, `size` or `ops`: what a trial's cost measures.
        pareto: Whether the drop counts beside it, so that a front is asked for and not one model.
    """

    cost: str
    pareto: bool = False

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read `latency` or `latency,drop`.

        Raises:
            OptionError: No such cost, none, or several.
        """
        words = [word.strip() for word in text.split(",")]
        costs = [word for word in words if word != DROP]
        if len(costs) == 1 and costs[0] in OBJECTIVES and len(words) <= 2:
            return cls(costs[0], DROP in words)
        raise OptionError(
            f"--objective must be one of {', '.join(OBJECTIVES)}, or one of them with the drop for a Pareto front "
            f"(`latency,drop`), but got {text!r}"
        )

    def __str__(self) -> str:
        return f"{self.cost},{DROP}" if self.pareto else self.cost


@dataclass(frozen=True, slots=True)
class TargetDrop:
    """The tolerated drop: `1%` is relative to the baseline's metric, `0.01` absolute."""

    value: float
    relative: bool

    @classmethod
    def parse(cls, text: str | float) -> TargetDrop:
        """Read `1%`, `0.5 %` or `0.01`.

        Raises:
            OptionError: Not a number, not finite, or not above zero.
        """
        words = str(text).strip()
        relative = words.endswith("%")
        try:
            value = float(words.removesuffix("%").strip()) / (100.0 if relative else 1.0)
        except ValueError:
            value = float("nan")
        if not 0.0 < value < float("inf") or (relative and value >= 1.0):
            raise OptionError(
                f"--target-drop must be above 0, as `1%` (relative) or `0.01` (absolute), but got {words!r}"
            )
        return cls(value, relative)

    def drop(self, baseline: float, metric: float, higher_is_better: bool) -> float:
        """How much worse `metric` is than `baseline`, in this target's unit; negative when it is better."""
        worse = baseline - metric if higher_is_better else metric - baseline
        # Rounded, so that 0.829 - 0.819 is a drop of 0.01 and not of 0.010000000000000009.
        return round(worse / abs(baseline) if self.relative else worse, 12)

    def shown(self, drop: float) -> str:
        """A drop in this target's unit, for a message."""
        return f"{100 * drop:.2f}%" if self.relative else f"{drop:.4g}"

    def __str__(self) -> str:
        return f"{100 * self.value:g}%" if self.relative else f"{self.value:g}"


def fraction(text: str | float) -> float:
    """Read `20%` or `0.2`, the part of the samples that is held out.

    Raises:
        OptionError: Not a number, or not above 0 and below 1.
    """
    words = str(text).strip()
    try:
        value = float(words.removesuffix("%").strip()) / (100.0 if words.endswith("%") else 1.0)
    except ValueError:
        value = float("nan")
    if not 0.0 < value < 1.0:
        raise OptionError(f"--holdout must lie between 0 and 1, as `20%` or `0.2`, but got {words!r}")
    return value


@dataclass(frozen=True)
class Request:
    """Everything `autoquant tune` was asked.

    Attributes:
        model: The float ONNX file.
        evaluate: `--eval`: a path to an eval file, `accuracy:data.npz`, `fidelity:inputs.npz`, or (Python API only) a
            callable or a module-like object with the names an eval file has.
        out: Output folder, None for `<model stem>.autoquant` in the working directory.
        objective: As `Objective.parse`; None for latency where it can be timed, else ops.
        max_trials: Trials of the whole study, None for no bound.
        timeout: Seconds of this invocation, None for no bound.
        stop: `first` ends the search at the first trial that would be delivered as met.
        race: Whether a trial is stopped as soon as it cannot hold the target, and `alpha` the chance that one is
            stopped that holds it.
        patience: Trials without improvement that end the search, None for the strategy's own number.
        holdout: Part of the evaluation's samples that is kept from the search, above 0 and below 1; None for none.
        fix: Parameter → the one choice it keeps.
        precisions: What a layer may be, float aside; empty for what the target and the objective offer.
        per_layer_calibrators: Whether layers may have calibrators of their own.
        warm: recipe.json files whose recipes are scored first.
        ranges: File of activations' ranges that another tool made, None for none.
        calibration: How many and which samples ranges come from.
        storage: Optuna storage URL, None for `study.db` in the output folder.
        command: The command line as typed, for the study's record.
    """

    model: Path
    evaluate: Any
    target_drop: TargetDrop
    out: Path | None = None
    strategy: str = "auto"
    device: str = "auto"
    target: str = "auto"
    objective: str | None = None
    max_trials: int | None = None
    timeout: float | None = None
    stop: Literal["best", "first"] = "best"
    patience: int | None = None
    race: bool = True
    alpha: float = 0.01
    holdout: float | None = None
    threads: int | None = None
    seed: int = 0
    keep_float: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    fix: Mapping[str, str] = field(default_factory=dict)
    precisions: tuple[str, ...] = ()
    per_layer_calibrators: bool = False
    warm: tuple[Path, ...] = ()
    ranges: Path | None = None
    calibration: CalibrationOptions = field(default_factory=CalibrationOptions)
    storage: str | None = None
    study_name: str | None = None
    fresh: bool = False
    command: str = ""

    @property
    def folder(self) -> Path:
        """The output folder: `out`, else `<model stem>.autoquant` in the working directory."""
        return self.out or Path.cwd() / f"{Path(self.model).stem}.autoquant"
