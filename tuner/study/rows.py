"""Optuna's tables, written a whole trial at a time.

Through Optuna's own calls each parameter, attribute and state is a transaction: slow (0.2 s for 100 parameters), and
a kill between two of them leaves half a trial. These functions write the same rows within the caller's transaction.
The tables are those of the installed Optuna, which checks on opening that the database has them so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import select
from sqlalchemy.engine import Connection

from .trial import to_json

TRIALS = models.TrialModel.__table__
PARAMS = models.TrialParamModel.__table__
VALUES = models.TrialValueModel.__table__
USER = models.TrialUserAttributeModel.__table__
SYSTEM = models.TrialSystemAttributeModel.__table__
STUDIES = models.StudyModel.__table__
DIRECTIONS = models.StudyDirectionModel.__table__
STUDY_USER = models.StudyUserAttributeModel.__table__
STUDY_SYSTEM = models.StudySystemAttributeModel.__table__

_FINITE = models.TrialValueModel.TrialValueType.FINITE
_IN_CLAUSE = 500


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial as stored. `params` holds indices of choices, the attributes are parsed."""

    trial_id: int
    number: int
    state: TrialState
    started: datetime | None
    finished: datetime | None
    params: Mapping[str, float] = field(default_factory=dict)
    user: Mapping[str, Any] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)


def study_ids(connection: Connection) -> dict[str, int]:
    """Study name → id, the oldest first."""
    query = select(STUDIES.c.study_name, STUDIES.c.study_id).order_by(STUDIES.c.study_id)
    return {row.study_name: row.study_id for row in connection.execute(query)}


def insert_study(connection: Connection, name: str, attributes: Mapping[str, Any]) -> int:
    """A new study that minimizes the cost. Returns its id."""
    study_id = _inserted(connection, STUDIES.insert().values(study_name=name))
    connection.execute(DIRECTIONS.insert().values(study_id=study_id, objective=0, direction=StudyDirection.MINIMIZE))
    rows = [{"study_id": study_id, "key": key, "value_json": to_json(value)} for key, value in attributes.items()]
    connection.execute(STUDY_USER.insert(), rows)
    metric_names = {"study_id": study_id, "key": "study:metric_names", "value_json": to_json(["cost"])}
    connection.execute(STUDY_SYSTEM.insert(), [metric_names])
    return study_id


def get_attribute(connection: Connection, study_id: int, key: str) -> Any:
    """A study attribute, None if it has none."""
    query = select(STUDY_USER.c.value_json).where(STUDY_USER.c.study_id == study_id, STUDY_USER.c.key == key)
    text = connection.execute(query).scalar()
    return None if text is None else json.loads(text)


def put_attribute(connection: Connection, study_id: int, key: str, value: Any) -> None:
    """Set a study attribute."""
    where = (STUDY_USER.c.study_id == study_id) & (STUDY_USER.c.key == key)
    text = to_json(value)
    if not connection.execute(STUDY_USER.update().where(where).values(value_json=text)).rowcount:
        connection.execute(STUDY_USER.insert().values(study_id=study_id, key=key, value_json=text))


def attributes_after(connection: Connection, study_id: int, prefix: str, after: int) -> list[tuple[int, str, Any]]:
    """(row id, key, value) of the study attributes of a prefix that were first set after row id `after`."""
    column = STUDY_USER.c
    query = select(column.study_user_attribute_id, column.key, column.value_json).where(
        column.study_id == study_id,
        column.key.startswith(prefix, autoescape=True),
        column.study_user_attribute_id > after,
    )
    rows = connection.execute(query.order_by(column.study_user_attribute_id))
    return [(row_id, key, json.loads(text)) for row_id, key, text in rows]


def siblings(connection: Connection, study_id: int, same: Iterable[str]) -> list[int]:
    """Ids of the other studies that agree with this one in those attributes, the newest first."""
    found: set[int] | None = None
    for key in same:
        mine = get_attribute(connection, study_id, key)
        query = select(STUDY_USER.c.study_id, STUDY_USER.c.value_json).where(
            STUDY_USER.c.key == key, STUDY_USER.c.study_id != study_id
        )
        agree = {other for other, text in connection.execute(query) if json.loads(text) == mine}
        found = agree if found is None else found & agree
    return sorted(found or (), reverse=True)


def insert_trial(
    connection: Connection,
    study_id: int,
    params: Mapping[str, tuple[int, str]],
    user: Mapping[str, Any],
    system: Mapping[str, Any],
) -> int:
    """A new running trial. Returns its number.

    Args:
        connection: Of a transaction.
        study_id: Its study.
        params: Parameter → index of its choice, JSON of its distribution.
        user: User attributes.
        system: System attributes.
    """
    # the study's row is what Optuna locks too, where numbers could race (SQLite: the insert locks the file)
    connection.execute(select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id).with_for_update())
    row = TRIALS.insert().values(study_id=study_id, state=TrialState.RUNNING, datetime_start=_now())
    trial_id = _inserted(connection, row)
    before = select(sqlalchemy.func.count()).where(TRIALS.c.study_id == study_id, TRIALS.c.trial_id < trial_id)
    number = int(connection.execute(before).scalar_one())
    connection.execute(TRIALS.update().where(TRIALS.c.trial_id == trial_id).values(number=number))
    rows = [
        {"trial_id": trial_id, "param_name": name, "param_value": float(index), "distribution_json": distribution}
        for name, (index, distribution) in params.items()
    ]
    connection.execute(PARAMS.insert(), rows)
    _insert_attributes(connection, USER, trial_id, user)
    _insert_attributes(connection, SYSTEM, trial_id, system)
    return number


def finish_trial(
    connection: Connection,
    study_id: int,
    number: int,
    state: TrialState,
    value: float | None,
    user: Mapping[str, Any],
    system: Mapping[str, Any],
) -> int:
    """Tell a running trial, with its last attributes. Returns its id.

    Raises:
        ValueError: There is no running trial of that number.
    """
    this = (TRIALS.c.study_id == study_id) & (TRIALS.c.number == number)
    told = connection.execute(
        TRIALS.update().where(this, TRIALS.c.state == TrialState.RUNNING).values(state=state, datetime_complete=_now())
    )
    if told.rowcount != 1:
        raise ValueError(f"trial {number} is not running")
    trial_id = int(connection.execute(select(TRIALS.c.trial_id).where(this)).scalar_one())
    _insert_attributes(connection, USER, trial_id, user)
    _insert_attributes(connection, SYSTEM, trial_id, system)
    if value is not None:
        row = {"trial_id": trial_id, "objective": 0, "value": float(value), "value_type": _FINITE}
        connection.execute(VALUES.insert(), [row])
    return trial_id


def trial_ids(connection: Connection, study_id: int, state: TrialState | None = None, *, after: int = 0) -> list[int]:
    """Ids of a study's trials, by age; of those above `after`."""
    query = select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id, TRIALS.c.trial_id > after)
    if state is not None:
        query = query.where(TRIALS.c.state == state)
    return list(connection.execute(query.order_by(TRIALS.c.trial_id)).scalars())


def read_trials(connection: Connection, ids: Sequence[int], *, params: bool = True) -> list[TrialRow]:
    """Trials by id, in the order of the ids; without their parameters where nobody needs them."""
    found: dict[int, TrialRow] = {}
    for first in range(0, len(ids), _IN_CLAUSE):
        some = ids[first : first + _IN_CLAUSE]
        chosen = _by_trial(connection, PARAMS, "param_name", "param_value", some) if params else {}
        user = _by_trial(connection, USER, "key", "value_json", some)
        system = _by_trial(connection, SYSTEM, "key", "value_json", some)
        for row in connection.execute(select(TRIALS).where(TRIALS.c.trial_id.in_(some))):
            found[row.trial_id] = TrialRow(
                row.trial_id,
                row.number,
                row.state,
                _local(row.datetime_start),
                _local(row.datetime_complete),
                chosen.get(row.trial_id, {}),
                {key: json.loads(text) for key, text in user.get(row.trial_id, {}).items()},
                {key: json.loads(text) for key, text in system.get(row.trial_id, {}).items()},
            )
    return [found[trial_id] for trial_id in ids if trial_id in found]


def _by_trial(
    connection: Connection, table: Any, key: str, value: str, ids: Sequence[int]
) -> dict[int, dict[str, Any]]:
    query = select(table.c.trial_id, table.c[key], table.c[value]).where(table.c.trial_id.in_(ids))
    found: dict[int, dict[str, Any]] = {}
    for trial_id, name, held in connection.execute(query):
        found.setdefault(trial_id, {})[name] = held
    return found


def _insert_attributes(connection: Connection, table: Any, trial_id: int, attributes: Mapping[str, Any]) -> None:
    rows = [{"trial_id": trial_id, "key": key, "value_json": to_json(value)} for key, value in attributes.items()]
    if rows:
        connection.execute(table.insert(), rows)


def _inserted(connection: Connection, insert: Any) -> int:
    key = connection.execute(insert).inserted_primary_key
    assert key is not None  # a single-row insert has one
    return int(key[0])


def _now() -> datetime:
    """UTC without a zone, as Optuna stores times."""
    return datetime.now(UTC).replace(tzinfo=None)


def _local(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None) if moment else None
