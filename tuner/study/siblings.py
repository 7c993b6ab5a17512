"""What other studies of a database know: full scores of the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.trial import TrialState
from sqlalchemy.engine import Connection

from . import rows
from .trial import TrialRecord, comparable

Reader = Callable[[rows.TrialRow], TrialRecord]


def scores(
    connection: Connection, study_id: int, keys: Sequence[str], read: Reader
) -> dict[str, list[tuple[str, TrialRecord]]]:
    """Hash of a recipe → (sibling's name, its full score), records without their recipes.

    Args:
        connection: To the database.
        study_id: The study that asks.
        keys: Attributes in which a sibling equals it.
        read: From a row to a record.
    """
    found: dict[str, list[tuple[str, TrialRecord]]] = {}
    ids = set(rows.siblings(connection, study_id, keys))
    for name, other in rows.study_ids(connection).items():
        if other in ids:
            complete = rows.trial_ids(connection, other, TrialState.COMPLETE)
            for row in rows.read_trials(connection, complete, params=False):
                record = read(row)
                found.setdefault(record.recipe_hash, []).append((name, record))
    return found


def relatives(
    connection: Connection,
    study_id: int,
    keys: Sequence[str],
    read: Reader,
    *,
    objective: str,
    scored_on: Mapping[str, Any],
) -> list[TrialRecord]:
    """Full scores of siblings with their recipes: those of the same objective first, then by cost.

    Args:
        connection: To the database.
        study_id: The study that asks.
        keys: Attributes in which a sibling equals it.
        read: From a row to a record.
        objective: The attribute that names a study's objective.
        scored_on: What the scores must be comparable to.
    """
    found = []
    mine = rows.get_attribute(connection, study_id, objective)
    for other in rows.siblings(connection, study_id, keys):
        strange = rows.get_attribute(connection, other, objective) != mine
        complete = rows.trial_ids(connection, other, TrialState.COMPLETE)
        found += [(strange, read(row)) for row in rows.read_trials(connection, complete)]
    usable = [entry for entry in found if comparable(entry[1].scored_on, scored_on)]
    return [record for _, record in sorted(usable, key=lambda entry: (entry[0], entry[1].cost or 0.0))]
