"""Score, then decide, then record: what a rule is, and how its thresholds are put to its scores.

A rule turns an analysed batch into named scores, one float64 per document; its bounds say which values are
acceptable. Scores do not depend on the thresholds' outcome, and every bound that is crossed is recorded, not
only the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.cleaning.analysis import Analysis

#: ``(D,)`` float64 per score name. NaN where a score is not defined (a ratio to nothing); NaN fails no bound.
Scores = dict[str, npt.NDArray[np.float64]]

#: Reason of a document that is empty or only white space. Its other scores mean nothing and are not looked
#: at.
EMPTY = "empty"


@dataclass(frozen=True)
class Axis:
    """Where the bins of a score's histogram lie; fixed, so that histograms of different batches can be added
    up.
    """

    low: float
    high: float
    bins: int = 40
    logarithmic: bool = False

    def edges(self) -> list[float]:
        """``bins + 1`` rising edges; a logarithmic axis has one bin from 0 to ``low`` besides."""
        if self.logarithmic:
            return [0.0, *np.geomspace(self.low, self.high, self.bins).round(6).tolist()]
        return [round(float(edge), 6) for edge in np.linspace(self.low, self.high, self.bins + 1)]

    def count(self, values: npt.NDArray[np.float64]) -> list[int]:
        """Values in each bin; those beyond the ends go to the first and last bin, NaN to none."""
        edges = self.edges()
        values = np.clip(values[~np.isnan(values)], edges[0], edges[-1])
        return np.histogram(values, edges)[0].tolist()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Bound:
    """A document fails when ``score < lower`` or ``score > upper``, both strictly; None: no limit on that
    side.
    """

    score: str
    lower: float | None = None
    upper: float | None = None
    axis: Axis = Axis(0.0, 1.0)


class Reason(NamedTuple):
    """A bound that was crossed: ``rule.score``, the document's value, the limit it crossed."""

    rule: str
    value: float
    threshold: float


class Rule(Protocol):
    """Named scores of a batch, and the bounds on them in the order they are recorded."""

    @property
    def name(self) -> str:
        """The name a recipe calls it by."""

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Limits, from the rule's configuration; each names a score."""

    def score(self, analysis: Analysis) -> Scores:
        """All scores named by ``bounds``, each ``(D,)``; a document's do not depend on the rest of the
        batch.
        """


def decide(analysis: Analysis, rules: Sequence[Rule], scores: Sequence[Scores]) -> list[list[Reason]]:
    """For each document every bound it crossed, in the order of rules and bounds; an empty list means it is
    kept.

    ``scores`` are the rules' answers, in the same order. An empty document has the one reason ``empty``: 0
    characters that are not white space, where 1 is the least.
    """
    reasons: list[list[Reason]] = [[] for _ in range(len(analysis))]
    judged = ~analysis.is_empty
    for rule, of_rule in zip(rules, scores, strict=True):
        for bound in rule.bounds:
            values = of_rule[bound.score]
            for limit, crossed in ((bound.lower, np.less), (bound.upper, np.greater)):
                if limit is None:
                    continue
                for place in np.flatnonzero(crossed(values, limit) & judged).tolist():
                    reasons[place].append(
                        Reason(f"{rule.name}.{bound.score}", float(values[place]), float(limit))
                    )
    for place in np.flatnonzero(analysis.is_empty).tolist():
        reasons[place].append(Reason(EMPTY, 0.0, 1.0))
    return reasons


def ratio(counts: npt.NDArray[np.generic], totals: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """``counts / totals`` in float64, NaN where the total is 0."""
    out = np.full(len(totals), np.nan)
    np.divide(counts, totals, out=out, where=totals != 0)
    return out
