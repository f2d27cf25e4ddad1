"""When the noising runs as machine code: numba's compilation of ``kernels``, with the same bits as NumPy.

Compiling takes seconds on a machine that never did it (a tenth of one from numba's cache afterwards, and the
import of numba half a second more), which small work does not earn back. So a process begins with NumPy and
compiles when it has seen ``COMPILE_AFTER`` tokens: by then NumPy has taken about as long as compiling will,
so that no run takes more than twice what the better choice would have taken. Since both give the same bits it
does not matter when the change happens. Where numba cannot compile (no cache folder, no LLVM for the machine,
``NUMBA_DISABLE_JIT``), NumPy simply goes on, and says so once.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

#: Tokens a process noises with NumPy before it compiles: half a million rows of 512, two to eight seconds.
COMPILE_AFTER = 1 << 28


class _State:
    """What this process has seen. ``forced``: True or False where somebody decided."""

    tokens = 0
    forced: bool | None = None
    broken = False


def run(kernel: str, tokens: int, *arguments: Any) -> bool:
    """Call a function of ``kernels`` if it should be compiled; False when NumPy is to do the work instead.

    ``tokens``: how many this call would noise. A kernel that failed to compile has written nothing that
    the NumPy way does not write again.
    """
    state = _State
    state.tokens += tokens
    if state.broken or state.forced is False or (state.forced is None and state.tokens < COMPILE_AFTER):
        return False
    try:
        import numba

        from gristmill.objectives import kernels

        if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            state.broken = True
            return False
        getattr(kernels, kernel)(*arguments)
    except Exception as error:  # whatever numba, LLVM or the cache folder have to say
        state.broken = True
        reason = str(error).strip().splitlines()
        warnings.warn(
            f"objectives stay with NumPy, numba cannot compile here: {reason[0] if reason else type(error).__name__}",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


@contextlib.contextmanager
def forced(compiled: bool) -> Iterator[None]:
    """Compile at once, or never, during a ``with`` block."""
    before = _State.forced
    _State.forced = compiled
    try:
        yield
    finally:
        _State.forced = before
