"""What datatrove's own filters (0.10.1) say of documents. Runs in an environment of its own, where datatrove
and spaCy are installed (``pip install datatrove==0.10.1 spacy nltk regex``), and needs nothing of ours:

    python tests/cleaning/datatrove_decisions.py DOCUMENTS.jsonl DECISIONS.jsonl

A line in: ``{"text", "language"}`` (a code datatrove knows: en, de ...). A line out: the reason of each
filter, null for a document it lets pass, and xxh3-64 (hex) of the texts that C4 and the PII formatter make.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache, lru_cache

import xxhash
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4BadWordsFilter,
    C4ParagraphFilter,
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.pipeline.formatters.pii import PIIFormatter
from datatrove.utils.text import split_into_words

#: The words the bad-words filter is given: ordinary ones, some of several words or with marks.
BAD_WORDS = ["license", "new testament", "c++", "x11", "götter", "ночь", "über", "$home"]


@cache
def filters(language: str) -> dict[str, object]:
    """datatrove's filters for a language, by our name."""
    bad = C4BadWordsFilter(default_language="en")
    words = "|".join(map(re.escape, BAD_WORDS))
    bad._badwords_regex["en"] = re.compile(rf"(?:\W|^)({words})(?:\W|$)")  # no list is fetched
    return {
        "gopher_repetition": GopherRepetitionFilter(language=language),
        "gopher_quality": GopherQualityFilter(language=language),
        "fineweb": FineWebQualityFilter(language=language),
        "c4": C4QualityFilter(language=language),
        "c4_any_line_end": C4QualityFilter(language=language, filter_no_terminal_punct=False),
        "c4_paragraphs": C4ParagraphFilter(),
        "badwords": bad,
    }


def decisions(text: str, language: str) -> dict[str, str | None]:
    """Each filter's reason on the document as it came."""
    found: dict[str, str | None] = {}
    for name, judge in filters(language).items():
        document = Document(text=text, id="0")
        answer = judge.filter(document)  # type: ignore[attr-defined]
        found[name] = None if answer is True else answer[1]
        if name.startswith("c4") and answer is True:
            found[f"{name}_text"] = xxhash.xxh3_64_hexdigest(document.text.encode("utf-8", "surrogatepass"))
    hidden = PIIFormatter(email_replacement="E", ip_replacement="I").format(text)
    found["pii_text"] = xxhash.xxh3_64_hexdigest(hidden.encode("utf-8", "surrogatepass"))
    return found


def main(source: str, target: str) -> None:
    """Decide on every line of ``source``."""
    # The same words are asked for three times: remembered, they are the same and come sooner.
    remembered = lru_cache(maxsize=1)(split_into_words)
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        module.split_into_words = remembered
    with open(source, encoding="utf-8") as lines, open(target, "w", encoding="utf-8") as out:
        for line in lines:
            row = json.loads(line)
            out.write(json.dumps(decisions(row["text"], row["language"]), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
