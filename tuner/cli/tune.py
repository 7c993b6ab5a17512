"""`autoquant tune`: search for the model that keeps the metric."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from ..study.request import Request, TargetDrop, fraction
from . import calibration
from .arguments import Subparsers, add_settled, duration, natural, objective, positive, precisions

DESCRIPTION = """\
Search for the fastest quantized model that keeps the metric.

Running the same command again resumes; a finished study answers at once. The study
holds every trial: look with `autoquant trials`, rebuild any with `autoquant export`.
"""

EPILOG = """\
exit status: 0 target met, 1 not met or nothing gained (the best effort is written all
the same), 2 bad request, 130 interrupted (run the same command to go on)

EVAL is a Python file (`autoquant init` writes one), or needs no code at all:
  accuracy:data.npz     arrays named like the model's inputs, and `labels`
  fidelity:inputs.npz   inputs alone: agreement with the float model
"""

_STRATEGIES = (
    "auto (default), informed, tpe, nsga2, gp, random, exhaustive, or a peer's way: inc-basic, nncf-greedy, aimet-amp"
)


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "tune", help="search for the model that keeps the metric", description=DESCRIPTION, epilog=EPILOG
    )
    asked = parser.add_argument_group("what is asked")
    asked.add_argument("--model", required=True, type=Path, metavar="M", help="the float ONNX model")
    asked.add_argument("--eval", required=True, metavar="E", help="eval.py, accuracy:data.npz or fidelity:inputs.npz")
    asked.add_argument(
        "--target-drop",
        default="1%",
        metavar="DROP",
        help="tolerable loss of the metric: 1%% (relative) or 0.01 (absolute); default 1%%",
    )
    asked.add_argument(
        "--objective",
        type=objective,
        metavar="COST[,drop]",
        help="latency, size or ops; default latency where it can be timed; with `,drop` a Pareto front",
    )
    asked.add_argument(
        "--holdout",
        metavar="PART",
        help="keep a random part of the samples, such as 20%%, from the search for one final confirmation",
    )
    asked.add_argument("--out", type=Path, metavar="DIR", help="default <model stem>.autoquant")

    search = parser.add_argument_group("the search")
    search.add_argument(
        "--strategy",
        default="auto",
        metavar="NAME",
        help=_STRATEGIES,
    )
    search.add_argument("--max-trials", type=positive, metavar="N", help="trials of the whole study")
    search.add_argument(
        "--timeout", type=duration, metavar="TIME", help="time of this invocation, such as 90s, 30m, 2h"
    )
    search.add_argument(
        "--stop",
        choices=("best", "first"),
        default="best",
        help="first: end at the first model that would be delivered as met",
    )
    search.add_argument(
        "--patience", type=positive, metavar="K", help="end after K trials without improvement; default the strategy's"
    )
    search.add_argument(
        "--alpha",
        type=float,
        default=0.01,
        metavar="A",
        help="chance to stop a trial early that holds the target; default 0.01",
    )
    search.add_argument("--no-racing", action="store_true", help="score every trial on all samples")
    search.add_argument("--seed", type=natural, default=0, metavar="N", help="default 0")
    add_settled(search, "settle a parameter, such as weight/granularity=per_channel (repeatable)")
    search.add_argument(
        "--precisions",
        type=precisions,
        default=(),
        metavar="P,…",
        help="what a layer may be, float aside: int8, int16 (activations of 16 bits, target qnn), int4, weight8 "
        "(weights alone on 4 or 8 bits: small, not faster); default what the target runs, for the objective size int4 "
        "and weight8 too; for one layer --fix layer/NAME=int4",
    )
    search.add_argument(
        "--per-layer-calibrators",
        action="store_true",
        help="let layers have calibrators of their own (searches longer)",
    )
    search.add_argument(
        "--from",
        action="append",
        default=[],
        type=Path,
        dest="warm",
        metavar="RECIPE",
        help="score the recipe of this recipe.json first; may be of another model or target (repeatable)",
    )

    search.add_argument(
        "--ranges",
        type=Path,
        metavar="FILE",
        help="ranges that another tool made (TensorRT calibration cache, QNN/AIMET encodings, json-record) as one more "
        "calibrator, `imported`",
    )

    calibration.add_options(parser.add_argument_group("the calibration"))

    where = parser.add_argument_group("where it runs")
    where.add_argument("--device", default="auto", metavar="D", help="where trials are scored: auto, cpu, cuda, cuda:1")
    where.add_argument(
        "--target", default="auto", metavar="T", help="what the model is for: auto, cpu, cuda, tensorrt, qnn"
    )
    where.add_argument("--threads", type=positive, metavar="N", help="threads of a session; default the runtime's")

    study = parser.add_argument_group("the study")
    study.add_argument("--storage", metavar="URL", help="an Optuna storage; default study.db in DIR")
    study.add_argument("--study-name", metavar="NAME", help="default follows from the model")
    study.add_argument("--fresh", action="store_true", help="start anew, whatever the study holds")
    study.add_argument("--json", action="store_true", help="print result.json on stdout, progress on stderr")
    parser.set_defaults(run=run, uses_runtime=True)


def request(args: argparse.Namespace) -> Request:
    """What the parsed words ask for.

    Raises:
        OptionError: An impossible target, or the same parameter fixed twice.
    """
    from ...errors import OptionError

    fix: dict[str, str] = {}
    for name, choice in args.fix:
        if fix.setdefault(name, choice) != choice:
            raise OptionError(f"--fix names {name} twice, as {fix[name]} and as {choice}: keep one")
    return Request(
        model=args.model,
        evaluate=args.eval,
        target_drop=TargetDrop.parse(args.target_drop),
        out=args.out,
        strategy=args.strategy,
        device=args.device,
        target=args.target,
        objective=args.objective,
        max_trials=args.max_trials,
        timeout=args.timeout,
        stop=args.stop,
        patience=args.patience,
        race=not args.no_racing,
        alpha=args.alpha,
        holdout=None if args.holdout is None else fraction(args.holdout),
        threads=args.threads,
        seed=args.seed,
        keep_float=tuple(args.keep_float),
        only=tuple(args.only),
        fix=fix,
        precisions=args.precisions,
        per_layer_calibrators=args.per_layer_calibrators,
        warm=tuple(args.warm),
        ranges=args.ranges,
        calibration=calibration.options(args),
        storage=args.storage,
        study_name=args.study_name,
        fresh=args.fresh,
        command=args.command,
    )


def run(args: argparse.Namespace) -> int:
    """Tune, show it, print the outcome."""
    asked = request(args)
    from ..report.run import tune_and_report
    from .observe import observe

    # With --json the program that reads stdout gets the result alone: what the user's eval file prints goes aside.
    aside = contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext()
    with aside, observe(args.model.name) as observer:
        result = tune_and_report(asked, observer)
    if args.json:
        print(json.dumps(result.to_json(), indent=2))
    else:
        from ..report.summary import summary
        from .console import show

        show(summary(result))
    return result.exit_status
