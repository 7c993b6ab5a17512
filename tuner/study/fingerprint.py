"""What a study is of: the content of the model, the eval file and the calibration inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ChangedInputsError

_REMEDY = "Start anew with --fresh, or give another --out."
_WORDS = {"model": "the model", "evaluation": "the eval file", "calibration": "the calibration inputs"}
_SELECTION = "what is asked of calibration (--calibration-samples, --calibration-select, --data-free)"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """sha256 (hex) of each input; "" where it is not known (yet), which agrees with anything.

    Attributes:
        selection: Which of the calibration inputs are used, in words; "" for all of them.
    """

    model: str
    evaluation: str
    calibration: str = ""
    selection: str = ""

    def to_json(self) -> dict[str, str]:
        """A JSON-able form; equal for equal inputs, so that siblings are known by it."""
        hashes = {name: getattr(self, name) for name in _WORDS}
        return {**hashes, "selection": self.selection} if self.selection else hashes

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fingerprint:
        """The inverse of `to_json`."""
        return cls(**{name: str(data.get(name, "")) for name in (*_WORDS, "selection")})

    def changed(self, now: Fingerprint) -> list[str]:
        """Words for what differs between this and another."""
        pairs = {word: (getattr(self, name), getattr(now, name)) for name, word in _WORDS.items()}
        words = [word for word, (then, today) in pairs.items() if then and today and then != today]
        return words if self.selection == now.selection else [*words, _SELECTION]

    def require_same(self, now: Fingerprint, study: str, remedy: str = _REMEDY) -> None:
        """Refuse to go on with other inputs than the study's.

        Args:
            now: The inputs given today.
            study: Where the study is, for the message.
            remedy: What to do about it, a sentence.

        Raises:
            ChangedInputsError: It names what changed and tells of `--fresh`.
        """
        words = self.changed(now)
        if words:
            have = "have" if len(words) > 1 or words == [_WORDS["calibration"]] else "has"
            raise ChangedInputsError(
                f"{' and '.join(words)} {have} changed since the study in {study} began: its scores no longer hold.\n"
                f"{remedy}"
            )


class FeedHasher:
    """sha256 of a stream of feeds: names, types, shapes and bytes, in order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, feed: Mapping[str, np.ndarray]) -> None:
        """Add one feed."""
        for name in sorted(feed):
            array = np.asarray(feed[name])
            self._hash.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            if array.dtype.hasobject:  # strings: no buffer to hash
                self._hash.update("\0".join(map(str, array.ravel().tolist())).encode())
            else:
                self._hash.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
        self._hash.update(b"\n")

    def hexdigest(self) -> str:
        """The sum so far."""
        return self._hash.hexdigest()


def hash_feeds(feeds: Iterable[Mapping[str, np.ndarray]]) -> str:
    """sha256 (hex) of feeds."""
    hasher = FeedHasher()
    for feed in feeds:
        hasher.update(feed)
    return hasher.hexdigest()
