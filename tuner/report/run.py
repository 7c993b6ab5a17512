"""A tuning run with everything it writes: the study's files, result.json and report.html."""

from __future__ import annotations

from dataclasses import replace

from ..study.events import Observer, ignore
from ..study.files import FRONT, REPORT, RESULT
from ..study.recover import open_study
from ..study.request import Request
from ..study.result import Result
from ..study.tune import tune
from .claims import front_csv
from .study import page
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
        **({"front": write_text(front_csv(result.front), folder / FRONT)} if result.front else {}),
        "result": write_result(result, folder / RESULT),
        "report": folder / REPORT,
    }
    with open_study(request.storage or folder, result.study["name"]) as store:
        write_text(page(store, result.to_json()), files["report"])
    return replace(result, files=files)
