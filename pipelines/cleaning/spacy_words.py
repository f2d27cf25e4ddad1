"""Words as datatrove 0.10 has them: the rule-based tokenizer of spaCy's blank language, no model.

spaCy cuts a text at white space first and then each piece by the language's prefixes, suffixes, infixes and special
cases, so a piece can be split on its own and its words remembered. One thing looks across pieces: a last pass finds
special cases of several words (``:``, ``)``), and one that straddles white space can take a word away from one inside
a piece that it overlaps. Of 28,900 English documents not one has such a case (``tests/cleaning/test_spacy_words.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from gristmill.errors import RecipeError

# lid.176's codes whose tokenizer datatrove takes from another language (assets/tokenizer_assignment.csv, the row of
# the script the language is usually written in); spaCy's multi-language one (xx) serves what is written with spaces
# and has none of its own.
_BORROWED = dict(
    pair.split(":")
    for pair in (
        "an:es ay:az bs:sr co:es fy:en ht:xx ie:xx io:xx ia:xx jv:ms kv:xx kw:xx li:nl mg:ms no:nb oc:es rm:fr"
        " ro:xx sc:es sh:sr so:xx su:ms ta:xx te:xx vo:xx wa:fr am:xx av:xx bm:xx ce:xx cv:xx eo:xx ml:xx os:xx az:fa"
        " ba:tt"
    ).split()
)
_OWN = frozenset(
    "af ar bg bn ca cs da de el en es et eu fa fi fo fr ga gu he hi hr hu hy id is it kn ky la lb lt lv mk mr ms nb ne"
    " nl nn pl pt ru sa si sk sl sq sr sv ti tl tn tr tt uk ur yo".split()
)
#: Stands between pieces tokenized together: white space that is in no special case, so that none straddles two.
_BETWEEN = "\n\n"
#: Pieces tokenized together.
_TOGETHER = 2_000
# Written without spaces or cut by a program of its own: datatrove asks jieba, SudachiPy, kiwipiepy, pyvi,
# pythainlp, laonlp, khmer-nltk, botok or pyidaungsu, whose cuts are not a chunk's own affair.
_OTHER = frozenset("zh ja ko vi th lo km bo dz my yue wuu".split())


def tokenizer_name(language: str) -> str:
    """The spaCy language whose rules split text of a language (as lid.176 has it), or "unicode".

    As datatrove where it asks spaCy. Chinese, Japanese, Korean, Vietnamese, Thai, Lao, Khmer, Tibetan and Burmese,
    for which it needs other programs, are split as ``words = "unicode"``; what it leaves to IndicNLP or Stanza is
    split by spaCy's rules for the language, else by the multi-language ones.
    """
    if language in _OTHER:
        return "unicode"
    return _BORROWED.get(language) or (language if language in _OWN else "xx")


@cache
def spacy_splitter(name: str) -> Callable[[Sequence[str]], list[list[str]]]:
    """The splitter of a spaCy language; RecipeError where spaCy is not installed."""
    try:
        import spacy
    except ImportError as error:
        raise RecipeError('clean.words = "spacy" needs spaCy: pip install "gristmill[spacy]"') from error
    language = spacy.blank(name)
    tokenizer = language.tokenizer

    def tokenize(chunks: Sequence[str]) -> list[list[str]]:
        split: list[list[str]] = [[]]
        for token in tokenizer(_BETWEEN.join(chunks)):
            if token.text == _BETWEEN:
                split.append([])
            else:
                split[-1].append(token.text)
        return split

    def split(chunks: Sequence[str]) -> list[list[str]]:
        found = {chunk: [chunk] for chunk in chunks if chunk.isalpha() and _stays_whole(chunk, tokenizer)}
        others = [chunk for chunk in chunks if chunk not in found]
        for start in range(0, len(others), _TOGETHER):
            batch = others[start : start + _TOGETHER]
            with language.memory_zone():  # what spaCy remembers of these words goes at its end
                found.update(zip(batch, tokenize(batch), strict=True))
        return [found[chunk] for chunk in chunks]

    return split


def _stays_whole(chunk: str, tokenizer: Any) -> bool:
    """Whether no rule of a tokenizer touches a chunk, which is quicker seen than carried out."""
    return not (
        chunk in tokenizer.rules
        or tokenizer.prefix_search(chunk)
        or tokenizer.suffix_search(chunk)
        or next(iter(tokenizer.infix_finditer(chunk)), None)
    )
