"""The study in its database: attributes, trials and probes, and what a strategy sees of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from optuna.storages import RDBStorage

from ...errors import StudyError
from ...strategies.base import History, Outcome, Profile, Recipe, Space
from ...strategies.words import PROFILE
from . import opening, rows, siblings
from .attributes import AUTOQUANT, BUILD, FINGERPRINT, FORMAT, OBJECTIVE, PARAMETERS, TARGET_DROP
from .probes import PROBE, Probes
from .trial import TrialRecord, comparable, recipe_hash
from .trialtable import Trials

# In these a sibling whose scores can be taken over equals a study.
_KIN = (FINGERPRINT, BUILD, AUTOQUANT)


class Store(Trials):
    """One study. Use it from one thread; several processes may share a database, each with a Store of its own."""

    def __init__(self, storage: RDBStorage, url: str, name: str, study_id: int, owner: str = "") -> None:
        super().__init__(storage, url, name, study_id, owner)
        self._probes = Probes(self.choices)
        self._outcomes: dict[int, Outcome] = {}
        self._scores: dict[str, list[tuple[str, TrialRecord]]] | None = None
        self._space: Space | None = None
        self._built: dict[int, bool] = {}

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
        storage, name, study_id = opening.find(url, name, timeout)
        return cls(storage, url, name, study_id)

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
        everything = {
            AUTOQUANT: {"format": FORMAT, "version": version},
            PARAMETERS: {parameter: list(values) for parameter, values in space.choices.items()},
            **{key: attributes[key] for key in (FINGERPRINT, TARGET_DROP, BUILD)},
            **attributes,
        }
        storage, study_id = opening.find_or_make(url, name, everything, timeout)
        store = cls(storage, url, name, study_id, owner)
        if list(store.choices.items()) != list(space.choices.items()):
            raise StudyError(
                f"the study {name!r} in {store.shown} has other parameters than this model and this version of "
                "autoquant.\nStart anew with --fresh."
            )
        return store

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

    def _outcome(self, record: TrialRecord) -> Outcome:
        """A told trial's outcome, the same object every time: strategies remember what they made of it."""
        if record.number not in self._outcomes:
            self._outcomes[record.number] = record.outcome()
        return self._outcomes[record.number]
