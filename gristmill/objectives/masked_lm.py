"""BERT's masked language model (Devlin et al. 2019, section 3.1; ``create_masked_lm_predictions`` of
``bert/create_pretraining_data.py``): an exact number of tokens of every row, uniform without replacement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill import randomness
from gristmill.objectives.special import SpecialTokens

IGNORED = -100


@dataclass(frozen=True)
class MaskedLM:
    """Masks ``min(max_predictions, max(1, round(probability * length)))`` tokens a row.

    ``length`` counts every token of the row, [CLS] and [SEP] too, as in BERT's code; Python's rounding (half
    to even). Of the chosen tokens ``mask_share`` become [MASK], ``random_share`` an id drawn from the whole
    vocabulary, special ids included, and the rest stay. pad, cls, sep, bos, eos and mask tokens are never
    chosen; a row with fewer other tokens than its count has all of them chosen.
    """

    vocab_size: int
    special: SpecialTokens
    length: int
    probability: float = 0.15
    max_predictions: int | None = None
    mask_share: float = 0.8
    random_share: float = 0.1

    name = "masked_lm"

    @property
    def raw_length(self) -> int:
        """Tokens of a stored row, special ones included: those of the model input."""
        return self.length

    def predictions(self, lengths: NDArray[np.integer]) -> NDArray[np.int64]:
        """(B,) tokens to choose in rows of these lengths; 0 for an empty row."""
        counts = np.maximum(np.rint(lengths * np.float64(self.probability)).astype(np.int64), 1)
        if self.max_predictions is not None:
            np.minimum(counts, self.max_predictions, out=counts)
        return np.minimum(counts, lengths.astype(np.int64))

    def __call__(
        self,
        tokens: NDArray[Any],
        lengths: NDArray[np.int32],
        sample_ids: NDArray[np.uint64],
        *,
        seed: int,
        epoch: int,
    ) -> dict[str, NDArray[Any]]:
        """``input_ids`` (B, L) of the tokens' dtype and ``labels`` (B, L) int32, -100 where not chosen."""
        rows, width = tokens.shape
        chosen, row = self._choose(
            tokens, lengths, randomness.sample_keys(seed, "masked_lm.choice", epoch, sample_ids)
        )
        column = chosen - row * width
        originals = np.take(tokens, chosen)
        draws = randomness.draw_u64_at(
            randomness.sample_keys(seed, "masked_lm.replacement", epoch, sample_ids)[row], column
        )
        input_ids = tokens.copy()
        input_ids.reshape(-1)[chosen] = self._replace(originals, draws)
        labels = np.full((rows, width), IGNORED, np.int32)
        labels.reshape(-1)[chosen] = originals
        return {"input_ids": input_ids, "labels": labels}

    def _choose(
        self, tokens: NDArray[Any], lengths: NDArray[np.int32], keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Flat indices into ``tokens`` of the chosen ones, ascending, and the row each is in."""
        maskable = self._maskable(tokens, lengths)
        candidates = np.flatnonzero(maskable)
        sizes = np.count_nonzero(maskable, axis=1).astype(np.int64)
        counts = np.minimum(self.predictions(lengths), sizes)
        marks = np.zeros(len(candidates), np.bool_)
        draws = randomness.draw_u32(keys, int(counts.max(initial=0)))
        randomness.random_subset_marks(draws, sizes, counts, np.cumsum(sizes) - sizes, marks)
        # Several times as fast as candidates[marks].
        chosen = np.take(candidates, np.flatnonzero(marks))
        return chosen, np.repeat(np.arange(len(tokens)), counts)

    def _maskable(self, tokens: NDArray[Any], lengths: NDArray[np.int32]) -> NDArray[np.bool_]:
        special = self.special
        maskable = np.ones(tokens.shape, np.bool_)
        for token in {special.pad, special.cls, special.sep, special.bos, special.eos, special.mask} - {None}:
            maskable &= tokens != token
        if len(lengths) and int(lengths.min()) < tokens.shape[1]:
            maskable &= np.arange(tokens.shape[1]) < lengths[:, None]
        return maskable

    def _replace(self, originals: NDArray[Any], draws: NDArray[np.uint64]) -> NDArray[Any]:
        """What each chosen token becomes: the low 32 bits of its draw decide how, the high ones which random
        id.
        """
        decision = draws & np.uint64(0xFFFFFFFF)
        mask_below = np.uint64(round(self.mask_share * 2**32))
        random_below = np.uint64(round((self.mask_share + self.random_share) * 2**32))
        random_ids = randomness.below(draws >> np.uint64(32), self.vocab_size).astype(originals.dtype)
        mask_id = originals.dtype.type(self.special.mask)
        return np.where(
            decision < mask_below, mask_id, np.where(decision < random_below, random_ids, originals)
        )
