"""Where candidates run: the search's bench and the target's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ...evaluators.device import CPU, CPU_PROVIDER, Device
from ...evaluators.machine import scored_on
from ...evaluators.session import open_session
from ..quantization.candidate import Candidate
from ..targets.base import Target

# Where quantization is only simulated, the optimizer would quantize the weights of layers left in float.
UNWANTED = ("WeightBiasQuantization",)


@dataclass(frozen=True, slots=True)
class Bench:
    """A device, and whether candidates run on its integer kernels or are simulated around its float ones.

    Attributes:
        threads: Threads of a session, None for ONNX Runtime's own choice.
    """

    device: Device
    target: Target
    threads: int | None
    simulated: bool

    @classmethod
    def on(cls, device: Device, target: Target, threads: int | None) -> Bench:
        """The bench of a device. Only the CPU provider has the integer kernels of the cpu target."""
        real = target.name == "cpu" and device.provider == CPU_PROVIDER
        return cls(device, target, threads, simulated=not real)

    @classmethod
    def of_target(cls, target: Target, threads: int | None) -> Bench | None:
        """The bench with the target's own kernels, None where this machine has none."""
        return cls.on(CPU, target, threads) if target.name == "cpu" else None

    def open(self, candidate: Candidate, profile_prefix: Path | None = None) -> ort.InferenceSession:
        """A session of a candidate, with a profile of it under way where a prefix says where to write it."""
        return self.open_graph(candidate.skeleton(), weights=candidate.weights, profile_prefix=profile_prefix)

    def open_graph(
        self, model: bytes, *, weights: Mapping[str, np.ndarray], profile_prefix: Path | None = None
    ) -> ort.InferenceSession:
        """A session of a serialized skeleton and its weights."""
        return open_session(
            model,
            weights=weights,
            device=self.device,
            threads=self.threads,
            disabled_optimizers=UNWANTED if self.simulated else (),
            profile_prefix=profile_prefix,
        )

    def open_file(self, path: Path) -> ort.InferenceSession:
        """A session of a file as it lies on disk."""
        return open_session(path, device=self.device, threads=self.threads)

    def open_delivered(self, path: Path) -> ort.InferenceSession:
        """A session of a candidate's file, as `open` has it.

        Where the target's kernels are not here, Q and DQ are run as they stand: the integer kernels of another runtime
        would round otherwise than it does.
        """
        unwanted = UNWANTED if self.simulated else ()
        return open_session(
            path, device=self.device, threads=self.threads, disabled_optimizers=unwanted, fused=not self.simulated
        )

    def scored_on(self) -> dict[str, Any]:
        """What a trial's score depends on beside its recipe."""
        return {**scored_on(self.device, simulated=self.simulated, threads=self.threads), "target": self.target.name}
