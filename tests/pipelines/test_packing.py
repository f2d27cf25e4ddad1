"""Packing: every token once and in order, and a row's id is its document's and offset's alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.packing import Packer, Rows, row_id

PAD, SEP, CLS = 0, 1, 2
DOCUMENTS = st.lists(st.lists(st.integers(10, 60_000), max_size=40), max_size=12)
FRAMES = st.sampled_from([((), ()), ((CLS,), (SEP,)), ((CLS,), ()), ((), (SEP,)), ((CLS, CLS), (SEP,))])


def pack(packer: Packer, documents: list[list[int]], ids: np.ndarray, cuts: list[int]) -> Rows:
    """Hand the documents over in groups that end at ``cuts``, and all rows together."""
    parts = []
    for start, stop in pairwise([0, *sorted(min(cut, len(documents)) for cut in cuts), len(documents)]):
        group = documents[start:stop]
        offsets = np.cumsum([0, *map(len, group)]).astype(np.int64)
        flat = np.array([token for document in group for token in document], np.uint16)
        parts.append(packer.add(flat, offsets, ids[start:stop]))
    parts.append(packer.finish())
    return Rows(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.length for part in parts]),
        np.concatenate([part.sample_id for part in parts]),
    )


def make(length: int, separator: int | None, frame: tuple[tuple[int, ...], tuple[int, ...]]) -> Packer:
    return Packer(length, separator=separator, pad=PAD, dtype=np.uint16, prefix=frame[0], suffix=frame[1])


def numbered(documents: list[list[int]]) -> np.ndarray:
    return np.array([(7 + place) * 0x9E3779B9 for place in range(len(documents))], np.uint64)


@settings(deadline=None)
@given(
    DOCUMENTS,
    st.integers(4, 30),
    st.sampled_from([None, SEP]),
    FRAMES,
    st.lists(st.integers(0, 12), max_size=4),
)
def test_every_token_lands_once_in_order_and_ids_name_document_and_offset(
    documents: list[list[int]], length: int, separator: int | None,
    frame: tuple[tuple[int, ...], tuple[int, ...]], cuts: list[int],
) -> None:  # fmt: skip
    prefix, suffix = frame
    rows = pack(make(length, separator, frame), documents, numbered(documents), cuts)
    # The plain way: a list of (token, document id, offset), cut to pieces.
    tail = [] if separator is None else [separator]
    stream = [
        (token, number, offset)
        for document, number in zip(documents, numbered(documents), strict=True)
        if document
        for offset, token in enumerate([*document, *tail])
    ]
    content = length - len(prefix) - len(suffix)
    expected, ids = [], []
    for start in range(0, len(stream), content):
        piece = stream[start : start + content]
        expected.append([*prefix, *(token for token, _, _ in piece), *suffix])
        ids.append(row_id(np.array([piece[0][1]], np.uint64), np.array([piece[0][2]]))[0])
    assert rows.tokens.shape == (len(expected), length)
    assert [row[:count].tolist() for row, count in zip(rows.tokens, rows.length, strict=True)] == expected
    assert all((row[count:] == PAD).all() for row, count in zip(rows.tokens, rows.length, strict=True))
    assert rows.sample_id.tolist() == ids
    assert (rows.length[:-1] == length).all()
    assert rows.tokens.dtype == np.uint16


@settings(deadline=None)
@given(
    DOCUMENTS,
    st.integers(4, 30),
    st.lists(st.integers(0, 12), max_size=4),
    st.lists(st.integers(0, 12), max_size=4),
)
def test_rows_do_not_depend_on_how_documents_are_handed_over(
    documents: list[list[int]], length: int, cuts: list[int], other: list[int]
) -> None:
    frame = ((CLS,), (SEP,))
    ours = pack(make(length, SEP, frame), documents, numbered(documents), cuts)
    again = pack(make(length, SEP, frame), documents, numbered(documents), other)
    assert [a.tolist() for a in (ours.tokens, ours.length, ours.sample_id)] == [
        a.tolist() for a in (again.tokens, again.length, again.sample_id)
    ]


def test_a_row_id_does_not_change_with_what_else_is_packed() -> None:
    """Documents that begin a row have the same id in any company."""
    long, other = list(range(100, 120)), list(range(200, 209))
    alone = pack(make(10, SEP, ((), ())), [long], np.array([5], np.uint64), [])
    behind = pack(make(10, SEP, ((), ())), [other, long], np.array([9, 5], np.uint64), [])
    assert behind.sample_id[1:].tolist() == alone.sample_id.tolist()


def test_row_ids_of_different_places_differ() -> None:
    documents = np.repeat(np.arange(200, dtype=np.uint64), 500)
    offsets = np.tile(np.arange(500), 200)
    assert len(np.unique(row_id(documents, offsets))) == len(documents)


def test_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="leave no room"):
        make(2, SEP, ((CLS,), (SEP,)))
