"""Between the passes, on the driver: all edges of keys → for each split, which documents are duplicates and of what."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gristmill import storage
from pipelines import staging as names
from pipelines.arrow_files import read_arrow, read_batches, write_arrow
from pipelines.dedup.clusters import EDGE_SCHEMA, ROW_BITS, components, keepers

EXACT, MINHASH = "exact_duplicate", "minhash_duplicate"
VERDICT_SCHEMA = pa.schema(
    [("row", pa.int64()), ("rule", pa.string()), ("duplicate_of", pa.string()), ("cluster_size", pa.int64())]
)


def write_verdicts(staging: str, splits: int) -> dict[str, object]:
    """Read every edge file, find clusters and keepers, write one verdict table for each split that has duplicates.

    ``row`` counts the documents (not the bad rows) of a split from 0. Returns cluster counts for the report.
    """
    exact, minhash = _edges(staging, "exact"), _edges(staging, "minhash")
    edges = pa.concat_tables([exact, minhash])
    for split in range(splits):
        storage.remove_file(names.verdicts(staging, split))
    if not edges.num_rows:
        return {"exact": 0, "minhash": 0, "clusters": 0, "sizes": {}}
    heads, tails = edges["head"].to_numpy(), edges["document"].to_numpy()
    documents, component = components(np.stack([heads, tails], axis=1))
    rank = np.empty(len(documents), np.uint64)
    rank[np.searchsorted(documents, heads)] = edges["head_rank"].to_numpy()
    rank[np.searchsorted(documents, tails)] = edges["document_rank"].to_numpy()
    keeper, size = keepers(documents, component, rank)

    dropped = np.flatnonzero(documents != keeper)
    is_exact = np.isin(documents[dropped], exact["document"].to_numpy())
    keeper_ids = read_ids(staging, np.unique(keeper[dropped]))
    split_of, row_of = documents[dropped] >> ROW_BITS, documents[dropped] & ((1 << ROW_BITS) - 1)
    for split in np.unique(split_of):
        mine = np.flatnonzero(split_of == split)
        table = pa.table(
            [
                pa.array(row_of[mine]),
                pa.array(np.where(is_exact[mine], EXACT, MINHASH).tolist(), pa.string()),
                pa.array([keeper_ids[int(number)] for number in keeper[dropped][mine]], pa.string()),
                pa.array(size[dropped][mine]),
            ],
            schema=VERDICT_SCHEMA,
        )
        write_arrow(names.verdicts(staging, int(split)), table)
    sizes, counts = np.unique(np.bincount(component), return_counts=True)
    return {
        "exact": int(is_exact.sum()),
        "minhash": int(len(dropped) - is_exact.sum()),
        "clusters": int(component.max()) + 1,
        "sizes": {str(size): int(count) for size, count in zip(sizes, counts, strict=True)},
    }


def _edges(staging: str, kind: str) -> pa.Table:
    files = [name for name in storage.list_files(staging) if name.startswith(f"edges-{kind}-")]
    return pa.concat_tables(
        [EDGE_SCHEMA.empty_table(), *(read_arrow(storage.join(staging, name)) for name in files)]
    )


def read_ids(staging: str, documents: np.ndarray) -> dict[int, str]:
    """Document number → id, read from the scored files of just those splits; ``documents`` is sorted."""
    found: dict[int, str] = {}
    for split in np.unique(documents >> ROW_BITS):
        wanted = documents[documents >> ROW_BITS == split] & ((1 << ROW_BITS) - 1)
        start = 0
        for batch in read_batches(names.scored(staging, int(split))):
            if is_bad_rows(batch):
                continue
            here = wanted[(wanted >= start) & (wanted < start + batch.num_rows)]
            ids = batch.column("id")
            found.update({int(split << ROW_BITS) + int(row): ids[int(row) - start].as_py() for row in here})
            start += batch.num_rows
    return found


def is_bad_rows(batch: pa.RecordBatch) -> bool:
    """Whether a scored batch holds rows that could not be read; a batch is all of one kind."""
    return bool(batch.num_rows) and batch.column("detail")[0].is_valid
