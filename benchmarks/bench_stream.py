"""Samples a second of the stream beside a memory-mapped gather of the same rows, and of the objectives alone.

    python benchmarks/bench_stream.py DIRECTORY [--rows 200000] [--length 512]

Writes about rows * length * 2 bytes four times under DIRECTORY (kept, to be measured again) and prints one
table. Every figure is the best of several passes over the same number of batches, in one process and one
thread unless it says "prefetch".
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gristmill import objectives, shards, storage
from gristmill.manifest import Manifest, write_manifest
from gristmill.objectives import SpecialTokens
from gristmill.recipe import MaskedLMConfig, SpanCorruptionConfig
from training.stream import Stream

BATCH = 256
SHARDS = 4
VOCAB = 32_128
BERT = SpecialTokens(pad=0, unk=100, cls=101, sep=102, mask=103)
T5 = SpecialTokens(pad=0, eos=1, unk=2, sentinels=tuple(range(32_099, 31_999, -1)))


def write_dataset(directory: str, rows: int, width: int, details: dict[str, Any]) -> None:
    """A dataset of random tokens in SHARDS shards, unless one stands there."""
    if storage.exists(storage.join(directory, "manifest.json")):
        return
    generator = np.random.default_rng(0)
    entries = []
    for number, ids in enumerate(np.array_split(np.arange(rows, dtype=np.uint64), SHARDS)):
        columns = {
            "sample_id": ids,
            "length": np.full(len(ids), width, np.int32),
            "input_ids": generator.integers(1000, 30_000, (len(ids), width), dtype=np.uint16),
        }
        entries.append(shards.write_shard(directory, shards.shard_name(number, SHARDS), columns))
    write_manifest(
        directory,
        Manifest(stage="build", recipe={}, inputs={}, fingerprint="", files=entries, details=details),
    )


def details(
    config: MaskedLMConfig | SpanCorruptionConfig, special: SpecialTokens, length: int
) -> dict[str, Any]:
    """A manifest's details for sequences under this objective."""
    return {
        "kind": "sequences", "objective": config.model_dump(), "objective_seed": 0, "length": length,
        "vocab_size": VOCAB, "special": special.as_dict(), "tokenizer_digest": "",
    }  # fmt: skip


def best_rate(work: Callable[[], int], passes: int) -> float:
    """Samples a second of the fastest pass; ``work`` returns how many it did."""
    rates = []
    for _ in range(passes):
        start = time.perf_counter()
        done = work()
        rates.append(done / (time.perf_counter() - start))
    return max(rates)


def take(iterator: Any, batches: int) -> int:
    return sum(len(batch["input_ids"]) for batch in itertools.islice(iterator, batches))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--passes", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, length = options.rows, options.length

    mlm = MaskedLMConfig(kind="masked_lm")
    span = SpanCorruptionConfig(kind="span_corruption")
    raw = objectives.make_objective(span, length=length, special=T5, vocab_size=VOCAB).raw_length
    paths = {
        name: os.path.join(options.directory, name) for name in ("plain", "masked_lm", "span_corruption")
    }
    write_dataset(paths["plain"], rows, length, {"kind": "examples"})
    write_dataset(paths["masked_lm"], rows, length, details(mlm, BERT, length))
    write_dataset(paths["span_corruption"], rows, raw, details(span, T5, length))
    flat = os.path.join(options.directory, f"flat-{rows}-{length}.bin")
    if not os.path.exists(flat):
        np.random.default_rng(0).integers(1000, 30_000, (rows, length), dtype=np.uint16).tofile(flat)
    mapped = np.memmap(flat, np.uint16, "r", shape=(rows, length))
    order = np.random.default_rng(1).permutation(rows)

    def gather(convert: bool) -> int:
        for number in range(options.batches):
            chosen = mapped[order[np.arange(number * BATCH, (number + 1) * BATCH) % rows]]
            torch.from_numpy(chosen.astype(np.int64) if convert else chosen)
        return options.batches * BATCH

    def report(name: str, rate: float) -> None:
        print(f"{name:44s} {rate:12,.0f} samples/s {1e6 / rate:8.2f} µs")

    def stream(kind: str, prefetch: int) -> None:
        iterator = iter(Stream(paths[kind], global_batch=BATCH, seed=0, prefetch=prefetch))
        take(iterator, 800)  # every shard opened and checked, every page mapped
        rate = best_rate(lambda: take(iterator, options.batches), options.passes)
        report(f"stream, {kind}" + (", prefetch" if prefetch else ""), rate)

    gather(True)
    report("memmap gather, uint16", best_rate(lambda: gather(False), options.passes))
    report("memmap gather, to int64 tensor", best_rate(lambda: gather(True), options.passes))
    for kind in paths:
        stream(kind, 0)
        stream(kind, 1)
    for config, special, width in ((mlm, BERT, length), (span, T5, raw)):
        objective = objectives.make_objective(config, length=length, special=special, vocab_size=VOCAB)
        tokens = np.random.default_rng(2).integers(1000, 30_000, (BATCH, width), dtype=np.uint16)
        lengths, ids = np.full(BATCH, width, np.int32), np.arange(BATCH, dtype=np.uint64)

        def noise(
            objective: Any = objective, tokens: Any = tokens, lengths: Any = lengths, ids: Any = ids
        ) -> int:
            for epoch in range(50):
                objective(tokens, lengths, ids, seed=0, epoch=epoch)
            return 50 * len(tokens)

        report(f"objective alone, {config.kind}", best_rate(noise, options.passes))


if __name__ == "__main__":
    main()
