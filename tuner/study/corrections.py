"""Where corrections come from: the study's folder, a recipe's, or one more pass over the calibration samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...errors import AutoquantError, OptionError, StudyError
from ...evaluators.base import Feed
from ...strategies.words import UNCORRECTED
from ..quantization import vault
from ..quantization.passes import Passes
from ..quantization.results import Kept, Wanted
from . import baseline as baselines
from . import database
from .baseline import Baseline
from .bench import UNWANTED
from .calibrate import Calibration
from .events import Noted, Observer, Progressed
from .files import CORRECTIONS
from .inputs import Inputs
from .samples import opener
from .store import Store

CORRECTION = "correction/"
"""Study attribute of a result, by its key: the file that holds it, its folder, the layer, the seconds it took."""


class Computed:
    """Results of a running study: those it has, and those that the calibration samples give.

    Attributes:
        costs: Key → seconds that a result took, of those asked for so far.
        seconds: Spent by this process.
    """

    def __init__(
        self, inputs: Inputs, store: Store, measured: Baseline, calibrated: Calibration, observer: Observer
    ) -> None:
        """Measured: of this run, for its recorded feeds; calibrated: whose samples are passed over."""
        self._inputs = inputs
        self._store = store
        self._measured = measured
        self._source = calibrated.source
        self._observer = observer
        self._folder = inputs.out / CORRECTIONS
        self.costs: dict[str, float] = {}
        self._passes = Passes(
            self._feeds,
            partial(opener(inputs), disabled_optimizers=UNWANTED),
            calibrated.ranges.samples,
            inputs.request.seed,
            lambda done: observer(Progressed(done)),
        )

    @property
    def seconds(self) -> float:  # noqa: D102 - see the class
        return self._passes.seconds

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
                self.costs[wanted.key] = held["seconds"]
                if self._store.get(name) != held or Path(held["folder"]) != self._folder.resolve():
                    self._keep(name, {**held, "file": vault.save(self._folder, values)})
                return Kept(values, held["file"])
        values = self._passes.get(wanted).values
        file = vault.save(self._folder, values)
        self.costs[wanted.key] = round(self._passes.costs[wanted.key], 6)
        self._keep(name, {"file": file, "layer": wanted.layer, "seconds": self.costs[wanted.key]})
        return Kept(values, file)

    def _keep(self, name: str, held: Mapping[str, Any]) -> None:
        self._store.put({name: {**held, "folder": str(self._folder.resolve())}})

    def _feeds(self) -> Iterable[Feed]:
        """The calibration samples once more."""
        self._observer(Noted("a pass over the calibration samples, for the corrections of weights and biases"))
        return self._source.feeds(self._recording)

    def _recording(self) -> Iterable[Feed]:
        """Samples of the evaluation itself; in a resumed run they are recorded again."""
        if self._measured.recorder is None:
            self._observer(Noted("evaluating the float model once more, to record calibration samples"))
            self._measured = baselines.measure(self._inputs, lambda done, total: None, record=self._source.wanted)
        assert self._measured.recorder is not None
        return self._measured.recorder.feeds()


class Stored:
    """Results that were computed before: all a rebuilt model needs.

    Attributes:
        costs: None are known.
        seconds: 0: nothing is computed.
    """

    costs: Mapping[str, float] = MappingProxyType({})

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
        what = wanted.parameter.rpartition("/")[2]
        if held is None:
            raise self._error(
                f"the {what} correction of {wanted.layer!r} was never computed, and takes calibration samples.\n"
                f"Name a study that has it, or set {wanted.parameter} to {UNCORRECTED[wanted.parameter]}."
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
