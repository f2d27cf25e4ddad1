"""Last pass of cleaning, over one split: put the verdicts to the documents, write both files, count everything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill import storage
from gristmill.documents import CLEAN_SCHEMA, REJECTED_SCHEMA
from gristmill.manifest import FileEntry, describe_file
from pipelines import staging as names
from pipelines.arrow_files import ROW_GROUP_ROWS, parquet_writer, read_arrow, read_batches
from pipelines.dedup.decide import is_bad_rows

#: Edges of the length histograms, in characters: 0, 1, 2, 4 ... 2^27.
LENGTH_EDGES = [0, *(1 << power for power in range(28))]
#: Samples a split offers for the report; the report keeps the ones of smallest rank over all splits.
SAMPLES = 6
EXCERPT = 600


@dataclass(frozen=True)
class FinishContext:
    """What a worker needs to know besides its split. ``row_base`` is the file row before each split's first."""

    directory: str
    staging: str
    splits: int
    row_base: tuple[int, ...]


def document_name(split: int, splits: int) -> str:
    """Name of the kept documents of one split."""
    return f"documents-{split:05d}-of-{splits:05d}.parquet"


def rejected_name(split: int, splits: int) -> str:
    """Name of the rejected documents and unreadable rows of one split."""
    return f"rejected-{split:05d}-of-{splits:05d}.parquet"


def finish_split(split: int, context: FinishContext) -> None:
    """Write the final files of one split and its account. Done again after a kill, it writes the same bytes."""
    if storage.exists(names.account(context.staging, split)):
        return
    verdicts = _Verdicts(context.staging, split)
    account = Account()
    kept_name, rejected_name_ = document_name(split, context.splits), rejected_name(split, context.splits)
    with (
        parquet_writer(storage.join(context.directory, kept_name), CLEAN_SCHEMA) as kept_file,
        parquet_writer(storage.join(context.directory, rejected_name_), REJECTED_SCHEMA) as rejected_file,
    ):
        for batch in read_batches(names.scored(context.staging, split)):
            table = verdicts.apply(batch)
            table = table.set_column(
                table.schema.get_field_index("row"), "row", pc.add(table["row"], context.row_base[split])
            )
            passed = pc.equal(pc.list_value_length(table["reasons"]), 0)
            kept, rejected = table.filter(passed), table.filter(pc.invert(passed))
            account.add(table, passed, unreadable=is_bad_rows(batch))
            kept_file.write_table(kept.select(CLEAN_SCHEMA.names), row_group_size=ROW_GROUP_ROWS)
            rejected_file.write_table(rejected.select(REJECTED_SCHEMA.names), row_group_size=ROW_GROUP_ROWS)
    files = [
        describe_file(context.directory, kept_name, account.kept),
        describe_file(context.directory, rejected_name_, account.rejected + account.unreadable),
    ]
    storage.write_json(names.account(context.staging, split), account.as_json(files))


class _Verdicts:
    """Hands each batch of a split its duplicates, counting documents as they pass."""

    def __init__(self, staging: str, split: int) -> None:
        path = names.verdicts(staging, split)
        table = read_arrow(path) if storage.exists(path) else None
        self._by_row = {} if table is None else {row["row"]: row for row in table.to_pylist()}
        self._documents = 0

    def apply(self, batch: pa.RecordBatch) -> pa.Table:
        """The batch with duplicates' reasons, keepers and cluster sizes filled in."""
        duplicate_of: list[str | None] = [None] * batch.num_rows
        cluster_size: list[int | None] = [None] * batch.num_rows
        reasons = batch.column("reasons")
        if not is_bad_rows(batch):
            found = [
                self._by_row.get(row) for row in range(self._documents, self._documents + batch.num_rows)
            ]
            self._documents += batch.num_rows
            if any(found):
                filled = reasons.to_pylist()
                for place, verdict in enumerate(found):
                    if verdict is not None:
                        filled[place] = [
                            {
                                "rule": verdict["rule"],
                                "value": float(verdict["cluster_size"]),
                                "threshold": 1.0,
                            }
                        ]
                        duplicate_of[place], cluster_size[place] = (
                            verdict["duplicate_of"],
                            verdict["cluster_size"],
                        )
                reasons = pa.array(filled, type=reasons.type)
        table = pa.Table.from_batches([batch])
        table = table.set_column(table.schema.get_field_index("reasons"), "reasons", reasons)
        table = table.append_column("duplicate_of", pa.array(duplicate_of, pa.string()))
        return table.append_column("cluster_size", pa.array(cluster_size, pa.int64()))


class Account:
    """Counts of documents by what became of them. Every figure is of documents or of Unicode characters."""

    def __init__(self) -> None:
        self.kept = self.rejected = self.unreadable = self.characters_in = self.characters_kept = 0
        self._alone: Counter[str] = Counter()
        self._first: Counter[str] = Counter()
        self._by: dict[str, dict[str, Counter[str]]] = {"source": {}, "language": {}}
        self._lengths = {
            "in": np.zeros(len(LENGTH_EDGES) - 1, np.int64),
            "kept": np.zeros(len(LENGTH_EDGES) - 1, np.int64),
        }
        self._samples: dict[str, list[dict[str, Any]]] = {"kept": [], "rejected": []}
        self._unreadable_rows: list[dict[str, Any]] = []

    def add(self, table: pa.Table, passed: pa.ChunkedArray, *, unreadable: bool) -> None:
        """Count one batch with its final reasons."""
        if unreadable:
            self.unreadable += table.num_rows
            self._unreadable_rows += [
                {"file": row["file"], "row": row["row"], "error": row["detail"]}
                for row in table.select(["file", "row", "detail"]).to_pylist()
            ]
            self._count_rules(table["reasons"].to_pylist())
            return
        lengths = pc.utf8_length(table["text"]).to_numpy().astype(np.int64)
        keep = passed.to_numpy(zero_copy_only=False)
        self.kept += int(keep.sum())
        self.rejected += int((~keep).sum())
        self.characters_in += int(lengths.sum())
        self.characters_kept += int(lengths[keep].sum())
        self._lengths["in"] += np.histogram(lengths, LENGTH_EDGES)[0]
        self._lengths["kept"] += np.histogram(lengths[keep], LENGTH_EDGES)[0]
        for column, counts in self._by.items():
            values = table[column].to_pylist()
            for value, is_kept, length in zip(values, keep.tolist(), lengths.tolist(), strict=True):
                counter = counts.setdefault(value or "unknown", Counter())
                counter["in"] += 1
                counter["characters_in"] += length
                if is_kept:
                    counter["kept"] += 1
                    counter["characters_kept"] += length
        self._count_rules(table.filter(pc.invert(passed))["reasons"].to_pylist())
        for group, mask in (("kept", keep), ("rejected", ~keep)):
            self._sample(group, table, np.flatnonzero(mask))

    def _count_rules(self, all_reasons: list[list[dict[str, Any]]]) -> None:
        for reasons in all_reasons:
            self._first[reasons[0]["rule"]] += 1
            self._alone.update({reason["rule"] for reason in reasons})

    def _sample(self, group: str, table: pa.Table, rows: np.ndarray) -> None:
        ranks = table["rank"].to_numpy()[rows]
        for place in np.argsort(ranks, kind="stable")[:SAMPLES]:
            row = table.slice(int(rows[place]), 1).to_pylist()[0]
            sample = {key: row[key] for key in ("id", "source", "url", "language")}
            sample |= {"rank": int(ranks[place]), "excerpt": row["text"][:EXCERPT]}
            if group == "rejected":
                sample |= {"reasons": row["reasons"], "duplicate_of": row["duplicate_of"]}
            self._samples[group].append(sample)
        self._samples[group] = sorted(self._samples[group], key=lambda sample: sample["rank"])[:SAMPLES]

    def as_json(self, files: list[FileEntry]) -> dict[str, Any]:
        """The account as plain values."""
        return {
            "files": [entry.model_dump() for entry in files],
            "kept": self.kept,
            "rejected": self.rejected,
            "unreadable": self.unreadable,
            "characters_in": self.characters_in,
            "characters_kept": self.characters_kept,
            "alone": dict(self._alone),
            "first": dict(self._first),
            "by": self._by,
            "lengths": {key: counts.tolist() for key, counts in self._lengths.items()},
            "samples": self._samples,
            "unreadable_rows": self._unreadable_rows[:100],
        }
