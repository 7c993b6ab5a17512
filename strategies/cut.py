"""The cheapest of two sides for every variable, where neighbours on different sides cost: a minimum cut.

Minimising Σ_v gain_v·x_v + Σ_(u,v) weight_uv·|x_u - x_v| over x ∈ {0, 1} with weights ≥ 0 is a minimum cut (Picard &
Ratliff 1975; Greig, Porteous & Seheult 1989), found here by augmenting along shortest paths in levels (Dinic 1970).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)

_NOTHING = 1e-12


def cheapest(price: Mapping[Name, float], borders: Iterable[tuple[Name, Name, float]]) -> frozenset[Name]:
    """The variables to set to 1 so that the sum is least; of several such sets the smallest.

    Args:
        price: Variable → what setting it to 1 costs (negative: gains). Infinite prices fix a variable.
        borders: (u, v, weight ≥ 0): what it costs when just one of the two is 1. Both must have a price.
    """
    place = {name: index + 2 for index, name in enumerate(price)}
    network = _Network(len(place) + 2)
    bound = 1.0 + sum(abs(value) for value in price.values() if abs(value) < float("inf"))
    kept = list(borders)
    bound += sum(weight for _, _, weight in kept)
    for name, value in price.items():
        value = max(-bound, min(bound, value))
        if value < 0:
            network.connect(_SOURCE, place[name], -value, 0.0)
        elif value > 0:
            network.connect(place[name], _SINK, value, 0.0)
    for one, other, weight in kept:
        if weight > 0 and one != other:
            network.connect(place[one], place[other], weight, weight)
    reached = network.saturate()
    return frozenset(name for name, index in place.items() if reached[index])


_SOURCE, _SINK = 0, 1


class _Network:
    def __init__(self, nodes: int) -> None:
        self._edges: list[list[int]] = [[] for _ in range(nodes)]
        self._to: list[int] = []
        self._left: list[float] = []

    def connect(self, one: int, other: int, forth: float, back: float) -> None:
        for start, end, capacity in ((one, other, forth), (other, one, back)):
            self._edges[start].append(len(self._to))
            self._to.append(end)
            self._left.append(capacity)

    def saturate(self) -> list[bool]:
        """Send all that fits from source to sink; which nodes the source then still reaches."""
        while True:
            level = self._levels()
            if level[_SINK] < 0:
                return [depth >= 0 for depth in level]
            following = [0] * len(self._edges)
            while self._augment(level, following) > _NOTHING:
                pass

    def _levels(self) -> list[int]:
        level = [-1] * len(self._edges)
        level[_SOURCE] = 0
        queue = deque([_SOURCE])
        while queue:
            node = queue.popleft()
            for edge in self._edges[node]:
                if self._left[edge] > _NOTHING and level[self._to[edge]] < 0:
                    level[self._to[edge]] = level[node] + 1
                    queue.append(self._to[edge])
        return level

    def _augment(self, level: list[int], following: list[int]) -> float:
        """One path that goes down level by level, without recursion: graphs can be hundreds of layers deep."""
        path: list[int] = []
        node = _SOURCE
        while node != _SINK:
            edges = self._edges[node]
            while following[node] < len(edges):
                edge = edges[following[node]]
                if self._left[edge] > _NOTHING and level[self._to[edge]] == level[node] + 1:
                    break
                following[node] += 1
            else:
                if not path:
                    return 0.0
                last = path.pop()
                node = self._to[last ^ 1]
                following[node] += 1
                continue
            path.append(edges[following[node]])
            node = self._to[path[-1]]
        flow = min(self._left[edge] for edge in path)
        for edge in path:
            self._left[edge] -= flow
            self._left[edge ^ 1] += flow
        return flow
