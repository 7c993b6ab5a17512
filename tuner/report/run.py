"""A tuning run with everything it writes: the study's files, result.json and report.html."""

from __future__ import annotations

from dataclasses import replace

from ...strategies.base import LAYER
from ..study.events import Observer, ignore
from ..study.recover import open_study
from ..study.request import Request
from ..study.result import Result
from ..study.tune import tune
from .html import render
from .write import write_result, write_text


def tune_and_report(request: Request, observer: Observer = ignore) -> Result:
    """Tune, then write result.json and report.html beside the model.

    Raises:
        AutoquantError: As `tune`; or a file cannot be written.
    """
    result = tune(request, observer)
    folder = request.folder
    files = {
        **result.files,
        "result": write_result(result, folder / "result.json"),
        "report": folder / "report.html",
    }
    with open_study(request.storage or folder, result.study["name"]) as store:
        page = render(
            store.name,
            store.trials(),
            target=request.target_drop,
            objective=result.objective,
            result=result.to_json(),
            layers=tuple(name.removeprefix(LAYER) for name in store.choices if name.startswith(LAYER)),
            command=str(store.get("command") or ""),
        )
    write_text(page, files["report"])
    return replace(result, files=files)
