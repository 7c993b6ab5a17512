"""Make the demo's model and data: `python examples/ocr/prepare.py [FOLDER]` (default: demo/ beside examples/).

The model is the PP-OCRv6 small text recogniser that the PyPI package rapidocr 3.10.0 carries (Apache-2.0); the data
are rendered text lines. Both need the `examples` extra: pip install 'autoquant[examples]'.
"""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from lines import render

LINES, CALIBRATION = 400, 128


def main(folder: Path) -> None:
    """Write model.onnx and lines.npz into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    package = find_spec("rapidocr")
    if package is None or package.origin is None:
        raise SystemExit("rapidocr, which carries the demo's model, is missing: pip install 'autoquant[examples]'")
    source = Path(package.origin).parent / "models" / "PP-OCRv6_rec_small.onnx"
    arrays = {"characters": characters(source)}
    for name, count, seed in (("line", LINES, 1), ("calibration", CALIBRATION, 2)):
        texts, rows = render(count, seed)
        pixels = np.zeros((count, 48, max(row.shape[1] for row in rows)), np.uint8)
        for index, row in enumerate(rows):
            pixels[index, :, : row.shape[1]] = row
        arrays |= {f"{name}_pixels": pixels, f"{name}_widths": np.array([row.shape[1] for row in rows])}
        arrays |= {f"{name}_texts": np.array(texts)}
    np.savez_compressed(folder / "lines.npz", **arrays)
    shutil.copyfile(source, folder / "model.onnx")  # last: its presence says that all is done
    print(f"{folder}: model.onnx and {LINES} + {CALIBRATION} text lines")


def characters(model: Path) -> np.ndarray:
    """The recogniser's classes in order: the blank first, a space last; str array."""
    properties = {item.key: item.value for item in onnx.load(model).metadata_props}
    return np.array(["", *properties["character"].split("\n"), " "])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "demo")
