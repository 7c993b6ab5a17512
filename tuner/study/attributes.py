"""One study of a database: its attributes, and the way in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

import optuna
from optuna.storages import RDBStorage
from sqlalchemy.engine import Connection

from ...errors import StudyError
from . import database, rows
from .fingerprint import Fingerprint
from .shield import shielded

FORMAT = 1

# Attributes that the store itself reads. Others are the run's.
AUTOQUANT = "autoquant"
FINGERPRINT = "fingerprint"
TARGET_DROP = "target_drop"
BUILD = "build"
OBJECTIVE = "objective"
PARAMETERS = "parameters"


class Attributes:
    """A study's attributes. Every change is one transaction.

    Raises:
        StudyError: It was not made by autoquant, or by another version of it.

    Attributes:
        name: The study's name.
        url: Storage URL, password included: not for messages (`shown` is).
        storage: The database as Optuna's storage.
    """

    def __init__(self, storage: RDBStorage, url: str, name: str, study_id: int) -> None:
        self.name = name
        self.url = url
        self.storage = storage
        self._id = study_id
        about = self.get(AUTOQUANT)
        if not isinstance(about, dict):
            raise StudyError(f"the study {name!r} in {self.shown} was not made by autoquant.")
        if about.get("format") != FORMAT:
            raise StudyError(
                f"the study {name!r} in {self.shown} is of another version of autoquant "
                f"({about.get('version', 'unknown')}).\nUse that version, or start anew with --fresh."
            )

    @property
    def shown(self) -> str:
        """The database as messages name it: without a password."""
        return database.shown(self.url)

    def get(self, key: str, default: Any = None) -> Any:
        """One study attribute."""
        with self._transaction() as connection:
            value = rows.get_attribute(connection, self._id, key)
        return default if value is None else value

    def put(self, attributes: Mapping[str, Any]) -> None:
        """Set study attributes, all or none. JSON-able values only."""
        with self._transaction() as connection:
            for key, value in attributes.items():
                rows.put_attribute(connection, self._id, key, value)

    def inherited(self, key: str, accept: Callable[[Any], bool] = lambda value: True) -> Any:
        """An attribute of this study, else of a sibling with the same inputs and version. None if none has it.

        Args:
            key: The attribute.
            accept: Whether a value will do.
        """
        with self._transaction() as connection:
            for study_id in (self._id, *rows.siblings(connection, self._id, (FINGERPRINT, AUTOQUANT))):
                value = rows.get_attribute(connection, study_id, key)
                if value is not None and accept(value):
                    return value
        return None

    @property
    def fingerprint(self) -> Fingerprint:
        """The model, eval file and calibration inputs that the study is of."""
        return Fingerprint.from_json(self.get(FINGERPRINT, {}))

    @property
    def target_drop(self) -> float:
        """The tolerated drop, in the unit of a trial's drop."""
        return float(self.get(TARGET_DROP)["value"])

    def study(self) -> optuna.Study:
        """The same study as Optuna's object, for its plots and importances."""
        return optuna.load_study(study_name=self.name, storage=self.storage)

    def checkpoint(self) -> None:
        """Make the SQLite file whole by itself. Telling a trial does it."""
        with shielded(), database.explained(self.url):
            database.checkpoint(self.storage.engine)

    def close(self) -> None:
        """Let go of the database. The object cannot be used afterwards."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _transaction(self) -> AbstractContextManager[Connection]:
        return database.transaction(self.storage.engine, self.url)
