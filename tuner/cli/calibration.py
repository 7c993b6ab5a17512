"""Options about calibration that several verbs share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .arguments import positive

if TYPE_CHECKING:
    from ..study.calibrationoptions import CalibrationOptions


def add_options(group: Any, *, data: bool = True) -> None:
    """Add them to a parser or a group of it; without `data` only those for a model without any."""
    if data:
        group.add_argument(
            "--calibration-samples",
            type=positive,
            metavar="N",
            help="how many; default all of calibration(), without one 200 of the evaluation's",
        )
        group.add_argument(
            "--calibration-select",
            metavar="HOW",
            help="which, of more than N: random (default), first, diverse or balanced (over predicted classes)",
        )
        group.add_argument("--data-free", action="store_true", help="calibrate on made-up inputs, not on data")
    group.add_argument(
        "--input-range",
        metavar="LOW,HIGH",
        help="with --data-free: what the float inputs lie in, such as -1,1 or 0,255; default standardised",
    )


def options(args: argparse.Namespace) -> CalibrationOptions:
    """What the parsed words ask for.

    Raises:
        OptionError: An impossible range.
    """
    from ..study.calibrationoptions import CalibrationOptions, input_range

    return CalibrationOptions(
        samples=args.calibration_samples,
        select=args.calibration_select,
        data_free=args.data_free,
        input_range=None if args.input_range is None else input_range(args.input_range),
    )
