"""Where corrections come from: the study's folder, a recipe's, or one more pass over the calibration samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import AutoquantError, OptionError, StudyError
from ...evaluators.base import Feed
from ...evaluators.session import open_session
from ..calibration.moments import Moment, moments
from ..calibration.rows import Form
from ..quantization import vault
from ..quantization.corrections import Kept, Wanted
from . import baseline as baselines
from . import database
from .baseline import Baseline
from .events import Noted, Observer, Progressed
from .files import CORRECTIONS
from .inputs import Inputs
from .store import Store

CORRECTION = "correction/"
"""Study attribute of a result, by its key: the file that holds it, its folder, the layer, the seconds it took."""
HESSIAN_BYTES = 1 << 30
"""Hessians held at once. What does not fit is left to another pass."""


class Computed:
    """Results of a running study: those it has, and those that the calibration samples give.

    The pass over the samples is made when the first result is asked for that is not there; the first of many layers
    that needs a Hessian brings those of the layers behind it along.

    Attributes:
        seconds: Spent so far on passes and roundings.
    """

    def __init__(self, inputs: Inputs, store: Store, measured: Baseline, samples: int, observer: Observer) -> None:
        """Measured: of this run, for its recorded feeds; samples: how many calibration saw."""
        self._inputs = inputs
        self._store = store
        self._measured = measured
        self._samples = samples
        self._observer = observer
        self._folder = inputs.out / CORRECTIONS
        self._moments: dict[Form, Moment] = {}
        self._with_hessian: dict[Form, Moment] = {}
        self.seconds = 0.0

    def get(self, wanted: Wanted) -> Kept:
        """The result, from this study, from a sibling, or computed and kept.

        Raises:
            CalibrationError: The samples are gone or do not fit.
        """
        name = CORRECTION + wanted.key
        held: dict[str, Any] | None = self._store.inherited(name)
        if held is not None:
            values = vault.load([self._folder, Path(held["folder"])], held["file"])
            if values is not None:
                if self._store.get(name) != held or Path(held["folder"]) != self._folder.resolve():
                    self._keep(name, {**held, "file": vault.save(self._folder, values)})
                return Kept(values, held["file"])
        began = time.perf_counter()
        values = wanted.compute(self._known(wanted))
        file = vault.save(self._folder, values)
        spent = time.perf_counter() - began
        self.seconds += spent
        self._keep(name, {"file": file, "layer": wanted.layer, "seconds": round(spent, 4)})
        return Kept(values, file)

    def _keep(self, name: str, held: Mapping[str, Any]) -> None:
        self._store.put({name: {**held, "folder": str(self._folder.resolve())}})

    def _known(self, wanted: Wanted) -> Mapping[Form, Moment]:
        """The moments it needs, after a pass where some are missing."""
        known, needed = self._moments, [wanted.form] if wanted.form else []
        hessians: list[Form] = []
        if wanted.rounding is not None:
            known, needed = self._with_hessian, list(wanted.readers)
            hessians = _fitting(wanted, needed)
        if any(form not in known for form in needed):
            self._observer(Noted("a pass over the calibration samples, for the corrections of weights and biases"))
            self._with_hessian.clear()
            found = moments(
                wanted.model,
                wanted.forms,
                self._feeds(),
                open_session=partial(
                    open_session, device=self._inputs.bench.device, threads=self._inputs.request.threads
                ),
                hessians=hessians,
                samples=self._samples,
                seed=self._inputs.request.seed,
                progress=lambda done: self._observer(Progressed(done)),
            )
            self._moments.update((form, Moment(moment.mean)) for form, moment in found.items())
            self._with_hessian.update((form, found[form]) for form in hessians)
        return known

    def _feeds(self) -> Iterable[Feed]:
        """The calibration samples once more; those of the evaluation are recorded again in a resumed run."""
        feeds: Iterable[Feed] | None = self._inputs.evaluation.calibration()
        if feeds is not None:
            return feeds
        if self._measured.recorder is None:
            self._observer(Noted("evaluating the float model once more, to record calibration samples"))
            self._measured = baselines.measure(self._inputs, lambda done, total: None, record=True)
        assert self._measured.recorder is not None
        return self._measured.recorder.feeds()


class Stored:
    """Results that were computed before: all a rebuilt model needs.

    Attributes:
        seconds: 0: nothing is computed.
    """

    def __init__(self, held: Callable[[str], tuple[str, Sequence[Path]] | None], error: type[AutoquantError]) -> None:
        """Held: key → file and the folders where it may lie, None where no such result is known."""
        self._held = held
        self._error = error
        self.seconds = 0.0

    def get(self, wanted: Wanted) -> Kept:
        """The result.

        Raises:
            StudyError: A study's, or OptionError, a recipe's: it is not there.
        """
        held = self._held(wanted.key)
        what = "rounding" if wanted.rounding is not None else "bias"
        if held is None:
            raise self._error(
                f"the {what} correction of {wanted.layer!r} was never computed, and takes calibration samples.\n"
                f"Name a study that has it, or set correction/{what} to {'nearest' if wanted.rounding else 'off'}."
            )
        file, folders = held
        values = vault.load(folders, file)
        if values is None:
            raise self._error(
                f"the {what} correction of {wanted.layer!r} is missing or damaged: {folders[0] / file}.npy\n"
                f"Bring the folder {CORRECTIONS!r} that was written with it back there."
            )
        return Kept(values, file)


def stored(store: Store) -> Stored:
    """The results of a study: in the folder beside its study.db, or where they were written."""
    return Stored(partial(_of_study, store), StudyError)


def of_recipe(data: Any, path: Path, store: Store | None) -> Stored:
    """The results that a recipe.json names, in the folder beside it; else those of a study.

    Raises:
        OptionError: The recipe's list of them is none.
    """
    named = data.get(CORRECTIONS, {}) if isinstance(data, dict) else {}
    if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
        raise OptionError(f"the recipe's {CORRECTIONS!r} must be an object of names, but got {named!r:.60}.")

    def held(key: str) -> tuple[str, Sequence[Path]] | None:
        elsewhere = _of_study(store, key) if store is not None else None
        folders = [path.parent / CORRECTIONS, *(elsewhere[1] if elsewhere else ())]
        return (named[key], folders) if key in named else elsewhere

    return Stored(held, OptionError)


def _of_study(store: Store, key: str) -> tuple[str, Sequence[Path]] | None:
    held: dict[str, Any] | None = store.inherited(CORRECTION + key)
    if held is None:
        return None
    file = database.file_of(store.url)
    folders = [Path(held["folder"])]
    return held["file"], [file.parent / CORRECTIONS, *folders] if file is not None else folders


def _fitting(wanted: Wanted, needed: Sequence[Form]) -> list[Form]:
    """The forms whose Hessians are collected together: the needed ones, and as many behind them as there is room."""
    every = list(wanted.hessians)
    start = min((every.index(form) for form in needed), default=0)
    room = HESSIAN_BYTES // 4 - sum(wanted.hessians[form] for form in needed)
    chosen = list(needed)
    for form in [*every[start:], *every[:start]]:
        if form not in chosen and wanted.hessians[form] <= room:
            chosen.append(form)
            room -= wanted.hessians[form]
    return chosen
