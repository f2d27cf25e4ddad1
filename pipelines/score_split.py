"""First pass of cleaning, over one split: read, repair, score every rule, and leave keys for the duplicate search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from gristmill import storage
from gristmill.documents import CLEAN_SCHEMA, REASON_TYPE, UNREADABLE
from gristmill.errors import InputError
from gristmill.recipe import CleanConfig, CorpusConfig
from pipelines import staging as names
from pipelines.arrow_files import read_arrow, write_arrow
from pipelines.cleaning.normalize import normalize
from pipelines.cleaning.ruleset import RuleSet
from pipelines.dedup.clusters import ROW_BITS
from pipelines.dedup.exact import exact_keys
from pipelines.dedup.minhash import MinHasher
from pipelines.sources import READERS
from pipelines.sources.raw import BadRow, RawBlock, Split

#: What the first pass leaves of every document and bad row.
SCORED_SCHEMA = pa.schema(
    [
        *CLEAN_SCHEMA,
        ("file", pa.string()),
        ("row", pa.int64()),
        ("rank", pa.uint64()),
        ("reasons", pa.list_(REASON_TYPE)),
        ("detail", pa.string()),
    ]
)
TOO_LONG = "length.max_characters"


@dataclass(frozen=True)
class ScoreContext:
    """What a worker needs to know besides its split."""

    corpus: CorpusConfig
    clean: CleanConfig
    staging: str


def key_schema(bands: int) -> pa.Schema:
    """Document number, rank, the two halves of the exact key, whether there are bands, and the bands."""
    columns = [
        ("document", pa.int64()),
        ("rank", pa.uint64()),
        ("exact_0", pa.uint64()),
        ("exact_1", pa.uint64()),
    ]
    return pa.schema(
        [*columns, ("has_bands", pa.bool_()), *((f"band_{band}", pa.uint64()) for band in range(bands))]
    )


def score_split(split: Split, context: ScoreContext) -> pa.Table:
    """Do one split and return its key columns; a split already done by a killed run is only read back."""
    keys_path = names.keys(context.staging, split.number)
    if storage.exists(keys_path):
        return read_arrow(keys_path)
    scorer = _Scorer(split, context)
    with (
        storage.atomic_file(names.scored(context.staging, split.number)) as file,
        pa.ipc.new_stream(file, SCORED_SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer,
    ):
        for block in READERS[context.corpus.sources[split.source].kind](
            split, context.corpus.sources[split.source]
        ):
            for batch in scorer.score(block):
                writer.write_batch(batch)
    storage.write_json(names.tally(context.staging, split.number), scorer.tally())
    table = scorer.keys()
    write_arrow(keys_path, table)
    return table


class _Scorer:
    """Goes through the blocks of one split, numbering its documents."""

    def __init__(self, split: Split, context: ScoreContext) -> None:
        self._split, self._context = split, context
        self._rules = RuleSet.shared(context.clean)
        self._hasher = MinHasher(context.clean.minhash)
        self._keys: list[pa.RecordBatch] = []
        self._documents = self._rows = self._bad = 0
        self._skipped: dict[str, int] = {}
        self._histograms: dict[str, Any] = {}
        self._removed: dict[str, Counter[str]] = {}

    def score(self, block: RawBlock) -> Iterator[pa.RecordBatch]:
        """One batch for the documents of a block and one for its bad rows."""
        self._rows = max(self._rows, block.last_row)
        for reason, count in block.skipped.items():
            self._skipped[reason] = self._skipped.get(reason, 0) + count
        if block.bad:
            yield self._bad_rows(block.bad)
        if block.ids:
            yield self._documents_of(block)

    def tally(self) -> dict[str, Any]:
        """Counts of the split that the driver adds up before anything is decided."""
        return {
            "rows": self._rows, "documents": self._documents, "bad": self._bad,
            "skipped": dict(sorted(self._skipped.items())), "histograms": self._histograms,
            "removed": self._removed,
        }  # fmt: skip

    def keys(self) -> pa.Table:
        """The key columns of all documents that passed the rules."""
        schema = key_schema(self._context.clean.minhash.bands)
        return pa.Table.from_batches(self._keys, schema=schema).combine_chunks()

    def _bad_rows(self, bad: list[BadRow]) -> pa.RecordBatch:
        if self._context.corpus.on_error == "fail":
            first = bad[0]
            raise InputError(
                f'{self._split.path}: row {first.row}: {first.error}; mend the row, or set [corpus] on_error = "reject"'
            )
        self._bad += len(bad)
        source = self._context.corpus.sources[self._split.source].name
        return _batch(
            id=[f"{self._split.label}:{row.row}" for row in bad],
            text=[row.excerpt for row in bad],
            source=[source] * len(bad),
            url=[None] * len(bad),
            language=[None] * len(bad),
            language_score=[None] * len(bad),
            metadata=[None] * len(bad),
            file=[self._split.label] * len(bad),
            row=[row.row for row in bad],
            rank=[0] * len(bad),
            reasons=[[{"rule": UNREADABLE, "value": None, "threshold": None}]] * len(bad),
            detail=[row.error for row in bad],
        )

    def _documents_of(self, block: RawBlock) -> pa.RecordBatch:
        clean = self._context.clean
        texts = block.texts
        long = {place: len(text) for place, text in enumerate(texts) if len(text) > clean.max_characters}
        # A document over the bound is kept aside whole, but no rule looks at it.
        shown = ["" if place in long else text for place, text in enumerate(texts)] if long else texts
        if clean.repair:
            shown = normalize(shown)
        judged = self._rules.judge(shown, block.urls)
        reasons, shown = judged.reasons, list(judged.texts)
        for place, length in long.items():
            reasons[place] = [
                {"rule": TOO_LONG, "value": float(length), "threshold": float(clean.max_characters)}
            ]
        self._count(judged.histograms(skip=set(long)))
        for name, taken in judged.removals().items():
            self._removed.setdefault(name, Counter()).update(taken)

        number = (self._split.number << ROW_BITS) + self._documents + np.arange(len(shown), dtype=np.int64)
        rank = np.fromiter((xxhash.xxh3_64_intdigest(i.encode()) for i in block.ids), np.uint64, len(shown))
        passed = np.flatnonzero([not reason for reason in reasons])
        if len(passed):
            self._keys.append(
                self._key_block([shown[place] for place in passed], number[passed], rank[passed])
            )
        self._documents += len(shown)
        return _batch(
            id=block.ids,
            text=[texts[place] if place in long else text for place, text in enumerate(shown)],
            source=[self._context.corpus.sources[self._split.source].name] * len(shown),
            url=block.urls,
            language=judged.languages,
            language_score=judged.language_scores,
            metadata=block.metadata,
            file=[self._split.label] * len(shown),
            row=block.rows,
            rank=rank,
            reasons=reasons,
            detail=judged.details,
        )

    def _key_block(self, texts: list[str], number: Any, rank: Any) -> pa.RecordBatch:
        exact = exact_keys(texts)
        bands, has = self._hasher.band_keys(texts)
        columns = [number, rank, exact[:, 0], exact[:, 1], has, *bands.T]
        schema = key_schema(self._context.clean.minhash.bands)
        return pa.RecordBatch.from_arrays(
            [pa.array(np.ascontiguousarray(column)) for column in columns], schema=schema
        )

    def _count(self, histograms: dict[str, Any]) -> None:
        for name, histogram in histograms.items():
            known = self._histograms.get(name)
            if known is None:
                self._histograms[name] = histogram
            else:
                known["counts"] = [a + b for a, b in zip(known["counts"], histogram["counts"], strict=True)]


def _batch(**columns: Any) -> pa.RecordBatch:
    arrays = [pa.array(columns[field.name], type=field.type) for field in SCORED_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCORED_SCHEMA)
