"""The study in its database: attributes, trials and probes. Every change is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import optuna
import sqlalchemy
from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.engine import Connection

from ...errors import StudyError
from ...strategies.base import CALIBRATOR_OF, INHERIT, PROFILE, History, Outcome, Profile, Recipe, Space
from . import database, rows, siblings
from .fingerprint import Fingerprint
from .probes import PROBE, Probes
from .shield import shielded
from .trial import Measured, State, TrialRecord, comparable, is_number, recipe_hash

FORMAT = 1

# Study attributes that the store itself reads. Others are the run's.
AUTOQUANT = "autoquant"
FINGERPRINT = "fingerprint"
TARGET_DROP = "target_drop"
BUILD = "build"
OBJECTIVE = "objective"
PARAMETERS = "parameters"

# In these a sibling whose scores can be taken over equals a study.
_KIN = (FINGERPRINT, BUILD, AUTOQUANT)

# Trial system attributes. Optuna 5 reads `constraints:<name>`, optuna-dashboard 0.21 only the list.
_CONSTRAINT = "constraints:drop"
_CONSTRAINT_LIST = "constraints"
_OWNER = "autoquant:owner"

_INTERRUPTED = "interrupted: the process ended before the trial did"
_LISTED = 8
_LONGEST = 512  # Optuna's column

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}


class Store:
    """One study. Use it from one thread; several processes may share a database, each with a Store of its own.

    Attributes:
        name: The study's name.
        url: Storage URL, password included: not for messages (`shown` is).
        storage: The database as Optuna's storage.
        choices: Parameter → all its choices, in the space's order.
    """

    def __init__(self, storage: RDBStorage, url: str, name: str, study_id: int, owner: str = "") -> None:
        self.name = name
        self.url = url
        self.storage = storage
        self._id = study_id
        self._owner = owner
        self._finished: dict[int, TrialRecord] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._settled = 0  # trials up to this id have all been read, told
        self._scores: dict[str, list[tuple[str, TrialRecord]]] | None = None
        self._space: Space | None = None
        self._built: dict[int, bool] = {}
        about = self.get(AUTOQUANT)
        if not isinstance(about, dict):
            raise StudyError(f"the study {name!r} in {self.shown} was not made by autoquant.")
        if about.get("format") != FORMAT:
            raise StudyError(
                f"the study {name!r} in {self.shown} is of another version of autoquant "
                f"({about.get('version', 'unknown')}).\nUse that version, or start anew with --fresh."
            )
        self.choices = {parameter: tuple(values) for parameter, values in self.get(PARAMETERS).items()}
        self._probes = Probes(self.choices)
        self._inherited = {name: INHERIT for name in self.choices if _inherits(name, INHERIT)}
        self._distributions = {
            parameter: distribution_to_json(CategoricalDistribution(values))
            for parameter, values in self.choices.items()
        }

    @classmethod
    def open(cls, url: str, name: str | None = None, *, timeout: float = 30.0) -> Store:
        """Open a study that exists, to read it.

        Args:
            url: Storage URL.
            name: May be None where the database holds one study.
            timeout: Seconds to wait for another program's lock.

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
        return cls(storage, url, name, found[name])

    @classmethod
    def create(
        cls,
        url: str,
        name: str,
        space: Space,
        *,
        version: str,
        attributes: Mapping[str, Any],
        owner: str = "",
        timeout: float = 30.0,
    ) -> Store:
        """Open the study of that name to go on with it, or make it, whole or not at all.

        Args:
            url: Storage URL.
            name: The study's name.
            space: Its parameters and their choices.
            version: autoquant's.
            attributes: Study attributes of a new study; one that exists keeps its own. The store reads `fingerprint`
                (`Fingerprint.to_json()`), `target_drop` (`{"value", "relative"}`) and `build` (what beside the
                recipe decides a candidate: runtime target, weight bits); they must be there.
            owner: Marks the trials of whoever holds this folder's lock, see `reclaim`.
            timeout: Seconds to wait for another program's lock.

        Raises:
            StudyError: As `database.connect`; or the study has other parameters.
        """
        if not 0 < len(name) <= _LONGEST:
            raise StudyError(f"a study's name has 1 to {_LONGEST} characters, but --study-name has {len(name)}.")
        storage = database.connect(url, write=True, timeout=timeout)
        everything = {
            AUTOQUANT: {"format": FORMAT, "version": version},
            PARAMETERS: {parameter: list(values) for parameter, values in space.choices.items()},
            **{key: attributes[key] for key in (FINGERPRINT, TARGET_DROP, BUILD)},
            **attributes,
        }
        with database.explained(url):
            try:
                study_id = _found_or_made(storage, name, everything)
            except sqlalchemy.exc.IntegrityError:  # another process made it between the look and the insert
                study_id = _found_or_made(storage, name, everything)
        store = cls(storage, url, name, study_id, owner)
        if list(store.choices.items()) != list(space.choices.items()):
            raise StudyError(
                f"the study {name!r} in {store.shown} has other parameters than this model and this version of "
                "autoquant.\nStart anew with --fresh."
            )
        return store

    @property
    def shown(self) -> str:
        """The database as messages name it: without a password."""
        return database.shown(self.url)

    # study attributes

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

    # trials

    def start(self, recipe: Recipe, phase: str) -> int:
        """Record that a recipe is about to be scored. Returns the trial's number.

        Calibrators that a layer inherits are not stored: they would be half of all rows, and half of the bars of the
        dashboard's importances, without telling anything.
        """
        params = {
            name: (values.index(recipe[name]), self._distributions[name])
            for name, values in self.choices.items()
            if not _inherits(name, recipe[name])
        }
        user = {"phase": phase, "recipe_hash": recipe_hash(recipe)}
        with self._transaction() as connection:
            return rows.insert_trial(connection, self._id, params, user, {_OWNER: self._owner})

    def complete(self, number: int, measured: Measured) -> TrialRecord:
        """Tell a trial that was scored in full. Its value is the cost, drop ≤ target the constraint.

        Raises:
            ValueError: Metric, drop or cost is no finite number, or the trial is already told.
        """
        if not (is_number(measured.metric) and is_number(measured.drop) and is_number(measured.cost)):
            raise ValueError(f"metric, drop and cost must be finite, but got {measured}")
        return self._finish(number, TrialState.COMPLETE, measured)

    def prune(self, number: int, measured: Measured) -> TrialRecord:
        """Tell a trial that was stopped early: its drop is a lower bound beyond the target.

        Raises:
            ValueError: The drop is no finite number, or the trial is already told.
        """
        if not is_number(measured.drop):
            raise ValueError(f"the drop must be finite, but got {measured}")
        return self._finish(number, TrialState.PRUNED, measured)

    def fail(
        self, number: int, error: str, measured: Measured | None = None, *, interrupted: bool = False
    ) -> TrialRecord:
        """Tell a trial that could not be scored.

        Args:
            number: The trial.
            error: One line.
            measured: What is known all the same.
            interrupted: The run was stopped: nothing is said about the recipe, which may be tried again. A trial
                that is already told stays as it is.

        Raises:
            ValueError: The trial is already told.
        """
        if interrupted and (told := self.trial(number)).state != "running":
            return told  # Ctrl-C between its last statement and the return
        extra: dict[str, Any] = {"error": error, **({"interrupted": True} if interrupted else {})}
        return self._finish(number, TrialState.FAIL, measured or Measured(None, None), extra)

    def reclaim(self) -> list[tuple[int, Recipe]]:
        """Tell trials that a dead process left running as failed (interrupted). Only for the folder's lock holder.

        Of a database with several users only the trials with this store's owner; without an owner all.
        """
        left = []
        for record in self.trials():
            if record.state == "running" and (not self._owner or record.owner in ("", self._owner)):
                self.fail(record.number, _INTERRUPTED, interrupted=True)
                left.append((record.number, record.recipe))
        return left

    def trials(self) -> list[TrialRecord]:
        """All trials by number. Only what is new or unfinished since the last call is read."""
        with self._transaction() as connection:
            ids = rows.trial_ids(connection, self._id, after=self._settled)
            new = [
                (row.trial_id, self._record(row))
                for row in rows.read_trials(connection, [i for i in ids if i not in self._finished])
            ]
        unsettled = [trial_id for trial_id, record in new if record.state == "running"]
        self._settled = max([self._settled, *ids]) if not unsettled else min(unsettled) - 1
        self._finished.update((trial_id, record) for trial_id, record in new if record.state != "running")
        running = [record for _, record in new if record.state == "running"]
        return sorted([*self._finished.values(), *running], key=lambda record: record.number)

    def trial(self, number: int) -> TrialRecord:
        """One trial.

        Raises:
            StudyError: There is none of that number.
        """
        found = self.trials()
        for record in found:
            if record.number == number:
                return record
        raise StudyError(f"the study {self.name!r} has no trial {number}: it holds {len(found)}, counted from 0.")

    def best(self) -> TrialRecord | None:
        """The trial of least cost that holds the target, the earliest among equals."""
        held = [record for record in self.trials() if record.feasible and record.cost is not None]
        return min(held, key=lambda record: (record.cost, record.number), default=None)

    # probes

    def put_probe(self, kind: str, recipe: Recipe, value: float, on: Mapping[str, Any] | None = None) -> None:
        """Record a probe. Infinity says that it failed. `on`: the machine, where the value depends on it."""
        self.put(self._probes.attribute(kind, recipe, value, on))

    def put_profile(self, recipe: Recipe, profile: Profile | None, on: Mapping[str, Any]) -> None:
        """Record a profile, None for one that failed."""
        self.put(self._probes.attribute(PROFILE, recipe, profile, on))

    def probes(self, here: Mapping[str, Any] | None = None) -> dict[tuple[str, Recipe], float]:
        """(kind, recipe) → value of all probes; see `Probes.values`."""
        self._read_probes()
        return self._probes.values(here)

    def profiles(self, here: Mapping[str, Any]) -> dict[Recipe, Profile]:
        """Recipe → its profile on this machine."""
        self._read_probes()
        return self._probes.profiles(here)

    def _read_probes(self) -> None:
        with self._transaction() as connection:
            self._probes.take(rows.attributes_after(connection, self._id, PROBE, self._probes.last))

    # what a strategy sees, and what siblings know

    def history(
        self,
        space: Space,
        *,
        objective: str,
        seed: int = 0,
        max_trials: int | None = None,
        here: Mapping[str, Any] | None = None,
    ) -> History:
        """The study as a strategy sees it.

        Interrupted trials say nothing and are left out; so are trials that today's options would not build, and what
        was timed elsewhere than `here`.
        """
        told = self.within(space)
        told.sort(key=lambda t: (t.finished or datetime.max, t.number))
        return History(
            space=space,
            target=self.target_drop,
            objective=objective,
            trials=tuple(map(self._outcome, told)),
            probes=self.probes(here),
            profiles=self.profiles(here) if here is not None else {},
            seed=seed,
            max_trials=max_trials,
        )

    def within(self, space: Space) -> list[TrialRecord]:
        """Told trials by number, without those that this space, of today's options, would not build."""
        if space is not self._space:
            self._space, self._built = space, {}
        told = [trial for trial in self.trials() if trial.told]
        for trial in told:
            if trial.number not in self._built:
                self._built[trial.number] = space.canonical(trial.recipe) == trial.recipe
        return [trial for trial in told if self._built[trial.number]]

    def find(self, recipe: Recipe, scored_on: Mapping[str, Any]) -> tuple[str, TrialRecord] | None:
        """A full score of this recipe from a sibling: (the sibling's name, its trial), None if there is none.

        A sibling is a study in the same database with equal fingerprint, build and version; `scored_on` must be
        comparable. Metric and samples can be taken over, the cost must be computed for this study's objective. The
        record comes without its recipe. Siblings are read once: they rest while this study runs.
        """
        if self._scores is None:
            with self._transaction() as connection:
                self._scores = siblings.scores(connection, self._id, _KIN, self._record)
        for name, record in self._scores.get(recipe_hash(recipe), ()):
            if comparable(record.scored_on, scored_on):
                return name, record
        return None

    def relatives(self, scored_on: Mapping[str, Any]) -> list[TrialRecord]:
        """Full scores of siblings (see `find`) with their recipes: those of this objective first, then by cost."""
        with self._transaction() as connection:
            return siblings.relatives(
                connection,
                self._id,
                (*_KIN, PARAMETERS),
                self._record,
                objective=OBJECTIVE,
                scored_on=scored_on,
            )

    # closing

    def checkpoint(self) -> None:
        """Make the SQLite file whole by itself. `complete`, `prune` and `fail` do it."""
        with shielded(), database.explained(self.url):
            database.checkpoint(self.storage.engine)

    def close(self) -> None:
        """Let go of the database. The store cannot be used afterwards."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def study(self) -> optuna.Study:
        """The same study as Optuna's object, for its plots and importances."""
        return optuna.load_study(study_name=self.name, storage=self.storage)

    # inside

    def _outcome(self, record: TrialRecord) -> Outcome:
        """A told trial's outcome, the same object every time: strategies remember what they made of it."""
        if record.number not in self._outcomes:
            self._outcomes[record.number] = record.outcome()
        return self._outcomes[record.number]

    def _transaction(self) -> AbstractContextManager[Connection]:
        return database.transaction(self.storage.engine, self.url)

    def _finish(
        self, number: int, state: TrialState, measured: Measured, extra: Mapping[str, Any] | None = None
    ) -> TrialRecord:
        user = {**measured.attributes(), **(extra or {})}
        system: dict[str, Any] = {}
        with shielded():
            with self._transaction() as connection:
                if state != TrialState.FAIL and measured.drop is not None:
                    target = float(rows.get_attribute(connection, self._id, TARGET_DROP)["value"])
                    constraint = float(measured.drop) - target
                    system = {_CONSTRAINT: constraint, _CONSTRAINT_LIST: [constraint]}
                value = measured.cost if state == TrialState.COMPLETE else None
                trial_id = rows.finish_trial(connection, self._id, number, state, value, user, system)
                record = self._record(rows.read_trials(connection, [trial_id])[0])
            self._finished[trial_id] = record
            self.checkpoint()
        return record

    def _record(self, row: rows.TrialRow) -> TrialRecord:
        chosen = dict(self._inherited) if row.params else {}
        chosen |= {name: self.choices[name][int(index)] for name, index in row.params.items() if name in self.choices}
        return TrialRecord.of(
            row.number,
            Recipe(chosen),
            _STATES[row.state],
            row.user,
            constraint=row.system.get(_CONSTRAINT),
            owner=row.system.get(_OWNER, ""),
            started=row.started,
            finished=row.finished,
        )


def names(url: str, *, timeout: float = 30.0) -> list[str]:
    """Names of all studies in a database, the oldest first."""
    storage = database.connect(url, write=False, timeout=timeout)
    try:
        with database.transaction(storage.engine, url) as connection:
            return list(rows.study_ids(connection))
    finally:
        storage.engine.dispose()


def _inherits(name: str, value: str) -> bool:
    """Whether this is a layer's calibrator that inherits."""
    return value == INHERIT and name.startswith(CALIBRATOR_OF)


def _found_or_made(storage: RDBStorage, name: str, attributes: Mapping[str, Any]) -> int:
    with storage.engine.begin() as connection:
        found = rows.study_ids(connection).get(name)
        return rows.insert_study(connection, name, attributes) if found is None else found


def _listed(found: Iterable[str]) -> str:
    some = list(found)
    return ", ".join(some[-_LISTED:]) + (f" and {len(some) - _LISTED} older" if len(some) > _LISTED else "")
