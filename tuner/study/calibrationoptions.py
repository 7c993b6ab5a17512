"""What is asked of calibration: how many samples, which, or none at all."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import OptionError

RECORDED = 200
"""Samples kept of an evaluation's own, where the eval file has no `calibration()` and no number is asked for."""
MADE = 64
"""Samples made up where there are no data."""
_SURVEYING = ("diverse", "balanced")


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """How a study calibrates.

    Attributes:
        samples: How many samples at most, None for all of `calibration()`, 200 recorded ones, or 64 made up.
        select: Which of them, one of `SELECTIONS`; None for a random draw where there are more than wanted.
        data_free: Make samples up, and look at no data.
        input_range: Smallest and largest value of made-up float inputs, None for standardised ones.
    """

    samples: int | None = None
    select: str | None = None
    data_free: bool = False
    input_range: tuple[float, float] | None = None

    @property
    def surveys(self) -> bool:
        """Whether the float model has to look at the samples before some are chosen."""
        return self.select in _SURVEYING and not self.data_free

    @property
    def made(self) -> int:
        """Samples to make up."""
        return self.samples or MADE

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            OptionError: It does not.
        """
        if self.samples is not None and self.samples < 1:
            raise OptionError(f"--calibration-samples must be at least 1, but got {self.samples}.")
        from ..calibration.selection import SELECTIONS  # here, since it needs numpy and every `--help` comes by

        if self.select is not None and self.select not in SELECTIONS:
            raise OptionError(f"--calibration-select must be one of {', '.join(SELECTIONS)}, but got {self.select!r}.")
        if self.data_free and self.select is not None:
            raise OptionError(
                "--data-free makes its samples up: there are none for --calibration-select to choose from."
            )
        if self.input_range is not None:
            if not self.data_free:
                raise OptionError("--input-range is for inputs that are made up: it goes with --data-free.")
            low, high = self.input_range
            if not (-1e30 < low < high < 1e30):
                raise OptionError(f"--input-range must be LOW,HIGH with LOW below HIGH, but got {low:g},{high:g}.")

    def words(self, seed: int) -> str:
        """The same in words, for the study's fingerprint: "" for all of `calibration()`, or 200 recorded at random."""
        if self == CalibrationOptions():
            return ""
        if self.data_free:
            span = "" if self.input_range is None else f" in {self.input_range[0]:g},{self.input_range[1]:g}"
            return f"data-free, {self.made} samples{span}, seed {seed}"
        count = "all" if self.samples is None else str(self.samples)
        return f"{count} {self.select or 'random'}, seed {seed}"


def input_range(text: str) -> tuple[float, float]:
    """Read `-1,1`.

    Raises:
        OptionError: Not two numbers.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"--input-range must be LOW,HIGH such as -1,1 or 0,255, but got {text!r}.") from None
    return low, high
