"""A whole little tuning task on disk: a model, an eval file of form 3 and its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from tests import zoo

EVAL = """
from pathlib import Path

import numpy as np

data = np.load(Path(__file__).with_name("data.npz"))
num_samples = len(data["labels"])


def score(session, indices):
    logits = session.run(None, {{"x": data["x"][indices]}})[0]
    return logits.argmax(-1) == data["labels"][indices]
{extra}
"""

CALIBRATION = """

def calibration():
    for i in range(0, 32, 8):
        yield {"x": data["x"][i : i + 8]}
"""


@dataclass(frozen=True)
class Task:
    """Paths of the task; everything lies in `folder`."""

    folder: Path
    model: Path
    evaluate: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"


def write(
    folder: Path, proto: onnx.ModelProto | None = None, *, samples: int = 96, calibration: bool = True, seed: int = 0
) -> Task:
    """Labels are the float model's own answers, so that its accuracy is 1."""
    proto = proto or zoo.conv_net()
    model = zoo.save(proto, folder / "model.onnx")
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, 3, 16, 16)).astype(np.float32)
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    labels = session.run(None, {"x": x})[0].argmax(-1)
    np.savez(folder / "data.npz", x=x, labels=labels)
    evaluate = folder / "eval.py"
    evaluate.write_text(EVAL.format(extra=CALIBRATION if calibration else ""))
    return Task(folder, model, evaluate)
