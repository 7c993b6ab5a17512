"""Results that only calibration samples give: what is wanted, what is kept, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import numpy as np

from ...errors import CalibrationError
from ...strategies.words import BIAS, BIASES, ROUNDING, ROUNDINGS
from ..calibration.moments import Moment
from ..calibration.rows import Form, as_matrices, as_weight
from ..graph.model import Model
from .blocks import spread
from .empirical import Chain
from .gptq import gptq
from .scales import QuantizedWeight


@dataclass(frozen=True)
class Wanted:
    """Something that only calibration samples tell.

    Attributes:
        key: Names it, without the data: what it is of, by content.
        model: The float model to run.
        layer: The layer's name; the first one's where it is of several.
        forms: What its layers read: all of them, since a pass takes about as long for one.
        hessians: The forms whose Hessians the recipe needs as well, and their elements.
        form: Whose mean it is; None for anything else.
        rounding: Computes the rounded weights from the moments; None for anything else.
        readers: The forms whose Hessians `rounding` takes.
        chain: Computes the corrections of all biases from samples; None for what follows from moments.
    """

    key: str
    model: Model
    layer: str
    forms: Sequence[Form] = ()
    hessians: Mapping[Form, int] = field(default_factory=dict)
    form: Form | None = None
    rounding: Rounding | None = None
    readers: tuple[Form, ...] = ()
    chain: Chain | None = None

    @property
    def parameter(self) -> str:
        """The recipe's parameter that asks for it."""
        return BIAS if self.rounding is None else ROUNDING

    def compute(self, moments: Mapping[Form, Moment]) -> np.ndarray:
        """It, from the moments of `form` or `readers`."""
        if self.rounding is None:
            assert self.form is not None
            return moments[self.form].mean
        return self.rounding.compute([moments[form] for form in self.readers])


@dataclass(frozen=True, slots=True)
class Rounding:
    """One weight to be rounded by GPTQ on the grid that it has.

    Attributes:
        weight: float32.
        quantized: Rounded to nearest.
        form: How its layer reads.
        axis: Of the weight's output channels.
        low: The least integer of the grid.
        high: The largest.
    """

    weight: np.ndarray
    quantized: QuantizedWeight
    form: Form
    axis: int
    low: int
    high: int

    def compute(self, moments: Sequence[Moment]) -> np.ndarray:
        """Integers of the weight's shape and type; several layers that share the weight count equally."""
        matrices = as_matrices(self.weight, self.form, self.axis)
        hessian = np.zeros(1, np.float32)
        for moment in moments:
            assert moment.hessian is not None
            hessian = hessian + moment.hessian
        per_output = (*matrices.shape[:2], 1) if self.quantized.axis is not None else (1, 1, 1)
        scale, zero_point = self.quantized.scale, self.quantized.zero_point
        if self.quantized.block:
            per_output = matrices.shape
            scale, zero_point = (spread(each, self.quantized.block, matrices.shape[2]) for each in (scale, zero_point))
        found = gptq(
            matrices,
            hessian,
            scale.reshape(per_output),
            zero_point.reshape(per_output),
            self.low,
            self.high,
        )
        return as_weight(found.astype(self.quantized.values.dtype), self.weight.shape, self.axis)


@dataclass(frozen=True, slots=True)
class Kept:
    """A result and the file that holds it (`vault.py`), "" where none does."""

    values: np.ndarray
    file: str = ""


class Source(Protocol):
    """Where results come from: a study's folder, a recipe's, or the calibration samples themselves.

    Attributes:
        costs: Key → seconds that computing a result took, whenever that was.
        seconds: Spent so far on computing, by this object.
    """

    @property
    def costs(self) -> Mapping[str, float]:  # noqa: D102 - see the class
        ...

    @property
    def seconds(self) -> float:  # noqa: D102 - see the class
        ...

    def get(self, wanted: Wanted) -> Kept:
        """The result.

        Raises:
            AutoquantError: It is not to be had; says why.
        """
        ...


class Nothing:
    """The source of whoever has none."""

    costs: Mapping[str, float] = MappingProxyType({})
    seconds = 0.0

    def get(self, wanted: Wanted) -> Kept:
        """Refuse.

        Raises:
            CalibrationError: Always.
        """
        raise CalibrationError(
            f"the recipe corrects {wanted.layer!r} by calibration samples, and there are neither samples nor results.\n"
            f"Name the study it came from, or set {ROUNDING} to {ROUNDINGS[0]} and {BIAS} to {BIASES[0]}."
        )
