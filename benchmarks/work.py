"""What a measured run is made of: the one type that tasks and the child process share. Standard library
alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Facts = dict[str, int | float | str]


@dataclass(frozen=True)
class Work:
    """One side, made ready. ``run`` is what the clock sees; ``amount`` is how much it does, in its entry's
    unit.

    ``facts``, called on what ``run`` returned when the clock stands, gives figures that explain the run.
    Facts of one name that two sides both give are compared, and a difference is reported: it shows that
    both did the same work.
    """

    run: Callable[[], Any]
    amount: float
    facts: Callable[[Any], Facts] = lambda result: {}
