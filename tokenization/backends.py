"""Who turns texts into ids: ``tokenizers`` and ``sentencepiece``, and a faster package where one is installed
and exact.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import sentencepiece
from tokenizers import Tokenizer

from tokenization.samples import SAMPLE_TEXTS

Ids = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]

_TOKENS_A_TEXT = 500  # of a check over the whole vocabulary


class Backend(Protocol):
    """Turns texts into ids. A faster one must give the ids ``tokenizers`` gives; see :func:`checked`."""

    def encode(self, texts: list[str]) -> tuple[Ids, Offsets]:
        """Ids of all texts in a row, without special tokens, and each text's offset in them (n + 1)."""


class HuggingFaceBackend:
    """``tokenizers`` itself: what a WordPiece or byte-level BPE vocabulary means."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        # Text is text: a "[SEP]" that somebody wrote is not a separator.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer

    def encode(self, texts: list[str]) -> tuple[Ids, Offsets]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return flatten([encoding.ids for encoding in encodings])


class SentencePieceBackend:
    """``sentencepiece`` itself: what a ``spiece.model`` means. Text is never a sentinel or control piece.

    Unigram: sentencepiece adds up scores in 32 bits over the whole text, ``tokenizers`` in 64 bits word by
    word. Where two ways to cut a word have (nearly) equal scores they may choose differently: one document in
    a thousand, by a token.
    """

    def __init__(self, processor: sentencepiece.SentencePieceProcessor) -> None:
        self._processor = processor

    def encode(self, texts: list[str]) -> tuple[Ids, Offsets]:
        arrays = self._processor.encode(texts, return_type="numpy", num_threads=-1 if _parallel() else 1)
        return flatten(arrays)


class NanotokenBackend:
    """``nanotoken``: WordPiece 30 to 60 times as fast as ``tokenizers`` (80-160 MB/s on one core), an
    optional package.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        # Without added tokens and template it has nothing but text to look for.
        plain = json.loads(tokenizer.to_str()) | {"added_tokens": [], "post_processor": None}
        nanotoken: Any = importlib.import_module("nanotoken")
        self._tokenizer = nanotoken.Tokenizer(Tokenizer.from_str(json.dumps(plain)))

    def encode(self, texts: list[str]) -> tuple[Ids, Offsets]:
        ragged = self._tokenizer.encode_batch(texts, add_special_tokens=False, parallel=_parallel())
        return np.asarray(ragged.ids, np.uint32), np.asarray(ragged.offsets, np.int64)


def fast_wordpiece(tokenizer: Tokenizer, reference: Backend, tokens: list[str], directory: str) -> Backend:
    """The fast backend for WordPiece where it is installed and exact, else ``reference``."""
    if importlib.util.find_spec("nanotoken") is None:
        return reference
    try:
        backend = NanotokenBackend(tokenizer)
    except Exception as error:  # a young package: whatever it says, tokenizers can do it
        warnings.warn(
            f"{directory}: nanotoken cannot load it ({error}); encoding by tokenizers, slower", stacklevel=3
        )
        return reference
    whole = [" ".join(tokens[i : i + _TOKENS_A_TEXT]) for i in range(0, len(tokens), _TOKENS_A_TEXT)]
    return checked(backend, reference, [*SAMPLE_TEXTS, *whole], directory)


def checked(fast: Backend, reference: Backend, texts: Sequence[str], directory: str) -> Backend:
    """The fast backend if it encodes ``texts`` as the reference does, else the reference, with a warning."""
    (ids, offsets), (expected_ids, expected_offsets) = fast.encode(list(texts)), reference.encode(list(texts))
    if np.array_equal(ids, expected_ids) and np.array_equal(offsets, expected_offsets):
        return fast
    warnings.warn(
        f"{directory}: {type(fast).__name__} and {type(reference).__name__} disagree on sample texts; "
        "encoding by tokenizer.json, slower",
        stacklevel=4,
    )
    return reference


def flatten(rows: Sequence[Sequence[int] | npt.NDArray[Any]]) -> tuple[Ids, Offsets]:
    """Rows of ids as one flat array and offsets (n + 1)."""
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    ids = np.empty(offsets[-1], np.uint32)
    for row, begin, end in zip(rows, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        ids[begin:end] = row
    return ids, offsets


def _parallel() -> bool:
    """False where tokenizers has been told to use one thread, as pipeline workers are."""
    return os.environ.get("TOKENIZERS_PARALLELISM", "true").lower() not in ("false", "0", "off", "no")
