"""Keyed draws: pure functions of their key, bijections where promised, uniform by chi-square."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gristmill import randomness

U64 = st.integers(0, 2**64 - 1)


def keys(count: int, purpose: str = "test", seed: int = 7) -> np.ndarray:
    return randomness.sample_keys(seed, purpose, 0, np.arange(count, dtype=np.uint64))


def test_a_key_starts_the_splitmix64_sequence() -> None:
    # First outputs of Vigna's splitmix64.c (https://prng.di.unimi.it/splitmix64.c) from state 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert randomness.draw_u64(np.array([1234567], np.uint64), 4)[0].tolist() == expected


@given(st.lists(U64, min_size=1, max_size=20), st.integers(0, 2**32), st.data())
def test_draws_do_not_depend_on_the_batch(ids: list[int], seed: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(ids))))
    whole = np.array(ids, np.uint64)
    together = randomness.draw_u32(randomness.sample_keys(seed, "a", 3, whole), 5)
    shuffled = randomness.draw_u32(randomness.sample_keys(seed, "a", 3, whole[order]), 5)
    assert (together[order] == shuffled).all()
    alone = randomness.draw_u32(randomness.sample_keys(seed, "a", 3, whole[:1]), 5)
    assert (together[:1] == alone).all()


def test_every_part_of_the_key_matters() -> None:
    ids = np.arange(3, dtype=np.uint64)
    base = randomness.sample_keys(1, "a", 2, ids)
    for other in (
        randomness.sample_keys(2, "a", 2, ids),
        randomness.sample_keys(1, "b", 2, ids),
        randomness.sample_keys(1, "a", 3, ids),
        randomness.sample_keys(1, "a", 2, ids + np.uint64(3)),
    ):
        assert not set(base.tolist()) & set(other.tolist())
    signed = np.array([-5], np.int64)
    assert randomness.sample_keys(1, "a", 2, signed) == randomness.sample_keys(
        1, "a", 2, signed.view(np.uint64)
    )


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    for draw in (randomness.draw_u64, randomness.draw_u32, randomness.draw_u16):
        assert (draw(keys(4), 9)[:, :5] == draw(keys(4), 5)).all()
    rows, counters = np.array([0, 2, 2, 3]), np.array([1, 0, 6, 3])
    assert (
        randomness.draw_u64_at(keys(4)[rows], counters) == randomness.draw_u64(keys(4), 7)[rows, counters]
    ).all()


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_draws_are_uniform(bits: int) -> None:
    draw = {16: randomness.draw_u16, 32: randomness.draw_u32, 64: randomness.draw_u64}[bits]
    values = draw(keys(4000), 64).astype(np.uint64)
    for shift in range(0, bits, 8):  # every byte of every draw
        cells = np.bincount(
            ((values >> np.uint64(shift)) & np.uint64(255)).ravel().astype(int), minlength=256
        )
        assert stats.chisquare(cells).pvalue > 1e-5
    # Neighbours in a row and neighbours in sample id are unrelated.
    top = (values >> np.uint64(bits - 4)).astype(int)
    for pairs in (top[:, :-1] * 16 + top[:, 1:], top[:-1] * 16 + top[1:]):
        assert stats.chisquare(np.bincount(pairs.ravel(), minlength=256)).pvalue > 1e-5


@pytest.mark.parametrize("limit", [2, 3, 10, 30_522])
def test_below_is_uniform(limit: int) -> None:
    values = randomness.below(randomness.draw_u32(keys(2000), 200), limit)
    assert values.min() == 0
    assert values.max() == limit - 1
    bins = np.bincount(values.ravel() * min(limit, 100) // limit)
    expected = np.bincount(np.arange(limit) * min(limit, 100) // limit) / limit * values.size
    assert stats.chisquare(bins, expected).pvalue > 1e-5


@given(st.integers(1, 5000), U64)
@settings(max_examples=60)
def test_permutations_are_bijections(count: int, key: int) -> None:
    everything = np.arange(count)
    assert (np.sort(randomness.keyed_permutation(count, key)) == everything).all()
    image = randomness.permute_index(everything, count, key)
    assert (np.sort(image) == everything).all()
    assert (randomness.permute_index(image, count, key, inverse=True) == everything).all()
    assert randomness.permute_index(everything[-1:], count, key) == image[-1]


@given(st.integers(2**40, 2**62), U64, st.integers(0, 2**40 - 1))
def test_permute_index_of_huge_ranges(count: int, key: int, index: int) -> None:
    image = randomness.permute_index([index], count, key)
    assert 0 <= image[0] < count
    assert randomness.permute_index(image, count, key, inverse=True)[0] == index


def test_permute_index_refuses_what_lies_outside() -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 5\)"):
        randomness.permute_index([5], 5, 0)


def test_permutations_send_everything_everywhere_equally() -> None:
    count, trials = 24, 4000
    for permute in (
        lambda key: randomness.permute_index(np.arange(count), count, key),
        lambda key: randomness.keyed_permutation(count, key),
    ):
        table = np.zeros((count, count), int)
        for trial in range(trials):
            table[np.arange(count), permute(randomness.stream_key(trial, "t"))] += 1
        statistic = ((table - trials / count) ** 2 / (trials / count)).sum()
        assert stats.chi2.sf(statistic, (count - 1) ** 2) > 1e-5


def test_all_orders_of_four_are_equally_likely() -> None:
    orders = dict.fromkeys(itertools.permutations(range(4)), 0)
    for trial in range(6000):
        orders[tuple(randomness.keyed_permutation(4, randomness.stream_key(3, "t", trial)).tolist())] += 1
    assert stats.chisquare(list(orders.values())).pvalue > 1e-5


@given(
    st.lists(st.integers(0, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=30), U64
)
def test_random_subsets_have_their_sizes_and_ignore_their_neighbours(
    shape: list[tuple[int, int]], seed: int
) -> None:
    sizes = np.array([size for size, _ in shape], np.int64)
    counts = np.array([count for _, count in shape], np.int64)
    draws = randomness.draw_u32(keys(len(shape), seed=seed), 12)
    starts = np.cumsum(sizes) - sizes
    marks = np.zeros(int(sizes.sum()), np.bool_)
    randomness.random_subset_marks(draws, sizes, counts, starts, marks)
    for row, (start, size, count) in enumerate(zip(starts, sizes, counts, strict=True)):
        mine = marks[start : start + size]
        assert mine.sum() == count
        alone = np.zeros(size, np.bool_)
        randomness.random_subset_marks(
            draws[row : row + 1], sizes[row : row + 1], counts[row : row + 1], np.zeros(1, np.int64), alone
        )
        assert (alone == mine).all()


def test_all_subsets_are_equally_likely() -> None:
    rows, size, count = 40_000, 6, 3
    marks = np.zeros(rows * size, np.bool_)
    full = np.full(rows, size)
    randomness.random_subset_marks(
        randomness.draw_u32(keys(rows), count), full, np.full(rows, count), np.arange(rows) * size, marks
    )
    subsets = marks.reshape(rows, size) @ (1 << np.arange(size))
    counts = np.unique(subsets, return_counts=True)[1]
    assert len(counts) == 20
    assert stats.chisquare(counts).pvalue > 1e-5


def test_text_id_is_stable() -> None:
    assert randomness.text_id("") == 0x2D06800538D394C2  # xxh3-64 of nothing, from the xxHash test vectors
    assert randomness.text_id("a") != randomness.text_id("b")
