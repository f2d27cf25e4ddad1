"""Training examples as people read them: each token's text and what an objective did to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tokenization.vocabulary import Vocabulary

IGNORED = -100
Kind = Literal["plain", "mask", "random", "kept", "sentinel", "special"]
Piece = dict[str, str]


def token_text(vocabulary: Vocabulary, token: int) -> str:
    """A token's text as it stands in a sentence, with a leading space where a word begins."""
    text = vocabulary.token(token)
    if token in vocabulary.special_ids:
        return f" {text}"
    if vocabulary.kind == "wordpiece":
        return text[2:] if text.startswith("##") and len(text) > 2 else f" {text}"
    if vocabulary.kind.startswith("sentencepiece"):
        return text.replace("▁", " ")
    return vocabulary.decode([token])


def render_masked(vocabulary: Vocabulary, input_ids: Sequence[int], labels: Sequence[int]) -> dict[str, Any]:
    """A masked-LM example: ``original`` text, ``input`` pieces by kind, ``target`` pieces (the labels in order).

    ``labels`` hold -100 where nothing is predicted. A predicted position is ``mask``, ``random`` or ``kept`` by what
    stands in its place.
    """
    pieces: list[Piece] = []
    for token, label in zip(input_ids, labels, strict=True):
        kind: Kind = "special" if token in vocabulary.special_ids else "plain"
        if label != IGNORED:
            kind = "mask" if token == vocabulary.special.mask else "kept" if token == label else "random"
        pieces.append({"text": token_text(vocabulary, token), "kind": kind})
    restored = [token if label == IGNORED else label for token, label in zip(input_ids, labels, strict=True)]
    target: list[Piece] = [
        {"text": token_text(vocabulary, label), "kind": "plain"} for label in labels if label != IGNORED
    ]
    return {"original": _plain_text(vocabulary, restored), "input": pieces, "target": target}


def render_spans(vocabulary: Vocabulary, input_ids: Sequence[int], labels: Sequence[int]) -> dict[str, Any]:
    """A span-corruption example: ``original`` text, ``input`` and ``target`` pieces with their sentinels.

    ``input_ids`` without padding; ``labels`` may end in -100.
    """
    target = [label for label in labels if label != IGNORED]
    sentinels = set(vocabulary.special.sentinels)
    spans: dict[int, list[int]] = {}
    current: list[int] = []
    for token in target[:-1] if target and target[-1] == vocabulary.special.eos else target:
        if token in sentinels:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    restored = [
        token for place in input_ids for token in (spans.get(place, []) if place in sentinels else [place])
    ]
    return {
        "original": _plain_text(vocabulary, restored),
        "input": _sentinel_pieces(vocabulary, input_ids),
        "target": _sentinel_pieces(vocabulary, target),
    }


def render_sequence(vocabulary: Vocabulary, input_ids: Sequence[int]) -> dict[str, Any]:
    """A row that no objective touched yet."""
    return {
        "original": _plain_text(vocabulary, input_ids),
        "input": _sentinel_pieces(vocabulary, input_ids),
        "target": [],
    }


def _sentinel_pieces(vocabulary: Vocabulary, tokens: Sequence[int]) -> list[Piece]:
    sentinels = set(vocabulary.special.sentinels)
    return [
        {
            "text": token_text(vocabulary, token),
            "kind": "sentinel"
            if token in sentinels
            else "special"
            if token in vocabulary.special_ids
            else "plain",
        }
        for token in tokens
    ]


def _plain_text(vocabulary: Vocabulary, tokens: Sequence[int]) -> str:
    return "".join(token_text(vocabulary, token) for token in tokens).strip()
