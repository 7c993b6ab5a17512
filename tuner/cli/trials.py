"""`autoquant trials`: every trial of a study, as a table or as CSV."""

from __future__ import annotations

import argparse
import sys

from .arguments import Subparsers, add_study, positive

DESCRIPTION = "List a study's trials: the best starred, each with its metric, drop, cost and settings."


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser("trials", help="list a study's trials", description=DESCRIPTION)
    add_study(parser)
    parser.add_argument("--csv", action="store_true", help="everything as CSV on stdout, recipes included")
    parser.add_argument(
        "--sort", choices=("number", "drop", "cost"), help="order of the rows; default number, of a front drop"
    )
    parser.add_argument(
        "--front", action="store_true", help="only the front: what no other trial matches in drop at a lower cost"
    )
    parser.add_argument("--last", type=positive, metavar="N", help="only the last N rows")
    parser.set_defaults(run=run, uses_runtime=False)


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from ..report.study import asked
    from ..report.trials import frame, table
    from ..study.front import on_front
    from .studies import opened

    store = opened(args)
    trials = on_front(store) if args.front else store.trials()
    order = args.sort or ("drop" if args.front else "number")
    # Trials without the number come last.
    trials.sort(key=lambda trial: (getattr(trial, order) is None, getattr(trial, order) or 0.0, trial.number))
    if args.last:
        trials = trials[-args.last :]
    if args.csv:
        frame(trials).to_csv(sys.stdout, index=False)
        return 0
    from .console import show

    what = asked(store)
    show(table(trials, relative=what.target.relative, target=str(what.target)))
    return 0
