"""Tasks ocr_v4 and ocr_v6s: which of the rendered lines does a PP-OCR recogniser read without a mistake?"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx

from .finish import finish
from .text import Writer, recogniser_input

MODELS = {  # task: (package, model file in it, lines, seed, seed of the calibration lines)
    "ocr_v4": ("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", 1000, 1, 99),
    "ocr_v6s": ("rapidocr", "rapidocr/models/PP-OCRv6_rec_small.onnx", 500, 61, 699),
}
CALIBRATION = 128


def lines(downloads: Path, seed: int, count: int) -> tuple[list[str], list[tuple[np.ndarray, int]]]:
    """Phrases and their (pixels, width)."""
    writer = Writer(downloads, seed)
    phrases = [writer.phrase() for _ in range(count)]
    return phrases, [recogniser_input(writer.line(phrase)) for phrase in phrases]


def calibration_lines(downloads: Path, seed: int) -> list[tuple[np.ndarray, int]]:
    """(pixels, width) of lines that all fit the base width, so that any of them batch."""
    writer, found = Writer(downloads, seed), []
    while len(found) < CALIBRATION:
        pixels, width = recogniser_input(writer.line(writer.phrase()))
        if pixels.shape[2] == 320:
            found.append((pixels, width))
    return found


def main(downloads: Path, folder: Path, task: str) -> None:
    package, file, count, seed, calibration_seed = MODELS[task]
    model = downloads / package / file
    phrases, rows = lines(downloads, seed, count)
    pixels = np.zeros((count, 3, 48, max(row.shape[2] for row, _ in rows)), np.uint8)
    for index, (row, _) in enumerate(rows):
        pixels[index, :, :, : row.shape[2]] = row
    calibration = calibration_lines(downloads, calibration_seed)
    properties = {item.key: item.value for item in onnx.load(model).metadata_props}
    finish(
        folder,
        model,
        "recogniser",
        x=pixels,
        real=np.array([width for _, width in rows]),
        padded=np.array([row.shape[2] for row, _ in rows]),
        text=np.array(phrases),
        cal=np.stack([row for row, _ in calibration]),
        cal_real=np.array([width for _, width in calibration]),
        chars=np.array(properties["character"].split("\n")),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
