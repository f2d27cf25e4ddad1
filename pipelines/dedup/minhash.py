"""MinHash signatures and their bands over word shingles (Broder 1997; the bands of Leskovec et al., Mining of Massive
Datasets, section 3.4). Defaults follow FineWeb (Penedo et al. 2024): 5-word shingles, 14 bands of 8 rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xxhash

from gristmill.recipe import MinHashConfig

U64 = npt.NDArray[np.uint64]
_WORD = re.compile(r"\w+")
_GOLDEN, _MIX_1, _MIX_2 = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)
#: Shingles worked on together: the slice and its scratch stay in the second-level cache.
_SHINGLES_AT_ONCE = 1 << 15
#: Distinct words remembered before the table is started anew.
_WORDS_REMEMBERED = 1_000_000


def implied_threshold(config: MinHashConfig) -> float:
    """The Jaccard similarity at which two documents are found with even chance, about ``(1/bands)^(1/rows)``."""
    return float((1 / config.bands) ** (1 / config.rows))


@lru_cache(maxsize=4)
def _multipliers(seed: int, count: int) -> tuple[U64, U64]:
    """Odd multipliers and offsets of ``count`` multiply-shift hashes (Dietzfelbinger et al. 1997)."""
    state = np.arange(1, 2 * count + 1, dtype=np.uint64) * _GOLDEN + np.uint64(seed)
    mixed = _mix(state)
    return mixed[:count] | np.uint64(1), mixed[count:]


def _mix(value: U64) -> U64:
    """The splitmix64 finaliser."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


class MinHasher:
    """Band keys of batches of texts; remembers the hash of each distinct word."""

    def __init__(self, config: MinHashConfig) -> None:
        self.config = config
        self._hashes: dict[str, int] = {}

    def band_keys(self, texts: Sequence[str]) -> tuple[U64, npt.NDArray[np.bool_]]:
        """``(B, bands)`` uint64 keys and ``(B,)`` whether a document has any (fewer words than a shingle: none).

        Words are runs of letters and digits in lower case. Two documents share a band key exactly when all ``rows``
        minima of the band agree (up to 64-bit hash collisions); keys of different bands never meet.
        """
        bands, rows = self.config.bands, self.config.rows
        words, offsets = self._word_hashes(texts)
        shingles, bounds = _shingles(words, offsets, self.config.shingle_words)
        has = np.diff(bounds) > 0
        keys = np.zeros((len(texts), bands), np.uint64)
        if has.any():
            minima = self._minima(shingles, np.append(bounds[:-1][has], len(shingles)))
            banded = minima.reshape(len(minima), bands, rows).astype(np.uint64)
            key = np.broadcast_to(
                _mix((np.arange(bands, dtype=np.uint64) + np.uint64(1)) * _GOLDEN), banded.shape[:2]
            )
            for row in range(rows):
                key = _mix((key ^ banded[:, :, row]) * _GOLDEN)
            keys[has] = key
        return keys, has

    def _word_hashes(self, texts: Sequence[str]) -> tuple[U64, npt.NDArray[np.int64]]:
        if len(self._hashes) > _WORDS_REMEMBERED:
            self._hashes.clear()
        known = self._hashes
        hash_word = xxhash.xxh3_64_intdigest
        out: list[int] = []
        offsets = np.zeros(len(texts) + 1, np.int64)
        for number, text in enumerate(texts):
            words = _WORD.findall(text.lower())
            for word in set(words).difference(known):
                known[word] = hash_word(word.encode())
            out.extend(map(known.__getitem__, words))
            offsets[number + 1] = len(out)
        return np.array(out, dtype=np.uint64), offsets

    def _minima(self, shingles: U64, bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """``(D, bands·rows)`` minima of multiply-shift hashes; every document has at least one shingle."""
        count = self.config.bands * self.config.rows
        multiplier, offset = _multipliers(self.config.seed, count)
        documents = len(bounds) - 1
        out = np.empty((count, documents), np.uint32)
        start = 0
        while start < documents:
            stop = int(np.searchsorted(bounds, bounds[start] + _SHINGLES_AT_ONCE))
            stop = max(start + 1, min(stop, documents))
            part = shingles[bounds[start] : bounds[stop]]
            heads = bounds[start:stop] - bounds[start]
            scratch = np.empty_like(part)
            for number in range(count):
                np.multiply(part, multiplier[number], out=scratch)
                np.add(scratch, offset[number], out=scratch)
                out[number, start:stop] = np.minimum.reduceat(scratch, heads) >> np.uint64(32)
            start = stop
        return np.ascontiguousarray(out.T)


def _shingles(words: U64, offsets: npt.NDArray[np.int64], width: int) -> tuple[U64, npt.NDArray[np.int64]]:
    """Hashes of all ``width``-word windows that lie within one document, and each document's bounds among them."""
    counts = np.maximum(np.diff(offsets) - width + 1, 0)
    bounds = np.zeros(len(offsets), np.int64)
    np.cumsum(counts, out=bounds[1:])
    windows = len(words) - width + 1
    if windows <= 0:
        return np.empty(0, np.uint64), np.zeros(len(offsets), np.int64)
    rolled = words[:windows].copy()
    for step in range(1, width):
        rolled = rolled * _GOLDEN + words[step : step + windows]
    # A window is kept when it ends inside the document it starts in.
    document = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[:windows]
    inside = np.arange(windows) + width <= offsets[1:][document]
    return _mix(rolled[inside]), bounds
