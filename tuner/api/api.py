"""The Python face of the command line: the same defaults, the same study."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import onnx

from .tuner.report.records import export as export_record
from .tuner.report.run import tune_and_report
from .tuner.study.calibrationoptions import CalibrationOptions
from .tuner.study.events import Observer, ignore
from .tuner.study.export import export_trial
from .tuner.study.recover import open_study
from .tuner.study.request import Request, TargetDrop, fraction
from .tuner.study.result import Result


def tune(
    model: str | Path,
    evaluate: Any,
    target_drop: str | float = "1%",
    *,
    out: str | Path | None = None,
    strategy: str = "auto",
    device: str = "auto",
    target: str = "auto",
    objective: str | None = None,
    max_trials: int | None = None,
    timeout: float | None = None,
    stop: Literal["best", "first"] = "best",
    patience: int | None = None,
    race: bool = True,
    alpha: float = 0.01,
    holdout: str | float | None = None,
    threads: int | None = None,
    seed: int = 0,
    keep_float: Sequence[str] = (),
    only: Sequence[str] = (),
    fix: Mapping[str, str] | None = None,
    precisions: Sequence[str] = (),
    per_layer_calibrators: bool = False,
    warm: Sequence[str | Path] = (),
    ranges: str | Path | None = None,
    calibration_samples: int | None = None,
    calibration_select: str | None = None,
    data_free: bool = False,
    input_range: tuple[float, float] | None = None,
    storage: str | None = None,
    study_name: str | None = None,
    fresh: bool = False,
    observer: Observer = ignore,
) -> Result:
    """Search the best quantization of an ONNX model within a tolerated drop of a metric; resumes an earlier search.

    Args:
        model: The float ONNX file.
        evaluate: A function that takes an `onnxruntime.InferenceSession` and returns the metric or yields per-sample
            scores; a module or object with the names an eval file has; the path of one; `accuracy:data.npz`;
            `fidelity:inputs.npz`.
        target_drop: `"1%"` relative to the float metric, or an absolute drop such as 0.01.
        out: Output folder, by default `<model stem>.autoquant` in the working directory.
        timeout: Seconds of this call.
        stop: `first` ends the search at the first model that would be delivered as met.
        patience: Trials without improvement that end the search, None for the strategy's own number.
        race: Stop a trial as soon as its samples show, at confidence 1 − `alpha`, that it cannot hold the target.
        holdout: Part of the samples, as `"20%"` or 0.2, kept from the search for one final confirmation.
        precisions: What a layer may be, float aside, as `("int8", "int4")`; by default what target and objective offer.
        warm: recipe.json files whose recipes are scored first (`--from`).
        ranges: File of activations' ranges that another tool made (`--ranges`).
        calibration_samples: How many samples ranges come from, None for all of `calibration()`, without one 200.
        calibration_select: Which, of more than that: `random`, `first`, `diverse` or `balanced`.
        data_free: Calibrate on made-up inputs instead of data.
        input_range: Smallest and largest value of made-up float inputs.
        observer: Called with the events of `autoquant.tuner.study.events`.

    Returns:
        What result.json holds. The files lie in `out`.

    Raises:
        AutoquantError: Something about the arguments, the model, the evaluation or the machine.
    """
    request = Request(
        model=Path(model),
        evaluate=evaluate,
        target_drop=TargetDrop.parse(target_drop),
        out=None if out is None else Path(out),
        strategy=strategy,
        device=device,
        target=target,
        objective=objective,
        max_trials=max_trials,
        timeout=timeout,
        stop=stop,
        patience=patience,
        race=race,
        alpha=alpha,
        holdout=None if holdout is None else fraction(holdout),
        threads=threads,
        seed=seed,
        keep_float=tuple(keep_float),
        only=tuple(only),
        fix=dict(fix or {}),
        precisions=tuple(precisions),
        per_layer_calibrators=per_layer_calibrators,
        warm=tuple(Path(path) for path in warm),
        ranges=None if ranges is None else Path(ranges),
        calibration=CalibrationOptions(calibration_samples, calibration_select, data_free, input_range),
        storage=storage,
        study_name=study_name,
        fresh=fresh,
        command="autoquant.tune",
    )
    return tune_and_report(request, observer)


def recover(
    model: str | Path, study: str | Path, trial: int | Literal["best"] = "best", *, study_name: str | None = None
) -> onnx.ModelProto:
    """Rebuild any trial's model from the study and the float model alone.

    Args:
        model: The float ONNX file.
        study: An output folder, a study.db or a storage URL.
        trial: Its number, or `best`.

    Raises:
        AutoquantError: No such study or trial, or the model is not the study's.
    """
    with open_study(study, study_name) as store, tempfile.TemporaryDirectory() as folder:
        return onnx.load(export_trial(store, trial, Path(folder) / "model.onnx", Path(model)))


def export(
    study: str | Path,
    out: str | Path,
    trial: int | Literal["best"] = "best",
    *,
    format: str = "qdq",
    model: str | Path | None = None,
    study_name: str | None = None,
) -> Path:
    """Write any trial's model, or a record of its scales and offsets for another toolchain.

    Args:
        study: An output folder, a study.db or a storage URL.
        out: The file to write.
        trial: Its number, or `best`.
        format: `qdq`, `tensorrt-cache`, `qnn-encodings` or `json-record`.
        model: The float ONNX file, None for where it was when the study began.

    Raises:
        AutoquantError: No such study, trial or format, or the model is not the study's.
    """
    with open_study(study, study_name) as store:
        return export_record(store, trial, Path(out), format, None if model is None else Path(model)).path
