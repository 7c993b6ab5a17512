"""What a run leaves for readers: result.json and report.html beside the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..study.recover import open_study
from ..study.request import Request
from ..study.result import Result
from .html import render
from .study import asked
from .write import write_result, write_text

RESULT = "result.json"
REPORT = "report.html"


def publish(result: Result, request: Request) -> Result:
    """Write result.json and report.html into the run's folder.

    Args:
        result: What `tune` returned.
        request: What it was asked.

    Returns:
        The result with both files named.

    Raises:
        OutputError: A file cannot be written.
        StudyError: The study cannot be read again.
    """
    folder = request.folder
    written = {RESULT: write_result(result, folder / RESULT)}
    with open_study(request.storage or folder, result.study["name"]) as store:
        what = asked(store)
        page = render(
            Path(request.model).name,
            store.trials(),
            target=result.target,
            objective=result.objective,
            result=result.to_json(),
            layers=what.layers,
            command=what.command,
        )
    written[REPORT] = write_text(page, folder / REPORT)
    return replace(result, files={**result.files, "result": written[RESULT], "report": written[REPORT]})
