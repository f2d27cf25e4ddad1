"""Count every word of the clean documents: map blocks to (word, count) tables, combine them by key, keep 64 bits.

Text is read and counted where it lies; only distinct words with their counts are grouped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from gristmill import storage
from gristmill.errors import GristmillError
from gristmill.recipe import VocabConfig
from pipelines.arrow_files import parquet_writer, read_arrow, write_arrow
from pipelines.columnar import Bucket, ResolveBuckets, bucket_count, partition
from pipelines.runners import Execution, run_pipeline, worker_error
from pipelines.units import Unit, make_units, read_unit
from tokenization.counting import WordCounter

COUNT_SCHEMA = pa.schema([("word", pa.large_string()), ("count", pa.int64())])


@dataclass(frozen=True)
class CountContext:
    """What a worker needs to know besides its unit."""

    vocab: VocabConfig
    staging: str
    directory: str
    buckets: int


def count_words(
    vocab: VocabConfig, clean_directory: str, directory: str, staging: str, execution: Execution
) -> list[str]:
    """Write ``counts-*.parquet`` into ``directory``, one a bucket, sorted by word; returns their names."""
    units = make_units(clean_directory)
    total = sum(unit.weight for unit in units)
    # Distinct words are a small share of the text; a bucket holds its share of them.
    context = CountContext(vocab, staging, directory, bucket_count(total // 8))

    def finished() -> float:
        done = {int(name[8:13]) for name in storage.list_files(staging) if name.startswith("counted-")}
        return sum(unit.weight for unit in units if unit.number in done)

    run_pipeline(
        execution, _pipeline(units, context), label="count words", input_bytes=total, finished_bytes=finished
    )
    return [counts_name(bucket, context.buckets) for bucket in range(context.buckets)]


def read_counts(directory: str, names: Iterable[str]) -> pa.Table:
    """All counts as one table; buckets hold distinct words, so nothing is left to add up."""
    tables = []
    for name in names:
        with storage.open_input(storage.join(directory, name)) as file:
            tables.append(pq.read_table(file))
    return pa.concat_tables(tables)


def counts_name(bucket: int, buckets: int) -> str:
    """Name of one bucket's counts."""
    return f"counts-{bucket:05d}-of-{buckets:05d}.parquet"


def combine(table: pa.Table) -> pa.Table:
    """Add up counts of equal words; sorted by the words' UTF-8 bytes."""
    summed = table.group_by("word", use_threads=False).aggregate([("count", "sum")])
    summed = pa.table([summed["word"], summed["count_sum"]], schema=COUNT_SCHEMA)
    # Arrow compares strings as bytes, which for UTF-8 is the order of code points.
    return summed.take(pc.sort_indices(summed, sort_keys=[("word", "ascending")])).combine_chunks()


def _pipeline(units: list[Unit], context: CountContext) -> Callable[[beam.Pipeline], object]:
    def build(pipeline: beam.Pipeline) -> None:
        counted = (
            pipeline
            | "Units" >> beam.Create(units)
            | "Spread" >> beam.Reshuffle()
            | "Count" >> beam.FlatMap(_count_unit, context).with_output_types(Bucket)
        )
        # Every bucket gets an empty block, so that every file exists.
        empty = pa.RecordBatch.from_pylist([], schema=COUNT_SCHEMA)
        every = pipeline | "EveryBucket" >> beam.Create(
            [(b, empty) for b in range(context.buckets)]
        ).with_output_types(Bucket)
        _ = (counted, every) | beam.Flatten() | "Combine" >> ResolveBuckets(_CountsWriter(context))

    return build


def _count_unit(unit: Unit, context: CountContext) -> Iterator[Bucket]:
    path = storage.join(context.staging, f"counted-{unit.number:05d}.arrow")
    try:
        if storage.exists(path):
            table = read_arrow(path)
        else:
            table = _count(unit, context.vocab)
            write_arrow(path, table)
    except GristmillError as error:
        raise worker_error(error) from error
    if table.num_rows:
        block = table.to_batches()[0]
        digest = xxhash.xxh3_64_intdigest
        key = np.fromiter(
            (digest(word.as_py().encode()) for word in block.column("word")), np.uint64, block.num_rows
        )
        yield from partition(block, key, context.buckets)


def _count(unit: Unit, vocab: VocabConfig) -> pa.Table:
    counter = WordCounter(vocab)
    counted = COUNT_SCHEMA.empty_table()
    pending: list[pa.Table] = []
    pending_rows = 0
    for table in read_unit(unit, ["text"]):
        batch = counter.count(table["text"].to_pylist())
        pending.append(pa.Table.from_batches([batch]).cast(COUNT_SCHEMA))
        pending_rows += batch.num_rows
        if pending_rows > max(1_000_000, counted.num_rows):  # combining at doublings keeps the work linear
            counted, pending, pending_rows = combine(pa.concat_tables([counted, *pending])), [], 0
    return combine(pa.concat_tables([counted, *pending]))


class _CountsWriter:
    """Resolves a bucket: adds up and writes its file."""

    def __init__(self, context: CountContext) -> None:
        self._context = context

    def __call__(self, bucket: int, table: pa.Table) -> Iterable[object]:
        path = storage.join(self._context.directory, counts_name(bucket, self._context.buckets))
        with parquet_writer(path, COUNT_SCHEMA) as writer:
            writer.write_table(combine(table))
        return ()
