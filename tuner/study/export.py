"""Rebuild any trial's model from the study and the float model alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...errors import ModelError, OptionError, StudyError
from ..calibration.ranges import Ranges
from ..graph.load import load
from ..graph.model import Model
from ..graph.rewrite.variants import Variants
from ..graph.serialize import write
from ..quantization import recipefile
from ..quantization.candidate import Candidate
from ..quantization.variants import Builders
from ..targets.base import Target
from .attributes import BUILD
from .calibrate import RANGES
from .corrections import of_recipe, stored
from .provenance import stamp
from .store import Store
from .studies import RESULT
from .trial import TrialRecord


def export_trial(store: Store, trial: int | Literal["best"], out: Path, model_path: Path | None = None) -> Path:
    """Write a trial's model, bit-equal to the one that was scored on real kernels, without data or evaluation.

    Args:
        trial: As `chosen`.
        model_path: The float model, None for where it was when the study began.

    Raises:
        StudyError: There is no such trial, or nothing was calibrated yet.
        ModelError: The float model is missing or not the study's.
        OutputError: The file cannot be written.
    """
    rebuilt = rebuild(store, trial, model_path)
    stamp(rebuilt.candidate.proto, rebuilt.builders.variants.model, rebuilt.record.recipe, rebuilt.builders.target)
    write(rebuilt.candidate.proto, rebuilt.candidate.weights, out)
    return out


@dataclass(frozen=True)
class Rebuilt:
    """A trial's model in memory, and what built it."""

    record: TrialRecord
    builders: Builders
    candidate: Candidate


def rebuild(store: Store, trial: int | Literal["best"], model_path: Path | None = None) -> Rebuilt:
    """A trial's model, from the study and the float model alone; see `export_trial`."""
    record = chosen(store, trial)
    model = float_model(store, model_path)
    builders = Builders(model, Variants(model), ranges_of(store), target_of(store), stored(store))
    return Rebuilt(record, builders, builders.build(record.recipe))


def chosen(store: Store, trial: int | Literal["best"]) -> TrialRecord:
    """The trial of a number; `best` is the one that was delivered, before that the cheapest that holds the target.

    The two can differ: what is delivered has been scored and timed afresh, on the target's own kernels. Where a search
    went on after it and was interrupted, a cheaper trial found since is the best.

    Raises:
        StudyError: There is none.
    """
    if trial != "best":
        return store.trial(trial)
    held = store.get(RESULT)
    if held is not None and held["result"]["tuned"] is not None:
        delivered = store.trial(held["result"]["tuned"]["trial"])
        told = [record for record in store.trials() if record.told]
        since = told[int(held["result"]["trials"]["total"]) :]
        return min((r for r in since if _beats(r, delivered)), key=lambda r: (r.cost, r.number), default=delivered)
    record = store.best()
    if record is None:
        raise StudyError(
            f"no trial of the study {store.name!r} holds the target, so there is no best one.\n"
            "Name a trial with --trial N; `autoquant trials` lists them."
        )
    return record


def _beats(record: TrialRecord, delivered: TrialRecord) -> bool:
    """Whether a trial holds the target at a lower cost than the delivered one, or where that one does not."""
    if not record.feasible or record.cost is None:
        return False
    return not delivered.feasible or delivered.cost is None or record.cost < delivered.cost


def quantize_recipe(
    model_path: Path, recipe_path: Path, out: Path, store: Store | None = None
) -> tuple[Path, Mapping[str, str]]:
    """Write the model of a recipe.json, also of one edited by hand.

    Args:
        store: Where to find ranges that the recipe does not hold.

    Returns:
        The file, and layer → precision as built.

    Raises:
        OptionError: The file is no recipe, is of another model, or asks for ranges that it does not hold.
        ModelError: The float model cannot be used.
        OutputError: The file cannot be written.
    """
    data = recipe_data(recipe_path)
    model = load(model_path)
    variants = Variants(model)
    replay = recipefile.from_json(
        data, variants.union, model.fingerprint, ranges_of(store) if store else None, variants.names
    )
    source = of_recipe(data, recipe_path, store)
    builder = Builders(model, variants, replay.ranges, replay.target, source)
    candidate = builder.build(replay.recipe, overrides=replay.overrides, wide=replay.wide)
    stamp(candidate.proto, model, replay.recipe, replay.target)
    write(candidate.proto, candidate.weights, out)
    return out, candidate.layers


def recipe_data(path: Path) -> Any:
    """The parsed JSON of a recipe's file.

    Raises:
        OptionError: It cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise OptionError(f"cannot read the recipe {path}: {error.strerror or error}.") from None
    except ValueError as error:
        raise OptionError(f"{path} is not JSON: {error}.") from None


def float_model(store: Store, path: Path | None) -> Model:
    """The study's float model, from `path` or from where it was.

    Raises:
        ModelError: It is missing, or its content is not the study's.
    """
    given = path or Path(store.get("model", ""))
    if path is None and not given.is_file():
        raise ModelError(f"the study's float model is no longer at {given}.\nSay where it is with --model.")
    model = load(given)
    if model.fingerprint != store.fingerprint.model:
        raise ModelError(
            f"{given} is not the study's float model (its content differs).\nName the right one with --model."
        )
    return model


def ranges_of(store: Store) -> Ranges:
    """The ranges a study recorded.

    Raises:
        StudyError: It ended before calibration.
    """
    data = store.get(RANGES)
    if data is None:
        raise StudyError(f"the study {store.name!r} ended before its calibration: there is nothing to build from.")
    return Ranges.from_json(data)


def target_of(store: Store) -> Target:
    """The target profile a study was made for, weight bits included."""
    return Target.from_json(store.get(BUILD)["target"])
