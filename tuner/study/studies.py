"""Which studies lie in a database, and whether a request may go on with them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import optuna

from . import database
from .files import BASELINE_SCORES, DATABASE, FEEDS, SCORES
from .fingerprint import Fingerprint
from .inputs import Inputs
from .store import Store, names

BASELINE = "baseline"
RESULT = "result"


def location(inputs: Inputs) -> str:
    """The storage URL of a request: `--storage`, else `study.db` in the output folder."""
    return database.url_of(inputs.request.storage or inputs.out / DATABASE)


def require_same_inputs(url: str, inputs: Inputs, now: Fingerprint) -> None:
    """Refuse a request whose model, eval file or calibration differs from the study's.

    Of the output folder's own database every study is of one model; of a shared one only that of the same name counts.

    Raises:
        ChangedInputsError: Naming what changed.
    """
    file = database.file_of(url)
    if file is not None and not (file.exists() and file.stat().st_size):
        return
    try:
        there = names(url)
    except database.NoStudyError:
        return
    asked = [name for name in there if name == inputs.name]
    if inputs.request.storage is None and not asked:
        asked = there[-1:]
    for name in asked:
        with Store.open(url, name) as store:
            scored, then, where = store.get(BASELINE) is not None, store.fingerprint, store.shown
        if not scored:  # whoever is still mending an eval file has nothing to lose
            _delete(url, name)
        elif inputs.request.storage is None:
            then.require_same(now, where)
        else:  # --fresh would drop what may be somebody else's study of the same name
            then.require_same(now, where, "Give this one another --study-name.")


def forget(inputs: Inputs) -> None:
    """Drop what earlier runs left: the folder's database, or the study of this name in a shared one."""
    url = location(inputs)
    if inputs.request.storage is not None:
        with suppress(KeyError):
            _delete(url, inputs.name)
    else:
        for suffix in ("", "-wal", "-shm"):
            (inputs.out / f"{DATABASE}{suffix}").unlink(missing_ok=True)
    (inputs.out / FEEDS).unlink(missing_ok=True)
    scores = Path(BASELINE_SCORES)
    for path in (*inputs.out.glob(f"{scores.stem}*{scores.suffix}"), *(inputs.out / SCORES).glob("*.npy")):
        path.unlink()


def _delete(url: str, name: str) -> None:
    """Drop a study from its database. KeyError if there is none."""
    storage = database.connect(url, write=True)
    try:
        optuna.delete_study(study_name=name, storage=storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()
