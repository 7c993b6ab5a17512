"""The command line's manners: a terse parser, and the argument types that several verbs share."""

from __future__ import annotations

import argparse
import re
import sys
from typing import IO, TYPE_CHECKING, Any, NoReturn

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)", re.IGNORECASE)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose complaint is two lines: what was wrong, where to read on."""

    def __init__(self, *args: object, **options: object) -> None:
        options.setdefault("formatter_class", Formatter)
        options.setdefault("allow_abbrev", False)  # a typo must not silently become another option
        super().__init__(*args, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Print the complaint and exit with 2."""
        self.exit(2, f"{self.prog}: {message}\nSee `{self.prog} --help`.\n")

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]
        # argparse swallows AttributeError and OSError here, a broken pipe of `--help | head` included; we want it.
        if message:
            (file or sys.stderr).write(message)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help with room for the options' names, descriptions as written."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def add_argument(self, action: argparse.Action) -> None:
        """Reserve room for verbs too, which argparse indents without counting."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += 2


if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = argparse._SubParsersAction


def positive(text: str) -> int:
    """A whole number above zero.

    Raises:
        argparse.ArgumentTypeError: Anything else.
    """
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, but got {text!r}")
    return value


def natural(text: str) -> int:
    """A whole number, zero included.

    Raises:
        argparse.ArgumentTypeError: Anything else.
    """
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or above, but got {text!r}")
    return value


def duration(text: str) -> float:
    """Seconds from `90`, `90s`, `30m`, `1.5h` or `1h30m`.

    Raises:
        argparse.ArgumentTypeError: No time, or not above zero.
    """
    words = text.strip()
    try:
        value = float(words)
    except ValueError:
        parts = _PART.findall(words)
        value = sum(float(amount) * _UNITS[unit.lower()] for amount, unit in parts)
        if _PART.sub("", words).strip():
            value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a time such as 90s, 30m or 1h30m, but got {text!r}")
    return value


def setting(text: str) -> tuple[str, str]:
    """`name=choice`, as `--fix` takes it.

    Raises:
        argparse.ArgumentTypeError: No `=`, or nothing on one side of it. The last `=` counts: layer names may hold one.
    """
    name, equals, choice = text.rpartition("=")
    if not (equals and name.strip() and choice.strip()):
        raise argparse.ArgumentTypeError(
            f"must be NAME=CHOICE such as weight/granularity=per_channel, but got {text!r}"
        )
    return name.strip(), choice.strip()


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`name=1x3x48x192`.

    Raises:
        argparse.ArgumentTypeError: No name, or sizes that are not whole numbers above zero.
    """
    name, _, sizes = text.rpartition("=")
    parts = sizes.lower().split("x")
    if not name.strip() or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"must be NAME=SIZES such as x=1x3x48x192, but got {text!r}")
    return name.strip(), tuple(map(int, parts))


def objective(text: str) -> str:
    """What to minimise: a cost, or a cost with the drop.

    Raises:
        argparse.ArgumentTypeError: Anything else.
    """
    from ...errors import OptionError
    from ..study.request import Objective

    try:
        return str(Objective.parse(text))
    except OptionError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--objective ")) from None


def trial(text: str) -> int | str:
    """A trial's number, or `best`.

    Raises:
        argparse.ArgumentTypeError: Anything else.
    """
    if text == "best":
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a trial's number or `best`, but got {text!r}")
    return int(text)


def add_study(parser: argparse.ArgumentParser) -> None:
    """The positional STUDY and the option that picks one of several in it."""
    parser.add_argument("study", metavar="STUDY", help="a .autoquant folder, a study.db or a storage URL")
    parser.add_argument("--study-name", metavar="NAME", help="which study, where the storage holds several")


def add_settled(group: Any, fix: str) -> None:
    """The options that settle a part of the recipe, to a parser or a group of it; `fix` is the help of `--fix`."""
    group.add_argument(
        "--keep-float", action="append", default=[], metavar="REGEX", help="layers that stay float (repeatable)"
    )
    group.add_argument(
        "--only", action="append", default=[], metavar="REGEX", help="quantize only these layers (repeatable)"
    )
    group.add_argument("--fix", action="append", default=[], type=setting, metavar="NAME=CHOICE", help=fix)


def precisions(text: str) -> tuple[str, ...]:
    """`int8,int4,fp32`, as `--precisions` takes it; whether the target has them is told later.

    Raises:
        argparse.ArgumentTypeError: No such precision, or none.
    """
    from ...strategies.words import PRECISIONS

    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [word for word in words if word not in PRECISIONS]
    if unknown or not words:
        found = unknown[0] if unknown else text
        raise argparse.ArgumentTypeError(f"must be some of {', '.join(PRECISIONS)}, but got {found!r}")
    return words
