"""GPT's language model (Radford et al. 2018, section 3.1): every token is predicted from those before it.

``labels`` are the input ids themselves: the model shifts them by one, as every ``transformers`` class does.
Rows are packed documents with an end token after each. GPT-2 and GPT-3 let attention pass over those ends
(Brown et al. 2020, section 2.4); with ``document_columns`` a model can keep documents apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.objectives.base import IGNORED


@dataclass(frozen=True)
class Causal:
    """Labels every token of a row; there is no noise.

    ``separator``: the id that ends a document. ``document_columns``: also give ``segment_ids``, the number of
    the document within its row from 0, to block attention between documents, and ``position_ids``, which
    begin at 0 with every document (a row that begins inside a document begins at 0 too), and predict no
    document's first token, which comes after another's last. Both are 0 in padding.
    """

    length: int
    separator: int
    document_columns: bool = False

    name = "causal"

    @property
    def raw_length(self) -> int:
        """Tokens of a stored row."""
        return self.length

    def __call__(
        self,
        tokens: NDArray[Any],
        lengths: NDArray[np.int32],
        sample_ids: NDArray[np.uint64],
        *,
        seed: int,
        epoch: int,
    ) -> dict[str, NDArray[Any]]:
        """``input_ids`` (B, L), ``labels`` (B, L) int32, -100 in padding; with ``document_columns`` also
        ``segment_ids`` and ``position_ids`` (B, L) int32.
        """
        columns = np.arange(tokens.shape[1])
        inside = columns < lengths[:, None]
        labels = np.where(inside, tokens, np.int32(IGNORED)).astype(np.int32)
        made = {"input_ids": tokens.copy(), "labels": labels}
        if self.document_columns:
            begins = np.zeros(tokens.shape, np.bool_)
            begins[:, 1:] = tokens[:, :-1] == self.separator
            labels[begins] = IGNORED
            segments = np.cumsum(begins, axis=1, dtype=np.int32)
            starts = np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
            made["segment_ids"] = np.where(inside, segments, np.int32(0))
            made["position_ids"] = np.where(inside, columns - starts, 0).astype(np.int32)
        return made
