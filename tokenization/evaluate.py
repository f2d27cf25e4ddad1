"""Judge a vocabulary from word counts: what it would make of the corpus, without reading the corpus again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenization.samples import SAMPLE_TEXTS
from tokenization.vocabulary import Vocabulary

RENYI_ALPHA = 2.5  # Zouhar et al. 2023, "Tokenization and the Noiseless Channel": correlates best with BLEU
_RANK_POINTS = 100
_LONGEST = 20
_SHOWN = 60  # characters of a long token; runs of dashes have hundreds
_WORDS_AT_ONCE = 100_000


def evaluate(vocabulary: Vocabulary, counts: pa.Table) -> dict[str, Any]:
    """The figures of ``report.json`` for ``counts`` (columns ``word``, ``count``), words weighted by count.

    ``bytes_per_token``: UTF-8 bytes of the normalised words (a sentencepiece ``▁`` and a byte-level ``Ġ`` are
    one byte; for WordPiece white space is not counted); ``fertility``: tokens a word; ``unk_rate``: share of
    tokens; ``never_used``: ids, special ones aside, that no word uses; ``rank_frequency``: ``[rank, count]``
    of used ids.
    """
    size = vocabulary.size
    usage = np.zeros(size, np.int64)
    total_bytes = total_words = 0
    for batch in counts.to_batches(max_chunksize=_WORDS_AT_ONCE):
        words, weights = batch["word"].to_pylist(), batch["count"].to_numpy()
        ids, offsets = vocabulary.encode_words(words)
        # Exact in 64 bits, where bincount's weights are floats.
        np.add.at(usage, ids, np.repeat(weights, np.diff(offsets)))
        lengths = np.array([surface_bytes(word, vocabulary.kind) for word in words], np.int64)
        total_bytes += int(lengths @ weights)
        total_words += int(weights.sum())
    total_tokens = int(usage.sum())
    special = sorted(vocabulary.special_ids)
    ordinary = np.setdiff1d(np.arange(size), special)
    surfaces = {int(number): surface(vocabulary, int(number)) for number in ordinary}
    longest = sorted(surfaces.values(), key=lambda text: (-len(text), text))[:_LONGEST]
    unk = vocabulary.special.unk
    return {
        "size": size,
        "distinct_words": counts.num_rows,
        "total_words": total_words,
        "bytes_per_token": total_bytes / max(1, total_tokens),
        "fertility": total_tokens / max(1, total_words),
        "unk_rate": 0.0 if unk is None else int(usage[unk]) / max(1, total_tokens),
        "renyi_efficiency": renyi_efficiency(usage),
        "never_used": int((usage[ordinary] == 0).sum()),
        "rank_frequency": rank_frequency(usage),
        "token_length_histogram": {
            str(length): count for length, count in sorted(Counter(map(len, surfaces.values())).items())
        },
        "longest_tokens": [text if len(text) <= _SHOWN else text[:_SHOWN] + "…" for text in longest],
        "samples": [_sample(vocabulary, text) for text in SAMPLE_TEXTS],
    }


def renyi_efficiency(usage: npt.NDArray[np.int64], alpha: float = RENYI_ALPHA) -> float:
    """Rényi entropy of the token distribution over its maximum, log |V| (Zouhar et al. 2023, definitions 3.3
    and 3.6).

    >>> renyi_efficiency(np.array([5, 5, 5, 5]))
    1.0
    """
    total = usage.sum()
    if total == 0 or len(usage) < 2:
        return 0.0
    shares = usage[usage > 0] / total
    entropy = np.log(np.sum(shares**alpha)) / (1 - alpha)
    return float(entropy / np.log(len(usage)))


def rank_frequency(usage: npt.NDArray[np.int64]) -> list[list[int]]:
    """About 100 ``[rank, count]`` points, ranks spaced evenly on a log scale, most used id first.

    >>> rank_frequency(np.array([0, 3, 9]))
    [[1, 9], [2, 3]]
    """
    used = np.sort(usage[usage > 0])[::-1]
    if not len(used):
        return []
    ranks = np.unique(np.round(np.geomspace(1, len(used), _RANK_POINTS)).astype(np.int64))
    return [[int(rank), int(used[rank - 1])] for rank in ranks]


def surface(vocabulary: Vocabulary, number: int) -> str:
    """A token's own characters, without the mark of its place in the word."""
    token = vocabulary.token(number)
    if vocabulary.kind == "wordpiece":
        return token[2:] if token.startswith("##") and len(token) > 2 else token
    if vocabulary.kind == "byte_level_bpe":
        return vocabulary.decode([number])
    return token.replace("▁", " ")


def surface_bytes(word: str, kind: str) -> int:
    """UTF-8 bytes that a counted word stands for."""
    if kind == "byte_level_bpe":
        return len(word)  # a character a byte
    if kind.startswith("sentencepiece"):
        return len(word.encode()) - 2 * word.count("▁")
    return len(word.encode())


def _sample(vocabulary: Vocabulary, text: str) -> dict[str, Any]:
    ids, _ = vocabulary.encode_batch([text])
    if vocabulary.kind == "byte_level_bpe":
        return {"text": text, "tokens": [vocabulary.decode([number]) for number in ids.tolist()]}
    return {"text": text, "tokens": vocabulary.pieces(ids.tolist())}
