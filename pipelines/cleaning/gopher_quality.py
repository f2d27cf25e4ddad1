"""Gopher's document quality rules (Rae et al. 2021, Appendix A.1.1, arXiv 2112.11446), as datatrove 0.10.1
reads them.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from gristmill.recipe import Section
from pipelines.cleaning.analysis import Analysis
from pipelines.cleaning.rules import Axis, Bound, Scores, ratio

_BULLETS = ("•", "-")
_ELLIPSES = ("...", "…")


class GopherQualityConfig(Section):
    """Limits; all comparisons are strict, null switches a limit off. The paper's values unless said
    otherwise.

    - words that are not symbols: 50 to 100,000; their mean length: 3 to 10 characters;
    - ``#``, and likewise ``...`` with ``…``, per word (symbols included): at most 0.1;
    - lines that begin with a bullet (``•``, ``-``): at most 0.9; lines that end with an ellipsis: at most
      0.3;
    - words with an alphabetic character: at least 0.8 of all words (symbols included);
    - at least 2 distinct ones of eight stop words, letter case as given (datatrove counts distinct ones, as
      the paper says; dolma counts occurrences).
    """

    min_words: float | None = 50
    max_words: float | None = 100_000
    min_mean_word_length: float | None = 3
    max_mean_word_length: float | None = 10
    max_hash_ratio: float | None = 0.1
    max_ellipsis_ratio: float | None = 0.1
    max_bullet_line_frac: float | None = 0.9
    max_ellipsis_line_frac: float | None = 0.3
    min_alphabetic_word_frac: float | None = 0.8
    min_stop_words: float | None = 2
    stop_words: tuple[str, ...] = Field(
        ("the", "be", "to", "of", "and", "that", "have", "with"),
        max_length=64,
        description="Of the document's language.",
    )


class GopherQuality:
    """Rule ``gopher_quality``."""

    name = "gopher_quality"
    Config = GopherQualityConfig

    def __init__(self, config: GopherQualityConfig) -> None:
        self.config = config

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Limits in datatrove's order."""
        config = self.config
        return (
            Bound("words", config.min_words, config.max_words, Axis(1, 1e6, 36, logarithmic=True)),
            Bound("mean_word_length", config.min_mean_word_length, config.max_mean_word_length, Axis(0, 20)),
            Bound("hash_ratio", upper=config.max_hash_ratio, axis=Axis(0, 0.4)),
            Bound("ellipsis_ratio", upper=config.max_ellipsis_ratio, axis=Axis(0, 0.4)),
            Bound("bullet_line_frac", upper=config.max_bullet_line_frac),
            Bound("ellipsis_line_frac", upper=config.max_ellipsis_line_frac),
            Bound("alphabetic_word_frac", config.min_alphabetic_word_frac),
            Bound("stop_words", config.min_stop_words, axis=Axis(0, max(8, len(config.stop_words)), bins=8)),
        )

    def score(self, analysis: Analysis) -> Scores:
        """All scores, exact for every document."""
        return score(analysis, self.config)


def score(analysis: Analysis, config: GopherQualityConfig) -> Scores:
    """The scores named in ``GopherQuality.bounds``, each ``(D,)`` float64.

    ``words`` counts words that are not symbols (any character outside ``punctuation.PUNCTUATION``);
    ``mean_word_length`` is theirs, in characters; every other ratio is to all words. Lines are
    ``str.splitlines()``.
    """
    is_word = ~analysis.is_symbol
    words = analysis.sum_by_document(is_word)
    every = analysis.words_per_document
    hashes = [text.count("#") for text in analysis.texts]
    ellipses = [text.count("...") + text.count("…") for text in analysis.texts]
    line_counts = np.array([_line_counts(text) for text in analysis.texts], np.int64).reshape(-1, 3)
    bullets, endings, lines = line_counts.T
    return {
        "words": words.astype(np.float64),
        "mean_word_length": ratio(analysis.sum_by_document(analysis.word_lengths * is_word), words),
        "hash_ratio": ratio(np.array(hashes, np.int64), every),
        "ellipsis_ratio": ratio(np.array(ellipses, np.int64), every),
        "bullet_line_frac": ratio(bullets, lines),
        "ellipsis_line_frac": ratio(endings, lines),
        "alphabetic_word_frac": ratio(analysis.sum_by_document(analysis.has_letter), every),
        "stop_words": analysis.count_distinct(config.stop_words).astype(np.float64),
    }


def _line_counts(text: str) -> tuple[int, int, int]:
    """Lines that begin with a bullet, lines that end with an ellipsis, all lines."""
    lines = text.splitlines()
    # The look at the whole text first spares most documents one or both loops.
    bullets = sum(line.lstrip().startswith(_BULLETS) for line in lines) if "•" in text or "-" in text else 0
    endings = sum(line.rstrip().endswith(_ELLIPSES) for line in lines) if "..." in text or "…" in text else 0
    return bullets, endings, len(lines)
