"""From what a user calls a study to the study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import StudyError
from . import database
from .files import DATABASE, RESULT
from .opening import names
from .store import Store


def open_study(study: str | Path, study_name: str | None = None, *, timeout: float = 30.0) -> Store:
    """Open a study to read it.

    Args:
        study: An output folder, a study.db, or a storage URL.
        study_name: Which one, where there are several. For a folder the default is the one its result.json is of.
        timeout: Seconds to wait for another program's lock.

    Raises:
        StudyError: There is none, it cannot be read, or there are several and no name.
    """
    url, usual = locate(study)
    if study_name is None and usual is not None and usual in names(url, timeout=timeout):
        study_name = usual
    return Store.open(url, study_name, timeout=timeout)


def locate(study: str | Path) -> tuple[str, str | None]:
    """Storage URL of what the user calls a study, and the study's name where its folder knows it.

    Raises:
        StudyError: No such file or folder, or nothing of a study in it.
    """
    if "://" in str(study):
        return str(study), None
    path = Path(study)
    if not path.exists():
        raise StudyError(f"no such study: {path}\nName an .autoquant folder, a study.db or a storage URL.")
    if path.is_file():
        return database.url_of(path), None
    known = _result(path)
    if (path / DATABASE).exists():
        return database.url_of(path / DATABASE), known.get("name")
    if "storage" in known:
        return database.url_of(known["storage"]), known.get("name")
    raise StudyError(f"{path} holds no study: neither {DATABASE} nor a {RESULT} that names one.")


def _result(folder: Path) -> dict[str, Any]:
    """The `study` part of a folder's result.json, empty if there is none."""
    try:
        known = json.loads((folder / RESULT).read_text())["study"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return known if isinstance(known, dict) else {}
