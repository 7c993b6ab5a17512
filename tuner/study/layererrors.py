"""What quantization does to each layer of the delivered model, kept in the study."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ...errors import StudyError
from .confirm import Confirmed
from .run import Run
from .store import Store

ERRORS = "errors"


def analysed(run: Run, found: Confirmed | None) -> tuple[dict[str, Any], ...]:
    """The errors of each int8 layer of the delivered recipe (`quantization/errors.py`), also kept in the study."""
    if found is None or "int8" not in found.layers.values():
        return ()
    errors = tuple(asdict(error) for error in run.executor.errors(found.record.recipe))
    run.store.put({ERRORS: {"trial": found.record.number, "layers": list(errors)}})
    return errors


def of_study(store: Store) -> dict[str, Any]:
    """What `analysed` kept: the trial, and its layers' errors.

    Raises:
        StudyError: Nothing was delivered yet, or nothing in int8.
    """
    held: dict[str, Any] | None = store.get(ERRORS)
    if held is None:
        raise StudyError(
            f"the study {store.name!r} has delivered no model in int8, so no layer's errors are known.\n"
            "Run its `autoquant tune` command to the end; it measures them when it delivers."
        )
    return held
