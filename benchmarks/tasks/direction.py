"""Task cls180: is a text line upright or upside down? PP-OCR mobile v2's direction classifier on rendered lines."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from .finish import finish
from .text import BILINEAR, Writer

WIDTH = 192


def classifier_input(image: Image.Image) -> np.ndarray:
    """float32 BGR [3, 48, 192] in -1…1, zero to the right."""
    width = min(WIDTH, int(np.ceil(48 * image.width / image.height)))
    pixels = np.asarray(image.resize((width, 48), BILINEAR), np.float32)[:, :, ::-1]
    padded = np.zeros((3, 48, WIDTH), np.float32)
    padded[:, :, :width] = ((pixels / 255 - 0.5) / 0.5).transpose(2, 0, 1)
    return padded


def pairs(downloads: Path, seed: int, count: int) -> np.ndarray:
    """`count` lines, each as it is and turned by 180 degrees."""
    writer = Writer(downloads, seed)
    lines = [writer.line(writer.phrase()) for _ in range(count)]
    return np.stack([classifier_input(image) for line in lines for image in (line, line.rotate(180))])


def main(downloads: Path, folder: Path) -> None:
    models = downloads / "rapidocr-onnxruntime" / "rapidocr_onnxruntime" / "models"
    finish(
        folder,
        models / "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "direction",
        x=pairs(downloads, 1, 1000),
        y=np.tile([0, 1], 1000),
        cal=pairs(downloads, 99, 64),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
