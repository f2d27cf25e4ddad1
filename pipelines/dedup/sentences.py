"""Where sentences end, told from the text alone: for spans of sentences, not for linguistics."""

from __future__ import annotations

import re

from pipelines.cleaning.punctuation import TERMINAL

_MARKS = "".join(map(re.escape, sorted(TERMINAL)))
_CLOSING = re.escape("\"'”’»)]}")
# End marks with what closes behind them, before white space or at the end; CJK marks need no space after them.
_END = re.compile(rf"[{_MARKS}][{_MARKS}{_CLOSING}]*(?=\s|\Z)|[。！？｡][{_CLOSING}]*")


def sentence_ends(text: str) -> list[int]:
    """Places behind each sentence's last character, in order; text after the last end mark is a sentence too.

    A run of several full stops (``...``) ends none, as with spaCy's rule-based sentencizer. Unlike it an abbreviation
    (``Mr. Smith``) ends one. White space belongs to the sentence after it.
    """
    ends = [match.end() for match in _END.finditer(text) if not match.group().startswith("..")]
    if text[ends[-1] if ends else 0 :].strip():
        ends.append(len(text))
    return ends
