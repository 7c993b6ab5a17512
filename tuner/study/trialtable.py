"""The trials of a study: started, told, read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from ...errors import StudyError
from ...strategies.base import Recipe
from ...strategies.words import CALIBRATOR_OF, INHERIT
from . import rows
from .attributes import PARAMETERS, TARGET_DROP, Attributes
from .shield import shielded
from .trial import Measured, State, TrialRecord, is_number, recipe_hash

# Trial system attributes. Optuna 5 reads `constraints:<name>`, optuna-dashboard 0.21 only the list.
_CONSTRAINT = "constraints:drop"
_CONSTRAINT_LIST = "constraints"
_OWNER = "autoquant:owner"

_INTERRUPTED = "interrupted: the process ended before the trial did"

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}


class Trials(Attributes):
    """A study's attributes and trials. Every change is one transaction.

    Attributes:
        choices: Parameter → all its choices, in the space's order.
    """

    def __init__(self, storage: RDBStorage, url: str, name: str, study_id: int, owner: str = "") -> None:
        super().__init__(storage, url, name, study_id)
        self._owner = owner
        self._finished: dict[int, TrialRecord] = {}
        self._settled = 0  # trials up to this id have all been read, told
        self.choices = {parameter: tuple(values) for parameter, values in self.get(PARAMETERS).items()}
        self._inherited = {name: INHERIT for name in self.choices if _inherits(name, INHERIT)}
        self._distributions = {
            parameter: distribution_to_json(CategoricalDistribution(values))
            for parameter, values in self.choices.items()
        }

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


def _inherits(name: str, value: str) -> bool:
    """Whether this is a layer's calibrator that inherits."""
    return value == INHERIT and name.startswith(CALIBRATOR_OF)
