"""datatrove's Gopher filters, in an environment that has datatrove and nothing of ours installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from benchmarks.work import Work


def filters(texts: str, words: Literal["spacy", "ours"]) -> Work:
    """Repetition, then quality on what passed: the order of its FineWeb example. ``words``: who cuts them."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import gopher_quality_filter, gopher_repetition_filter

    if words == "ours":
        from pipelines.cleaning.words import split_unicode

        def split(text: str, language: str) -> list[str]:
            return [word for chunk in text.split() for word in split_unicode(chunk)]

        gopher_quality_filter.split_into_words = gopher_repetition_filter.split_into_words = split
    repetition = gopher_repetition_filter.GopherRepetitionFilter()
    quality = gopher_quality_filter.GopherQualityFilter()
    documents = json.loads(Path(texts).read_text(encoding="utf-8"))
    # Its word tokeniser is loaded at the first document.
    for either in (repetition, quality):
        either.filter(Document(text="It was the best of times.", id="0"))

    def run() -> int:
        made = [Document(text=text, id=str(number)) for number, text in enumerate(documents)]
        return sum(
            repetition.filter(document) is True and quality.filter(document) is True for document in made
        )

    megabytes = sum(len(text.encode()) for text in documents) / 1e6
    name = "kept" if words == "ours" else "kept_by_spacy_words"
    return Work(run, megabytes, lambda kept: {name: kept, "of": len(documents)})
