"""Does a built task give the float metric it is known for? `python -m benchmarks.tasks.check TASK_FOLDER`."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

FLOAT_METRIC = {  # measured with the versions of requirements.txt
    "cls180": 0.9045,
    "ocr_v4": 0.829,
    "minilm_sentiment": 0.8867,
    "effnet_lite0": 0.7148,
    "ocr_v6s": 0.966,
}


def main(folder: Path) -> int:
    spec = importlib.util.spec_from_file_location("task_eval", folder / "eval.py")
    task = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(task)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    start = time.perf_counter()
    metric = float(np.mean(task.score(session, range(task.num_samples))))
    seconds = time.perf_counter() - start
    samples = sum(len(next(iter(feed.values()))) for feed in task.calibration())
    known = FLOAT_METRIC[folder.name]
    print(
        f"{folder.name:18s} metric {metric:.4f} (known: {known:.4f}), {task.num_samples} samples in {seconds:.1f} s, "
        f"{samples} calibration samples",
        flush=True,
    )
    if abs(metric - known) >= 0.00055:
        print(f"{folder.name}: not the known data; other versions of fonts or libraries?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
