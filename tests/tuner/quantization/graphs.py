"""Random small graphs of what meets in real models, to find arrangements that fuse, or fail to, unexpectedly."""

from __future__ import annotations

import random

import numpy as np
import onnx

from tests.zoo import Sketch, value


class Grower:
    """Grows a graph operator by operator on tensors of known shape (batch 2)."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.g = Sketch(seed)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def put(self, output: str, shape: tuple[int, ...]) -> str:
        self.shapes[output] = shape
        return output

    def pick(self, rank: int | None = None) -> str | None:
        """A recent tensor, mostly."""
        fitting = [name for name, shape in self.shapes.items() if rank is None or len(shape) == rank]
        if not fitting:
            return None
        return fitting[-1] if self.draw.random() < 0.7 else self.draw.choice(fitting)

    def step(self) -> None:
        """One operator."""
        rank = self.draw.choice([2, 3, 4, 4])
        x = self.pick(rank)
        if x is None:
            return
        choices = {4: (self.conv, self.conv, self.conv, self.pool, self.unary, self.add, self.split_off, self.fold)}
        flat = (self.linear, self.linear, self.unary, self.add, self.turn, self.concat, self.attend)
        self.draw.choice(choices.get(rank, flat))(x)

    def conv(self, x: str) -> None:
        n, c, h, w = self.shapes[x]
        kind = self.draw.choice(["full", "depthwise", "pointwise", "transposed"])
        out = c if kind == "depthwise" else self.draw.choice([3, 4, 8])
        y = self.name()
        if kind == "transposed":
            weight = self.g.weight(f"{y}.w", c, out, 3, 3)
            self.g.add("ConvTranspose", [x, weight, self.g.bias(f"{y}.b", out)], y, pads=[1] * 4)
        else:
            kernel = 1 if kind == "pointwise" else 3
            self.g.conv(x, y, c, out, kernel=kernel, group=c if kind == "depthwise" else 1)
        self.tail(y, (n, out, h, w))

    def tail(self, y: str, shape: tuple[int, ...]) -> None:
        kind = self.draw.choice(["", "", "Relu", "Clip", "Clip", "LeakyRelu"])
        if not kind:
            self.put(y, shape)
            return
        if self.draw.random() < 0.1:
            self.put(y, shape)
        z = self.name()
        if kind == "Clip":
            low, high = self.draw.choice([(0.0, 6.0), (-1.0, 1.0), (0.0, 1.0), (-0.3, 0.8)])
            self.g.add("Clip", [y, self.g.put(f"{z}.low", low), self.g.put(f"{z}.high", high)], z)
        else:
            self.g.add(kind, [y], z)
        self.put(z, shape)

    def linear(self, x: str) -> None:
        *rest, k = self.shapes[x]
        n = self.draw.choice([4, 8, k])
        y = self.name()
        if len(rest) == 1 and self.draw.random() < 0.5:
            transposed = self.draw.random() < 0.5
            weight = self.g.weight(f"{y}.w", *((n, k) if transposed else (k, n)))
            extra = [self.g.bias(f"{y}.b", n)] if self.draw.random() < 0.7 else []
            self.g.add("Gemm", [x, weight, *extra], y, transB=int(transposed))
        elif self.draw.random() < 0.6:
            self.g.linear(x, y, k, n)
        else:
            self.g.add("MatMul", [x, self.g.weight(f"{y}.w", k, n)], y)
        self.tail(y, (*rest, n))

    def attend(self, x: str) -> None:
        if len(self.shapes[x]) != 3:
            return
        n, t, f = self.shapes[x]
        turned, y = self.name(), self.name()
        self.g.add("Transpose", [x], turned, perm=[0, 2, 1])
        self.put(turned, (n, f, t))
        other = self.draw.choice([name for name, shape in self.shapes.items() if shape == (n, t, f)])
        self.g.add("MatMul", [other, turned], y)
        self.put(y, (n, t, t))

    def unary(self, x: str) -> None:
        y = self.name()
        kind = self.draw.choice(["Sigmoid", "Relu", "Tanh", "Softmax", "Erf"])
        self.g.add(kind, [x], y)
        self.put(y, self.shapes[x])

    def add(self, x: str) -> None:
        shape = self.shapes[x]
        other = self.draw.choice([name for name, found in self.shapes.items() if found == shape])
        y = self.name()
        operands = [x, other if self.draw.random() < 0.7 else self.g.put(f"{y}.c", self.draw.uniform(-2, 2))]
        self.g.add(self.draw.choice(["Add", "Mul", "Sub"]), operands, y)
        self.put(y, shape)

    def concat(self, x: str) -> None:
        shape = self.shapes[x]
        other = self.draw.choice([name for name, found in self.shapes.items() if found == shape])
        y = self.name()
        self.g.add("Concat", [x, other], y, axis=len(shape) - 1)
        self.put(y, (*shape[:-1], 2 * shape[-1]))

    def pool(self, x: str) -> None:
        n, c, h, w = self.shapes[x]
        y = self.name()
        kind = self.draw.choice(["MaxPool", "AveragePool", "GlobalAveragePool"])
        if kind == "GlobalAveragePool":
            self.g.add(kind, [x], y)
            flat = self.name()
            self.g.add("Flatten", [y], flat)
            self.put(flat, (n, c))
        else:
            self.g.add(kind, [x], y, kernel_shape=[3, 3], pads=[1] * 4)
            self.put(y, (n, c, h, w))

    def split_off(self, x: str) -> None:
        """Two halves of the channels."""
        n, c, h, w = self.shapes[x]
        if c % 2:
            return
        y, z = self.name(), self.name()
        self.g.nodes.append(onnx.helper.make_node("Split", [x], [y, z], name=y, axis=1))
        self.g.nodes[-1].input.append(self.g.put(f"{y}.sizes", [c // 2, c // 2], np.int64))
        self.put(y, (n, c // 2, h, w))
        self.put(z, (n, c // 2, h, w))

    def fold(self, x: str) -> None:
        """[N, C, H, W] → [N, C, HW], as before attention."""
        n, c, h, w = self.shapes[x]
        y = self.name()
        self.g.add("Reshape", [x, self.g.put(f"{y}.shape", [0, 0, -1], np.int64)], y)
        self.put(y, (n, c, h * w))

    def turn(self, x: str) -> None:
        if len(self.shapes[x]) != 3:
            return
        n, t, f = self.shapes[x]
        y = self.name()
        self.g.add("Transpose", [x], y, perm=[0, 2, 1])
        self.put(y, (n, f, t))


def grow(seed: int, steps: int = 14) -> onnx.ModelProto:
    """A random graph with an image, a sequence and a vector as inputs; its loose ends are the outputs."""
    grower = Grower(seed)
    static = grower.draw.random() < 0.5
    inputs = {"image": (2, 3, 6, 6), "sequence": (2, 5, 8), "vector": (2, 8)}
    for name, shape in inputs.items():
        grower.put(name, shape)
    for _ in range(steps):
        grower.step()
    read = {name for node in grower.g.nodes for name in node.input}
    written = [name for node in grower.g.nodes for name in node.output]
    ends = [name for name in written if name not in read] or written[-1:]
    if grower.draw.random() < 0.3:
        ends.append(grower.draw.choice(written))
    batch = 2 if static else "N"
    used = [(name, shape) for name, shape in inputs.items() if name in read]
    return grower.g.model(
        [value(name, [batch, *shape[1:]]) for name, shape in used],
        [
            value(name, [batch, *grower.shapes.get(name, (2, None))[1:]])
            for name in dict.fromkeys(ends)
            if name in grower.shapes
        ],
    )
