"""What a run starts from: the request resolved against the model, the eval file and this machine."""

from __future__ import annotations

import errno
import hashlib
import json
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import OptionError, OutputError
from ...evaluators.device import resolve
from ...evaluators.evaluation import Evaluation, load_evaluation
from ...evaluators.holdout import Holdout, Part
from ...evaluators.machine import check_installation
from ...strategies.registry import make
from ..graph.analyse import analyse
from ..graph.analysis import Analysis
from ..graph.load import load
from ..graph.model import Model
from ..graph.rewrite.variants import Variants
from ..quantization.records.ranges import Imported, read
from ..targets import profiles
from ..targets.base import Target
from .bench import Bench
from .offers import check as check_precisions
from .request import Objective, Request, fraction
from .warm import check as check_warm


@dataclass(frozen=True)
class Inputs:
    """A request with everything it names at hand.

    Attributes:
        evaluation: Of the samples that the search sees.
        held: Of those held out, None without a hold-out.
        bench: Where trials are scored.
        real: The target's own kernels, None where this machine has none. Equal to `bench` for cpu on the CPU.
        objective: `latency`, `size` or `ops`: what a trial's cost measures.
        out: The output folder, existing and writable.
        name: The study's name.
        imported: Ranges from a file, None without `--ranges`.
        pareto: Whether a front of cost against drop is asked for.
    """

    request: Request
    model: Model
    analysis: Analysis
    evaluation: Evaluation
    target: Target
    bench: Bench
    real: Bench | None
    objective: str
    out: Path
    name: str
    pareto: bool = False
    held: Part | None = None
    imported: Imported | None = None

    @property
    def asked(self) -> str:
        """The objective as it was asked for: `latency` or `latency,drop`."""
        return str(Objective(self.objective, self.pareto))

    @cached_property
    def variants(self) -> Variants:
        """The model with and without its rewrites."""
        return Variants(self.model, self.analysis)

    @property
    def scored_on(self) -> dict[str, Any]:
        """What a trial's score depends on beside its recipe: the kernels, and the samples where some are held out."""
        return {**self.bench.scored_on(), **({"samples": self.held.apart} if self.held else {})}

    def file(self, name: str) -> Path:
        """Where the output folder keeps scores: apart for each set of samples that they are of."""
        path = self.out / name
        return path.with_name(f"{path.stem}.{self.held.tag}{path.suffix}") if self.held else path


def prepare(request: Request) -> Inputs:
    """Resolve a request.

    Raises:
        AutoquantError: Whatever is wrong with it; nothing has been written but the output folder.
    """
    check_installation()
    if request.max_trials is not None and request.max_trials < 1:
        raise OptionError(f"--max-trials must be at least 1, but got {request.max_trials}.")
    if request.timeout is not None and not request.timeout > 0:
        raise OptionError(f"--timeout must be above 0 seconds, but got {request.timeout:g}.")
    if request.patience is not None and request.patience < 1:
        raise OptionError(f"--patience must be at least 1, but got {request.patience}.")
    if not 0.0 < request.alpha < 0.5:
        raise OptionError(f"--alpha must lie above 0 and below 0.5, but got {request.alpha:g}.")
    if request.stop not in ("best", "first"):
        raise OptionError(f"--stop must be best or first, but got {request.stop!r}.")
    if request.threads is not None and request.threads < 1:
        raise OptionError(f"--threads must be at least 1, but got {request.threads}.")
    if request.storage is not None and "://" not in request.storage:
        raise OptionError(
            f"--storage must be a URL such as sqlite:///study.db or postgresql://…, but got {request.storage!r}.\n"
            "For a plain folder use --out."
        )
    request.calibration.check()
    make(request.strategy)  # an unknown name is told before an hour of calibration, not after
    device = resolve(request.device)
    target = profiles.get(request.target)
    check_precisions(request.precisions, target)
    bench = Bench.on(device, target, request.threads)
    real = Bench.of_target(target, request.threads)
    objective = Objective.parse(request.objective or ("latency" if real else "ops"))
    if objective.cost == "latency" and real is None:
        raise OptionError(
            f"--objective {objective} needs the target's runtime on this machine, and {target.name} is not here.\n"
            "Use --objective ops or size."
        )
    model = load(request.model)
    analysis = analyse(model)
    check_warm(request.warm, analysis)
    imported = read(request.ranges) if request.ranges else None
    evaluation = whole = load_evaluation(request.evaluate, model_path=request.model)
    held: Part | None = None
    if request.holdout is not None:
        holdout = Holdout(fraction(request.holdout), request.seed)
        evaluation, held = Part(whole, holdout, "search"), Part(whole, holdout, "held")
    out = request.folder
    writable(out)
    inputs = Inputs(
        request=request,
        model=model,
        analysis=analysis,
        evaluation=evaluation,
        target=target,
        bench=bench,
        real=real,
        objective=objective.cost,
        out=out,
        name=request.study_name or study_name(request, target, bench, str(objective), imported),
        pareto=objective.pareto,
        held=held,
        imported=imported,
    )
    if imported is not None:
        imported.check(inputs.variants)
    return inputs


def study_name(request: Request, target: Target, bench: Bench, objective: str, imported: Imported | None = None) -> str:
    """The name of the study that this request continues: equal for requests that ask for the same search.

    The budget is no part of it. What is usually left alone goes into a short hash.
    """
    name = f"{Path(request.model).stem} {request.target_drop} {objective} {request.strategy}"
    rest = {
        "target": target.name,
        "device": bench.device.provider,
        "seed": request.seed,
        "keep_float": sorted(request.keep_float),
        "only": sorted(request.only),
        "fix": dict(sorted(request.fix.items())),
    }
    usual = {
        "target": "cpu",
        "device": "CPUExecutionProvider",
        "seed": 0,
        "keep_float": [],
        "only": [],
        "fix": {},
    }
    if request.precisions:
        rest["precisions"] = sorted(request.precisions)
    if request.per_layer_calibrators:
        rest["per_layer_calibrators"] = True
    if request.holdout is not None:
        rest["holdout"] = request.holdout
    if imported is not None:
        rest["ranges"] = imported.digest
    if words := request.calibration.words(request.seed):
        rest["calibration"] = words
    if rest == usual:
        return name
    return f"{name} #{hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:8]}"


def writable(folder: Path) -> None:
    """Make the folder and see that a file can be written there.

    Raises:
        OutputError: It cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"autoquant")
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"--out {folder} is a file, not a folder.\nName another folder with --out.") from None
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        raise OutputError(f"cannot write into the output folder {folder}: {why}.\nName another with --out.") from None
