"""Numbers too small to matter, and slow: off while training, as they were afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Denormal numbers are several times slower on CPUs and add nothing: they count as 0 during a ``with`` block.

    Threads inherit the mode from the one that starts them, so enter before torch has started its own.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
