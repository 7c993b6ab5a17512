"""Text lines as a scanner or a camera sees them, drawn with the fonts that matplotlib ships.

Seeded: the same seed gives the same lines.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FACES = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
LETTERS = list("ABCDEFGHJKLMNPQRSTUVWXYZ")  # part numbers have no I and no O, which look like 1 and 0
WORDS = """
account address amount article assembly balance batch bearing bottle branch bridge bundle cable capacity carton
casing certified charge cleaning code contract copper counter customer cylinder date delivery deposit discount
document engine express factory filter flange freight gasket gauge handle harbour heating hydraulic import insurance
invoice keep label large licence lift limited lubricant machine maintenance manual material measure mineral motor
north number office order original package paid pallet paper payment phone platform pressure price printed product
pump quality quantity receipt reference refund repair report return sample screw seal serial service sheet shipment
signature south spare special standard station steel storage supplier surface switch system table tax temperature
terminal thread tonnes total tracking transport upright valve vehicle volume voltage warehouse warranty washer water
weight welded west wheel wholesale window wire workshop zinc
""".split()  # noqa: SIM905


def phrase(rng: np.random.Generator) -> str:
    """A line of a label, a form or a receipt."""
    words = [str(rng.choice(WORDS)) for _ in range(rng.integers(1, 4))]
    case = rng.integers(3)
    text = " ".join(words)
    text = text if case == 0 else text.upper() if case == 1 else text.capitalize()
    kind = rng.integers(6)
    if kind == 0:
        text = f"{words[0].capitalize()} {rng.integers(1, 999)}.{rng.integers(100):02d}"
    elif kind == 1:
        day, month, year = rng.integers(1, 29), rng.integers(1, 13), rng.integers(1990, 2030)
        text = f"{words[0].capitalize()}: {day:02d}/{month:02d}/{year}"
    elif kind == 2:
        letters = "".join(rng.choice(LETTERS, size=3))
        text = f"{letters}-{rng.integers(10_000, 99_999)} {words[0]}"
    return text


def draw(text: str, rng: np.random.Generator, fonts: list[Path]) -> Image.Image:
    """`text` in a random face, a little askew, blurred, scaled and noisy."""
    font = ImageFont.truetype(str(fonts[rng.integers(len(fonts))]), int(rng.integers(16, 42)))
    left, top, right, bottom = (round(side) for side in font.getbbox(text))
    width, height = right - left + 16, bottom - top + 12
    paper, ink = int(rng.integers(165, 256)), int(rng.integers(0, 100))
    image = Image.new("L", (width, height), paper)
    ImageDraw.Draw(image).text((8 - left, 6 - top), text, font=font, fill=ink)
    image = image.rotate(rng.uniform(-2.0, 2.0), resample=Image.Resampling.BICUBIC, fillcolor=paper)
    if rng.random() < 0.6:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5)))
    if rng.random() < 0.5:
        shrink = rng.uniform(0.35, 0.8)
        small = (max(8, int(width * shrink)), max(8, int(height * shrink)))
        image = image.resize(small, Image.Resampling.BILINEAR).resize((width, height), Image.Resampling.BILINEAR)
    noisy = np.asarray(image, np.float32) + rng.normal(0.0, rng.uniform(2.0, 24.0), (height, width))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def render(count: int, seed: int) -> tuple[list[str], list[np.ndarray]]:
    """`count` lines: their texts, and their pixels as uint8 [48, width] of one grey channel."""
    rng = np.random.default_rng(seed)
    fonts = find_fonts()
    texts, rows = [], []
    for _ in range(count):
        text = phrase(rng)
        image = draw(text, rng, fonts)
        width = max(16, round(48 * image.width / image.height))
        texts.append(text)
        rows.append(np.asarray(image.resize((width, 48), Image.Resampling.BILINEAR)))
    return texts, rows


def find_fonts() -> list[Path]:
    """The regular, bold and italic files of `FACES`, sorted; matplotlib itself is not imported."""
    package = find_spec("matplotlib")
    if package is None or package.origin is None:
        raise SystemExit("matplotlib, whose fonts draw the lines, is missing: pip install 'autoquant[examples]'")
    folder = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"
    styles = ("", "-Bold", "-Oblique", "-Italic", "Bol", "Italic")
    found = sorted(folder / f"{face}{style}.ttf" for face in FACES for style in styles)
    return [path for path in found if path.exists()]
