"""A growing table from 64-bit hashes to small numbers, looked up by the array."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.cleaning.kernels import compiled

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FREE = np.int32(-1)


class HashTable:
    """Open addressing, at most half full."""

    def __init__(self) -> None:
        self._held = 0
        self._keys = np.zeros(1 << 10, np.uint64)
        self._values = np.full(1 << 10, _FREE, np.int32)

    def find(self, keys: U64) -> I32:
        """The number of each key, -1 for one that is not there."""
        found: I32 = compiled(find_keys, _FIND_TYPES)(keys, self._keys, self._values)
        return found

    def enter(self, keys: U64, values: I32) -> None:
        """Enter keys that are not there yet, each once."""
        self._held += len(keys)
        if 2 * self._held > len(self._keys):
            old, taken = (self._keys, self._values), self._values != _FREE
            size = 1 << int(4 * self._held - 1).bit_length()
            self._keys, self._values = np.zeros(size, np.uint64), np.full(size, _FREE, np.int32)
            self._put(old[0][taken], old[1][taken])
        self._put(keys, values)

    def _put(self, keys: U64, values: I32) -> None:
        compiled(put_keys, _PUT_TYPES)(keys, values, self._keys, self._values)


_FIND_TYPES = "i4[::1](u8[::1], u8[::1], i4[::1])"
_PUT_TYPES = "void(u8[::1], i4[::1], u8[::1], i4[::1])"


def find_keys(keys: U64, table: U64, values: I32) -> I32:
    """``HashTable.find``."""
    mask = np.uint64(len(table) - 1)
    found = np.empty(len(keys), np.int32)
    for i in range(len(keys)):
        slot = (keys[i] * _GOLDEN >> np.uint64(20)) & mask
        while values[slot] != _FREE and table[slot] != keys[i]:
            slot = (slot + np.uint64(1)) & mask
        found[i] = values[slot]
    return found


def put_keys(keys: U64, numbers: I32, table: U64, values: I32) -> None:
    """``HashTable.enter``, where there is room."""
    mask = np.uint64(len(table) - 1)
    for i in range(len(keys)):
        slot = (keys[i] * _GOLDEN >> np.uint64(20)) & mask
        while values[slot] != _FREE:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = keys[i]
        values[slot] = numbers[i]
