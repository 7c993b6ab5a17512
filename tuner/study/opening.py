"""Finding and making a study in a database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy
from optuna.storages import RDBStorage

from ...errors import StudyError
from . import database, rows

_LISTED = 8
_LONGEST = 512  # Optuna's column


def find(url: str, name: str | None, timeout: float) -> tuple[RDBStorage, str, int]:
    """A study that exists: the connected database, the study's name and id.

    Raises:
        StudyError: As `database.connect`; no study of that name, or several and no name.
    """
    storage = database.connect(url, write=False, timeout=timeout)
    with database.transaction(storage.engine, url) as connection:
        found = rows.study_ids(connection)
    where = database.shown(url)
    if not found:
        raise database.NoStudyError(f"{where} holds no study.")
    if name is None and len(found) == 1:
        name = next(iter(found))
    if name is None:
        raise StudyError(f"{where} holds {len(found)} studies: choose with --study-name.\nIt has: {_listed(found)}")
    if name not in found:
        raise StudyError(f"{where} holds no study {name!r}.\nIt has: {_listed(found)}")
    return storage, name, found[name]


def find_or_make(url: str, name: str, attributes: Mapping[str, Any], timeout: float) -> tuple[RDBStorage, int]:
    """The study of that name, a new one with these attributes if there is none: the connected database and its id.

    Raises:
        StudyError: As `database.connect`; or the name is empty or too long.
    """
    if not 0 < len(name) <= _LONGEST:
        raise StudyError(f"a study's name has 1 to {_LONGEST} characters, but --study-name has {len(name)}.")
    storage = database.connect(url, write=True, timeout=timeout)
    with database.explained(url):
        try:
            return storage, _found_or_made(storage, name, attributes)
        except sqlalchemy.exc.IntegrityError:  # another process made it between the look and the insert
            return storage, _found_or_made(storage, name, attributes)


def names(url: str, *, timeout: float = 30.0) -> list[str]:
    """Names of all studies in a database, the oldest first."""
    storage = database.connect(url, write=False, timeout=timeout)
    try:
        with database.transaction(storage.engine, url) as connection:
            return list(rows.study_ids(connection))
    finally:
        storage.engine.dispose()


def _found_or_made(storage: RDBStorage, name: str, attributes: Mapping[str, Any]) -> int:
    with storage.engine.begin() as connection:
        found = rows.study_ids(connection).get(name)
        return rows.insert_study(connection, name, attributes) if found is None else found


def _listed(found: Iterable[str]) -> str:
    some = list(found)
    return ", ".join(some[-_LISTED:]) + (f" and {len(some) - _LISTED} older" if len(some) > _LISTED else "")
