"""Warm starts: recipes that are known before the search, from recipe.json files and from earlier studies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import OptionError
from ...strategies.base import Recipe, Space
from ...strategies.words import LAYER
from ..graph.analysis import Analysis
from ..quantization.recipefile import FORMAT
from .events import Noted
from .trial import TrialRecord

if TYPE_CHECKING:
    from .run import Run

PHASE = "warm"
_SHOWN = 3


def parameters(path: Path) -> dict[str, str]:
    """The parameters of a recipe.json, of whatever model and target it is.

    Raises:
        OptionError: The file cannot be read, or is no recipe.
    """
    try:
        data: Any = json.loads(path.read_text())
    except OSError as error:
        raise OptionError(f"--from cannot read {path}: {error.strerror or error}.") from None
    except ValueError as error:
        raise OptionError(f"--from {path} is not JSON: {error}.") from None
    chosen = data.get("parameters") if isinstance(data, dict) and data.get("format") == FORMAT else None
    if not isinstance(chosen, dict) or not all(isinstance(value, str) for value in chosen.values()):
        raise OptionError(
            f"--from {path} is no recipe: its `format` must be {FORMAT!r}, with an object `parameters`.\n"
            "Give a recipe.json that `autoquant tune` wrote."
        )
    return chosen


def check(paths: Iterable[Path], analysis: Analysis) -> None:
    """Refuse, before anything dear is done, what can be no warm start of this model.

    Raises:
        OptionError: As `parameters`, or the recipe names no layer of the model.
    """
    for path in paths:
        theirs = [name.removeprefix(LAYER) for name in parameters(path) if name.startswith(LAYER)]
        if not analysis.groups.keys() & set(theirs):
            raise OptionError(
                f"--from {path} has no layer of this model: it names {_some(theirs)}; here there are "
                f"{_some(list(analysis.groups))}.\nGive the recipe of a model with the same layer names."
            )


def fitted(chosen: Mapping[str, str], space: Space, path: Path) -> tuple[Recipe, str]:
    """A foreign recipe in this study's space, and a note on what of it could not be taken over ("" for nothing).

    Parameters are matched by name. What the recipe lacks takes the first choice offered, what is not offered here
    what `Space.canonical` makes of it.
    """
    recipe = space.canonical(chosen)
    unknown = [name for name in chosen if name not in space.offered]
    parts = []
    if unknown:
        parts.append(f"{len(unknown)} unknown here ({_some(unknown)})")
    missing = sum(name.startswith(LAYER) and name not in chosen for name in space.offered)
    if missing:
        parts.append(f"{missing} layers it does not name take the default")
    refused = [name for name, value in chosen.items() if name in space.offered and value not in space.offered[name]]
    if refused:
        parts.append(f"{len(refused)} choices not offered here ({_some(refused)})")
    return recipe, f"--from {path}: {'; '.join(parts)}" if parts else ""


def recipes(run: Run) -> tuple[Recipe, ...]:
    """What to score before the strategy is asked: the recipes of `--from`, then what sibling studies found best.

    A sibling's recipe is taken where its metric holds this study's target: its score is reused, so that only its
    cost is measured. Which of them were scored already is the caller's to see, from the history.

    Raises:
        OptionError: As `parameters`.
    """
    found: dict[Recipe, None] = {}
    for path in run.inputs.request.warm:
        recipe, note = fitted(parameters(path), run.space, path)
        if note:
            run.observer(Noted(note, True))
        found[recipe] = None
    for record in run.store.relatives(run.inputs.scored_on):
        if _holds(run, record):
            recipe = run.space.canonical(record.recipe)
            if recipe == record.recipe:  # what today's options would not build is another recipe, and not known to hold
                found[recipe] = None
                break
    return tuple(found)


def _holds(run: Run, record: TrialRecord) -> bool:
    """Whether a sibling's trial holds this study's target."""
    if record.metric is None:
        return False
    target = run.inputs.request.target_drop
    higher = run.inputs.evaluation.higher_is_better
    return target.drop(run.baseline.metric, record.metric, higher) <= target.value


def _some(names: list[str]) -> str:
    return (", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")) if names else "none"
