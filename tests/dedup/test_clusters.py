"""From shared keys to clusters and keepers, against slow and obvious ways."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill import storage
from pipelines import staging as names
from pipelines.arrow_files import read_arrow, write_arrow
from pipelines.dedup.clusters import ROW_BITS, components, keepers, star_edges
from pipelines.dedup.decide import write_verdicts
from pipelines.score_split import SCORED_SCHEMA

NUMBERS = st.integers(0, 2**50)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS).filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=40)
#: Few distinct numbers, so that edges meet.
FEW = st.lists(st.tuples(st.integers(0, 12), st.integers(20, 32)), min_size=1, max_size=30)


def reachable(edges: list[tuple[int, int]]) -> list[set[int]]:
    """Components by walking from every node, the slow way."""
    near: dict[int, set[int]] = defaultdict(set)
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    found: list[set[int]] = []
    for start in sorted(near):
        if any(start in each for each in found):
            continue
        seen, ahead = {start}, [start]
        while ahead:
            for node in near[ahead.pop()] - seen:
                seen.add(node)
                ahead.append(node)
        found.append(seen)
    return found


@settings(deadline=None)
@given(edges=st.one_of(PAIRS, FEW))
def test_components_and_keepers_agree_with_a_walk(edges: list[tuple[int, int]]) -> None:
    documents, component = components(np.array(edges, np.int64))
    groups = defaultdict(set)
    for document, label in zip(documents.tolist(), component.tolist(), strict=True):
        groups[label].add(document)
    expected = reachable(edges)
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, expected))
    assert documents.tolist() == sorted(set(itertools.chain(*edges)))

    rank = np.array([document * 7919 % 5 for document in documents.tolist()], np.uint64)  # with ties
    keeper, size = keepers(documents, component, rank)
    first = {member: min((m * 7919 % 5, m) for m in group)[1] for group in expected for member in group}
    sizes = {member: len(group) for group in expected for member in group}
    assert dict(zip(documents.tolist(), keeper.tolist(), strict=True)) == first
    assert dict(zip(documents.tolist(), size.tolist(), strict=True)) == sizes


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 4), st.integers(0, 15)), max_size=40
    ),
    seed=st.integers(0, 99),
)
def test_star_edges_join_just_what_shares_a_key(rows: list[tuple[int, int, int, int]], seed: int) -> None:
    ranks = {document: rank for _, _, rank, document in rows}  # a document has one rank
    rows = [(high, low, ranks[document], document) for high, low, _, document in rows]

    def edges(given_rows: list[tuple[int, int, int, int]]) -> pa.RecordBatch:
        columns = np.array(given_rows, np.int64).reshape(-1, 4).T
        keys = [columns[0].astype(np.uint64), columns[1].astype(np.uint64)]
        return star_edges(keys, columns[2].astype(np.uint64), columns[3])

    groups: dict[tuple[int, int], set[int]] = defaultdict(set)
    for high, low, _, document in rows:
        groups[high, low].add(document)
    expected = set()
    for group in groups.values():
        head = min(group, key=lambda document: (ranks[document], document))
        expected |= {(head, ranks[head], document, ranks[document]) for document in group - {head}}
    found = edges(rows)
    assert [tuple(row.values()) for row in found.to_pylist()] == sorted(
        expected, key=lambda edge: (edge[0], edge[2])
    )
    order = np.random.default_rng(seed).permutation(len(rows))
    assert edges([rows[place] for place in order]).equals(found)


def test_a_group_of_any_size_gives_a_star_and_not_every_pair() -> None:
    document = np.arange(5000, dtype=np.int64)
    edges = star_edges([np.zeros(5000, np.uint64)], document.astype(np.uint64), document)
    assert edges.num_rows == 4999
    assert set(edges["head"].to_pylist()) == {0}


@settings(max_examples=25, deadline=None)
@given(pairs=FEW, is_exact=st.lists(st.booleans(), min_size=30, max_size=30))
def test_verdicts_drop_all_of_a_cluster_but_its_keeper(
    tmp_path_factory: object, pairs: list[tuple[int, int]], is_exact: list[bool]
) -> None:
    """Documents of two splits (numbers below and from 20 on); ids in batches with bad rows between them."""
    staging = str(tmp_path_factory.mktemp("verdicts"))  # type: ignore[attr-defined]
    number = lambda place: (place // 20 << ROW_BITS) + place % 20  # noqa: E731
    for split in (0, 1):
        _write_scored(staging, split)
    write_arrow(names.verdicts(staging, 1), pa.table({"left": ["of another run"]}))
    for kind, wanted in (("exact", True), ("minhash", False)):
        chosen = [pair for pair, exact in zip(pairs, is_exact, strict=False) if exact is wanted]
        if chosen:
            document = np.array([number(place) for pair in chosen for place in pair], np.int64)
            key = np.repeat(np.arange(len(chosen), dtype=np.uint64), 2)
            write_arrow(
                names.edges(staging, kind, 0), star_edges([key], document.astype(np.uint64), document)
            )
    counts = write_verdicts(staging, 2)
    clusters = reachable(pairs)
    dropped = {}
    for split in (0, 1):
        if storage.exists(names.verdicts(staging, split)):
            for row in read_arrow(names.verdicts(staging, split)).to_pylist():
                dropped[split * 20 + row["row"]] = row
    assert set(dropped) == {place for cluster in clusters for place in cluster if place != min(cluster)}
    exact_tails = {pair[1] for pair, exact in zip(pairs, is_exact, strict=False) if exact}
    for place, row in dropped.items():
        cluster = next(each for each in clusters if place in each)
        assert (row["duplicate_of"], row["cluster_size"]) == (f"id-{min(cluster)}", len(cluster))
        assert row["rule"] == ("exact_duplicate" if place in exact_tails else "minhash_duplicate")
    assert counts["clusters"] == len(clusters)
    assert counts["exact"] + counts["minhash"] == len(dropped)


def _write_scored(staging: str, split: int) -> None:
    """Twenty documents in batches of seven, a batch of bad rows before each."""
    path = Path(names.scored(staging, split))
    with path.open("wb") as file, pa.ipc.new_stream(file, SCORED_SCHEMA) as writer:
        for start in range(0, 20, 7):
            for ids, detail in (
                (["bad"] * 3, "why"),
                ([f"id-{split * 20 + n}" for n in range(start, min(start + 7, 20))], None),
            ):
                rows = [{"id": each, "text": "", "detail": detail} for each in ids]
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=SCORED_SCHEMA))
