"""What turns token sequences into training examples: pure functions on whole batches with keyed randomness.

An example depends on (seed, epoch, sample id, tokens) alone, never on the batch it is made in.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gristmill.errors import RecipeError
from gristmill.objectives.masked_lm import MaskedLM
from gristmill.objectives.span_corruption import SpanCorruption
from gristmill.objectives.special import SpecialTokens
from gristmill.recipe import MaskedLMConfig, SpanCorruptionConfig

__all__ = ["MaskedLM", "Objective", "SpanCorruption", "SpecialTokens", "make_objective", "token_dtype"]


class Objective(Protocol):
    """A noising function over a batch of rows.

    ``name`` is the recipe's ``kind``; ``raw_length`` the tokens a row should have so that the model input is
    full.
    """

    @property
    def name(self) -> str: ...

    @property
    def raw_length(self) -> int: ...

    def __call__(
        self,
        tokens: NDArray[Any],
        lengths: NDArray[np.int32],
        sample_ids: NDArray[np.uint64],
        *,
        seed: int,
        epoch: int,
    ) -> dict[str, NDArray[Any]]:
        """Make examples from tokens (B, width) uint16 or int32, whose rows hold ``lengths`` (B,) tokens then
        padding.

        ``sample_ids`` (B,) key the noise with ``seed`` and ``epoch``. Returns ``input_ids`` of the tokens'
        dtype, ``labels`` int32 with -100 where there is nothing to predict and, where it differs from
        ``lengths``, ``length`` int32 (B,), the tokens of each input row. The arguments are left unchanged.
        """
        ...


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.int32]:
    """The dtype token ids are stored in: uint16 where every id fits, else int32."""
    return np.uint16 if vocab_size <= 1 << 16 else np.int32


def make_objective(
    config: MaskedLMConfig | SpanCorruptionConfig, *, length: int, special: SpecialTokens, vocab_size: int
) -> Objective:
    """The objective a recipe asks for, over model inputs of ``length`` tokens.

    RecipeError when the vocabulary lacks a special token it needs, or when the numbers cannot work: too short
    a row, nothing to predict, more sentinels needed than there are.
    """
    ids = [*special.sentinels, *(value for value in special.as_dict().values() if isinstance(value, int))]
    if ids and not 0 <= min(ids) <= max(ids) < vocab_size:
        raise RecipeError(f"a special token has id {max(ids)}, but the vocabulary has {vocab_size} ids")
    if isinstance(config, MaskedLMConfig):
        return _masked_lm(config, length, special, vocab_size)
    return _span_corruption(config, length, special)


def _masked_lm(config: MaskedLMConfig, length: int, special: SpecialTokens, vocab_size: int) -> MaskedLM:
    if special.mask is None:
        raise RecipeError("objective masked_lm needs a vocabulary with a mask token; use one of family bert")
    if length < 3:
        raise RecipeError(f"length = {length}: masked_lm needs at least 3, for [CLS], one token and [SEP]")
    if round(length * config.probability) < 1:
        raise RecipeError(
            f"probability = {config.probability}: masks no token of a row of {length}; "
            f"at least {1 / length:.2g} is needed for one"
        )
    return MaskedLM(
        vocab_size=vocab_size,
        special=special,
        length=length,
        probability=config.probability,
        max_predictions=config.max_predictions,
        mask_share=config.mask_share,
        random_share=config.random_share,
    )


def _span_corruption(config: SpanCorruptionConfig, length: int, special: SpecialTokens) -> SpanCorruption:
    if special.eos is None or special.pad is None:
        raise RecipeError(
            "objective span_corruption needs a vocabulary with eos and pad tokens; use one of family t5"
        )
    settings = f"length = {length}, density = {config.density}, mean_span = {config.mean_span}"
    try:
        objective = SpanCorruption(
            special=special, inputs_length=length, density=config.density, mean_span=config.mean_span
        )
    except ValueError as error:
        raise RecipeError(f"{settings}: {error}") from error
    if objective.spans > len(special.sentinels):
        raise RecipeError(
            f"{settings} needs {objective.spans} sentinels a row, the vocabulary has "
            f"{len(special.sentinels)}: learn it with sentinels = {objective.spans}, "
            "or raise mean_span or lower density"
        )
    return objective
