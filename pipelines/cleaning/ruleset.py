"""The rules of one recipe, put to batches of documents."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gristmill.recipe import CleanConfig
from pipelines.cleaning.analysis import Analysis, Analyzer
from pipelines.cleaning.language import Language
from pipelines.cleaning.registry import make_rule
from pipelines.cleaning.rules import EMPTY, Rule, Scores, decide


class RuleSet:
    """Rules in the recipe's order, over one analyzer. Make it with ``shared``: the analyzer's memory is worth
    keeping.
    """

    #: One per configuration and process, made when first asked for.
    _made: ClassVar[dict[str, RuleSet]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, config: CleanConfig) -> None:
        """RecipeError for a rule that does not exist or an option that is wrong."""
        self.rules: list[Rule] = [make_rule(name, options) for name, options in config.rules.items()]
        self._analyzer = Analyzer(config.words)

    @classmethod
    def shared(cls, config: CleanConfig) -> RuleSet:
        """The process's rule set for a configuration."""
        key = config.model_dump_json(include={"words", "rules"})
        with cls._lock:
            if key not in cls._made:
                cls._made[key] = cls(config)
            return cls._made[key]

    @property
    def names(self) -> list[str]:
        """Every rule name a reason can carry, in the order reasons are recorded."""
        return [EMPTY, *(f"{rule.name}.{bound.score}" for rule in self.rules for bound in rule.bounds)]

    def judge(self, texts: Sequence[str]) -> Judgement:
        """Scores and reasons of a batch."""
        analysis = self._analyzer.analyze(texts)
        scores = [rule.score(analysis) for rule in self.rules]
        reasons = [[reason._asdict() for reason in found] for found in decide(analysis, self.rules, scores)]
        languages: Sequence[str | None] = [None] * len(texts)
        language_scores: Sequence[float | None] | npt.NDArray[np.float32] = [None] * len(texts)
        if any(isinstance(rule, Language) for rule in self.rules):
            languages, language_scores = analysis.languages
        return Judgement(reasons, languages, language_scores, analysis, self.rules, scores)


@dataclass(frozen=True)
class Judgement:
    """What the rules say of a batch of D documents.

    ``reasons``: D lists of ``{"rule", "value", "threshold"}``, empty for a document that passed.
    ``languages`` and ``language_scores`` (float32): D each, None where the recipe has no language rule.
    ``scores``: one dict per rule.
    """

    reasons: list[list[dict[str, Any]]]
    languages: Sequence[str | None]
    language_scores: Sequence[float | None] | npt.NDArray[np.float32]
    analysis: Analysis
    rules: Sequence[Rule]
    scores: Sequence[Scores]

    def histograms(self, skip: Collection[int] = ()) -> dict[str, dict[str, Any]]:
        """``{rule.score: {"edges", "counts", "lower", "upper"}}`` over the documents that are not empty nor
        in ``skip``.

        Edges are fixed by the rules, so counts of several batches can be added up.
        """
        shown = ~self.analysis.is_empty
        shown[list(skip)] = False
        return {
            f"{rule.name}.{bound.score}": {
                "edges": bound.axis.edges(),
                "counts": bound.axis.count(scores[bound.score][shown]),
                "lower": bound.lower,
                "upper": bound.upper,
            }
            for rule, scores in zip(self.rules, self.scores, strict=True)
            for bound in rule.bounds
        }
