"""Rendered text lines, and how PP-OCR models want them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

BILINEAR = Image.Resampling.BILINEAR


def reviews(downloads: Path) -> list[tuple[str, int]]:
    """(sentence, 1 for praise and 0 for complaint) of the npm package sentiment, unique and sorted."""
    found = set()
    for site in ("amazon", "imdb", "yelp"):
        path = downloads / "sentiment" / "package" / "test" / "fixtures" / f"{site}.json"
        for entry in json.loads(path.read_text(encoding="utf8")):
            if entry.get("text") and entry.get("class") in (0, 1):
                found.add((entry["text"], entry["class"]))
    return sorted(found)


class Writer:
    """Draws lines of review sentences; everything follows from the seed and the order of the calls."""

    def __init__(self, downloads: Path, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        packages = (downloads / "fonts-dejavu-core", downloads / "fonts-liberation")
        self._fonts = [path for package in packages for path in sorted(package.rglob("truetype/*/*.ttf"))]
        self._sentences = [sentence for sentence, _ in reviews(downloads)]

    def phrase(self) -> str:
        """One to four neighbouring words or, every fifth time, a number: 2 to 32 printable ASCII characters."""
        random = self._random
        while True:
            words = self._sentences[random.integers(len(self._sentences))].split()
            count = int(random.integers(1, 5))
            first = int(random.integers(0, max(1, len(words) - count)))
            phrase = " ".join(words[first : first + count]).strip()
            if random.random() < 0.2:
                phrase = str(random.integers(1, 99999))
                phrase += f".{random.integers(0, 99):02d}" if random.random() < 0.5 else ""
            if 2 <= len(phrase) <= 32 and phrase.isascii() and phrase.isprintable():
                return phrase

    def line(self, phrase: str) -> Image.Image:
        """`phrase` in a random font, slightly rotated, blurred, rescaled and noisy; RGB."""
        random = self._random
        path = self._fonts[random.integers(len(self._fonts))]
        font = ImageFont.truetype(str(path), int(random.integers(18, 44)))
        left, top, right, bottom = font.getbbox(phrase)
        width, height = int(right - left + 16), int(bottom - top + 12)
        paper, ink = int(random.integers(170, 256)), int(random.integers(0, 90))
        image = Image.new("L", (width, height), paper)
        ImageDraw.Draw(image).text((8 - left, 6 - top), phrase, font=font, fill=ink)
        image = image.rotate(float(random.uniform(-2, 2)), fillcolor=paper, resample=Image.Resampling.BICUBIC)
        if random.random() < 0.6:
            image = image.filter(ImageFilter.GaussianBlur(float(random.uniform(0.3, 1.4))))
        if random.random() < 0.5:
            shrink = random.uniform(0.35, 0.8)
            small = image.resize((max(8, int(width * shrink)), max(8, int(height * shrink))), BILINEAR)
            image = small.resize((width, height), BILINEAR)
        noisy = np.asarray(image, np.float32) + random.normal(0, random.uniform(2, 22), (height, width))
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert("RGB")


def recogniser_input(image: Image.Image) -> tuple[np.ndarray, int]:
    """uint8 BGR [3, 48, W], W a multiple of 32 and at least 320, zero to the right; and the width before that."""
    width = max(16, int(np.ceil(48 * image.width / image.height)))
    padded = np.zeros((3, 48, max(320, -(-width // 32) * 32)), np.uint8)
    padded[:, :, :width] = np.asarray(image.resize((width, 48), BILINEAR))[:, :, ::-1].transpose(2, 0, 1)
    return padded, width
