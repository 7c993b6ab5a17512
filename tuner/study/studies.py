"""Which studies lie in a database, and whether a request may go on with them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import optuna

from ...errors import StudyError
from . import database
from .attributes import BUILD, OBJECTIVE, TARGET_DROP
from .files import BASELINE_SCORES, CORRECTIONS, DATABASE, FEEDS, SCORES
from .fingerprint import Fingerprint
from .inputs import Inputs
from .opening import names
from .request import Objective, TargetDrop
from .store import Store

BASELINE = "baseline"
PARETO = "pareto"
RESULT = "result"
RANGES_FILE = "ranges"
"""In `BUILD`: sha256 of the file of `--ranges`. Studies of other ranges share no scores."""


def location(inputs: Inputs) -> str:
    """The storage URL of a request: `--storage`, else `study.db` in the output folder."""
    return database.url_of(inputs.request.storage or inputs.out / DATABASE)


def require_same(url: str, inputs: Inputs, now: Fingerprint) -> None:
    """Refuse a request whose model, eval file or calibration differs from the study's, or what it searches for.

    Of the output folder's own database every study is of one model; of a shared one only that of the same name counts.
    A usual name says what its study searches for, a name of the user's own does not.

    Raises:
        ChangedInputsError: Naming what changed.
        StudyError: The study of this name has another target or objective.
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
            meant = _searched(store)
        if not scored:  # whoever is still mending an eval file has nothing to lose
            _delete(url, name)
        elif inputs.request.storage is None:
            then.require_same(now, where)
        else:  # --fresh would drop what may be somebody else's study of the same name
            then.require_same(now, where, "Give this one another --study-name.")
        if scored and name == inputs.name:
            _require_same_search(name, where, meant, inputs)


def _searched(store: Store) -> dict[str, str]:
    """What makes the scores of a study one search: option → value. Strategy, seed and budget may change."""
    return {
        "--target-drop": str(TargetDrop(**store.get(TARGET_DROP))),
        "--objective": str(Objective(store.get(OBJECTIVE), store.get(PARETO, False))),
        "--target": store.get(BUILD)["target"]["name"],
        "--ranges": _ranges(store.get(BUILD).get(RANGES_FILE)),
    }


def _ranges(digest: str | None) -> str:
    return f"of content {digest[:8]}" if digest else "none"


def _require_same_search(name: str, where: str, then: dict[str, str], inputs: Inputs) -> None:
    now = {
        "--target-drop": str(inputs.request.target_drop),
        "--objective": inputs.asked,
        "--target": inputs.target.name,
        "--ranges": _ranges(inputs.imported.digest if inputs.imported else None),
    }
    changed = [option for option in now if then[option] != now[option]]
    if changed:
        stored, asked = (" ".join(f"{option} {told[option]}" for option in changed) for told in (then, now))
        raise StudyError(
            f"the study {name!r} in {where} is for {stored}, but this run asks for {asked}.\n"
            "Give this one another --study-name, or start anew with --fresh."
        )


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
    kept = (path for folder in (SCORES, CORRECTIONS) for path in (inputs.out / folder).glob("*.npy"))
    for path in (*inputs.out.glob(f"{scores.stem}*{scores.suffix}"), *kept):
        path.unlink()


def _delete(url: str, name: str) -> None:
    """Drop a study from its database. KeyError if there is none."""
    storage = database.connect(url, write=True)
    try:
        optuna.delete_study(study_name=name, storage=storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()
