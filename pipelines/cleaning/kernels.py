"""Compiling the inner loops of cleaning: plain Python over arrays that numba turns into machine code."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def compiled(kernel: Callable[..., Any], signature: str) -> Callable[..., Any]:
    """``kernel`` compiled for the types of ``signature``, once per process: under a second from numba's
    on-disk cache, a few seconds where there is none. numba is imported here, so that importing the rules
    stays light.
    """
    import numba

    options: dict[str, Any] = {"nogil": True}
    try:
        function: Callable[..., Any] = numba.njit(signature, cache=True, **options)(kernel)
    except RuntimeError:  # a read-only installation and no home directory: nowhere to keep the compiled code
        function = numba.njit(signature, **options)(kernel)
    return function
