"""Documents' tokens laid end to end with a separator after each, and cut into rows of one length."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Rows:
    """``tokens`` (R, L), ``length`` (R,) int32 of real tokens in each, ``sample_id`` (R,) uint64, and
    ``extra`` columns by name.
    """

    tokens: npt.NDArray[np.generic]
    length: npt.NDArray[np.int32]
    sample_id: U64
    extra: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)


@dataclass
class Account:
    """What became of the tokens of some documents.

    tokens: what the documents have. special_tokens, padding_tokens: added. reused_tokens: of ``tokens``, those
    written a second time, as the second segment of another document's pair. short_tokens: left out, in rows of
    a single token, which cannot be corrupted. truncated_tokens: cut off pairs too long for a row.
    """

    tokens: int = 0
    special_tokens: int = 0
    padding_tokens: int = 0
    reused_tokens: int = 0
    short_tokens: int = 0
    truncated_tokens: int = 0

    @property
    def positions(self) -> int:
        """Places of rows that these numbers account for."""
        added = self.special_tokens + self.padding_tokens + self.reused_tokens
        return self.tokens + added - self.dropped_tokens

    @property
    def dropped_tokens(self) -> int:
        """Tokens that stand in no row."""
        return self.short_tokens + self.truncated_tokens

    def counts(self) -> dict[str, int]:
        """All numbers by name, ``dropped_tokens`` too."""
        return {**asdict(self), "dropped_tokens": self.dropped_tokens}


def row_id(document: U64, offset: I64) -> U64:
    """A row's id from the id of the document it starts in and the place of its first token there.

    It depends on neither file nor worker, so noise keyed by it is the same wherever the row is made.
    """
    return document + (offset.astype(np.uint64) + np.uint64(1)) * _GOLDEN


class Packer:
    """Cuts a stream of documents into rows ``[prefix] content [suffix]`` of ``length`` tokens.

    Nothing is dropped: what is left of one ``add`` begins the next, and ``finish`` gives the last, padded row.
    ``separator`` (None: none) follows every document.
    """

    def __init__(
        self, length: int, *, separator: int | None, pad: int, dtype: npt.DTypeLike,
        prefix: tuple[int, ...] = (), suffix: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        self.length, self.content = length, length - len(prefix) - len(suffix)
        if self.content < 1:
            raise ValueError(
                f"rows of {length} tokens leave no room beside {len(prefix) + len(suffix)} special ones"
            )
        self.separator, self._pad, self._dtype = separator, pad, np.dtype(dtype)
        self._prefix, self._suffix = prefix, suffix
        self._carry = np.empty(0, self._dtype)
        self._carry_id = np.zeros(1, np.uint64)

    def add(self, ids: npt.NDArray[np.generic], offsets: I64, documents: U64) -> Rows:
        """Full rows from some more documents. ``ids`` flat, ``offsets`` (D+1,), ``documents`` (D,) 64-bit ids.

        A document without tokens leaves no separator either.
        """
        lengths = np.diff(offsets)
        filled = np.flatnonzero(lengths)
        lengths, documents = lengths[filled], documents[filled]
        extra = 0 if self.separator is None else 1
        starts = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths + extra, out=starts[1:])
        stream = np.empty(len(self._carry) + int(starts[-1]), self._dtype)
        stream[: len(self._carry)] = self._carry
        fresh = stream[len(self._carry) :]
        if extra:
            fresh[starts[1:] - 1] = self.separator
            fresh[np.arange(len(ids)) + np.repeat(np.arange(len(lengths)), lengths)] = ids
        else:
            fresh[:] = ids

        rows = len(stream) // self.content
        position = np.arange(rows + 1, dtype=np.int64) * self.content - len(self._carry)
        inside = position >= 0
        sample_id = np.empty(rows + 1, np.uint64)
        sample_id[~inside] = self._carry_id  # only the first row can begin in the carry
        if len(lengths):
            document = np.minimum(
                np.searchsorted(starts, position[inside], side="right") - 1, len(lengths) - 1
            )
            sample_id[inside] = row_id(documents[document], position[inside] - starts[document])
        body = stream[: rows * self.content].reshape(rows, self.content)
        # The row after the last full one is where the carry begins.
        self._carry, self._carry_id = stream[rows * self.content :].copy(), sample_id[rows : rows + 1].copy()
        return self._frame(body, np.full(rows, self.length, np.int32), sample_id[:rows])

    def finish(self) -> Rows:
        """The rest as one padded row, or no row when nothing is left."""
        rest = len(self._carry)
        if not rest:
            return self._frame(
                np.empty((0, self.content), self._dtype), np.empty(0, np.int32), np.empty(0, np.uint64)
            )
        body = np.full((1, self.content), self._pad, self._dtype)
        body[0, :rest] = self._carry
        rows = self._frame(
            body, np.array([rest + len(self._prefix) + len(self._suffix)], np.int32), self._carry_id
        )
        if self._suffix:  # the suffix stands right after the content, padding follows it
            end = len(self._prefix) + rest
            rows.tokens[0, end:] = self._pad
            rows.tokens[0, end : end + len(self._suffix)] = self._suffix
        self._carry = np.empty(0, self._dtype)
        return rows

    def _frame(self, body: npt.NDArray[np.generic], length: npt.NDArray[np.int32], sample_id: U64) -> Rows:
        if not (self._prefix or self._suffix):
            return Rows(body, length, sample_id)
        tokens = np.empty((len(body), self.length), self._dtype)
        tokens[:, : len(self._prefix)] = self._prefix
        tokens[:, len(self._prefix) : len(self._prefix) + self.content] = body
        tokens[:, self.length - len(self._suffix) :] = self._suffix
        return Rows(tokens, length, sample_id)
