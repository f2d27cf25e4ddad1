"""The training stream beside a memory-mapped gather of the same rows, and beside a map-style DataLoader."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.corpus import Bench, documents, vocabulary
from benchmarks.harness import Entry, Side
from benchmarks.work import Work

_TASK = "benchmarks.stream"
_BATCH = 256
_LENGTH = 512
_ROWS = 100_000
_SHARDS = 4
_KINDS = {"plain": "wordpiece", "masked_lm": "wordpiece", "span_corruption": "sentencepiece_unigram"}
#: Batches a run: as many as take about a second or more.
_OURS, _FLOOR, _LOADER, _COLLATOR = 1200, 4000, 120, 24


def entries(bench: Bench) -> list[Entry]:
    """Finished examples as they are, and the two objectives applied at load."""
    floor = (
        f"The floor gathers as many rows of {_LENGTH} uint16 tokens at random from one mapped file and makes "
        "an int64 tensor of them, which nobody who shuffles can avoid; ours makes masks, ids and labels "
        "besides. "
    )
    whys = {
        "plain": (
            "The loader reads the same directory by datasets.load_from_disk, shuffled, in one process or "
            "by two workers."
        ),
        "masked_lm": (
            "The loader reads the same directory and masks with transformers' "
            "DataCollatorForLanguageModeling, whose masks are independent draws and not BERT's exact count."
        ),
        "span_corruption": (
            "transformers has no collator for it, so there is no peer: the objective alone, on rows that lie "
            "in the cache, is the other floor."
        ),
    }
    return [
        Entry(
            f"stream.{kind}", f"shuffled batches of {_BATCH} rows of {_LENGTH} tokens, {kind}", "samples",
            floor + why, lambda kind=kind: _sides(bench, kind),
        )
        for kind, why in whys.items()
    ]  # fmt: skip


def _sides(bench: Bench, kind: str) -> tuple[Side, ...]:
    directory, vocab = _dataset(bench, kind), str(bench.work / f"vocab-{_KINDS[kind]}")

    def side(name: str, task: str, batches: int, **options: Any) -> Side:
        return Side(
            name, f"{_TASK}:{task}", {"batches": max(2, int(bench.scaled(batches))), **options}, warmup=1
        )

    own = [
        side("gristmill", "stream", _OURS, directory=directory, prefetch=0),
        side("gristmill, prefetch 1", "stream", _OURS, directory=directory, prefetch=1),
        side("floor: gather", "gather", _FLOOR, flat=str(bench.work / "flat.bin")),
    ]
    if kind == "plain":
        own += [
            side("DataLoader, 0 workers", "loader", _LOADER, directory=directory, workers=0),
            side("DataLoader, 2 workers", "loader", _LOADER, directory=directory, workers=2),
        ]
    elif kind == "masked_lm":
        own += [
            side(
                "DataLoader + MLM, 0 workers",
                "loader",
                _COLLATOR,
                directory=directory,
                workers=0,
                vocab=vocab,
            ),
            side(
                "DataLoader + MLM, 2 workers",
                "loader",
                _COLLATOR,
                directory=directory,
                workers=2,
                vocab=vocab,
            ),
        ]
    if kind != "plain":
        own.append(side("objective alone", "objective", _OURS, directory=directory))
    return tuple(own)


def _dataset(bench: Bench, kind: str) -> str:
    """Rows of the corpus' own tokens in four shards, repeated to the number wanted; and one flat file of
    them.
    """
    import numpy as np

    from gristmill.manifest import Manifest, write_manifest
    from gristmill.objectives import make_objective
    from gristmill.recipe import BuildConfig
    from gristmill.shards import columns_schema, shard_name, write_dataset_files, write_shard
    from tokenization.vocabulary import Vocabulary

    vocabulary_directory = vocabulary(bench, _KINDS[kind], bench.work / f"vocab-{_KINDS[kind]}")
    folder, flat = bench.work / f"rows-{kind}", bench.work / "flat.bin"
    if (folder / "manifest.json").exists() and flat.exists():
        return str(folder)
    rows = int(bench.scaled(_ROWS))
    bench.say(f"  writing {rows:,} rows of {kind}")
    loaded = Vocabulary.load(vocabulary_directory)
    tokens, _ = loaded.encode_batch([text for _, text in documents(bench, bench.scaled(8.0))])
    details: dict[str, Any] = {"kind": "examples"}
    width = _LENGTH
    if kind != "plain":
        build = {"vocab": "v", "length": _LENGTH, "objective": {"kind": kind}}
        config = BuildConfig.model_validate(build).objective
        objective = make_objective(config, length=_LENGTH, special=loaded.special, vocab_size=loaded.size)
        width = objective.raw_length
        details = {
            "kind": "sequences", "objective": config.model_dump(), "objective_seed": 0, "length": _LENGTH,
            "vocab_size": loaded.size, "special": loaded.special.as_dict(), "tokenizer_digest": loaded.digest,
        }  # fmt: skip
    table = np.resize(tokens.astype(np.uint16), (rows, width))
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, chosen in enumerate(np.array_split(np.arange(rows), _SHARDS)):
        columns = {
            "sample_id": chosen.astype(np.uint64),
            "length": np.full(len(chosen), width, np.int32),
            "input_ids": table[chosen],
        }
        if kind == "plain":
            columns["labels"] = columns["input_ids"].astype(np.int32)
        shards.append(write_shard(str(folder), shard_name(number, _SHARDS), columns))
    extra = write_dataset_files(str(folder), shards, columns_schema(columns))
    np.resize(tokens.astype(np.uint16), (rows, _LENGTH)).tofile(flat)
    manifest = Manifest(
        stage="build", recipe={}, inputs={}, fingerprint="", files=[*shards, *extra], details=details
    )
    write_manifest(str(folder), manifest)
    return str(folder)


# -- tasks ---------------------------------------------------------------------------------------------------


def stream(directory: str, batches: int, prefetch: int) -> Work:
    """Our stream; the warm-up opens and checks every shard and maps its pages."""
    import torch

    from training.stream import Stream

    torch.set_num_threads(1)
    source = iter(Stream(directory, global_batch=_BATCH, seed=0, prefetch=prefetch))
    return Work(lambda: _take(source, batches), batches * _BATCH)


def gather(flat: str, batches: int) -> Work:
    """Rows of a mapped file in the order of a permutation."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    mapped = np.memmap(flat, np.uint16, "r").reshape(-1, _LENGTH)
    order = np.random.default_rng(1).permutation(len(mapped))

    def run() -> int:
        for number in range(batches):
            chosen = order[np.arange(number * _BATCH, (number + 1) * _BATCH) % len(order)]
            torch.from_numpy(mapped[chosen].astype(np.int64))
        return batches

    return Work(run, batches * _BATCH)


def loader(directory: str, batches: int, workers: int, vocab: str | None = None) -> Work:
    """``datasets.load_from_disk`` under torch's DataLoader; with ``vocab``, masked by transformers' collator.

    One iterator serves the warm-up and the run, so that starting worker processes is not measured.
    """
    import datasets
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    rows = datasets.load_from_disk(directory).with_format("torch")
    collate = None
    if vocab is not None:
        from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(Path(vocab) / "tokenizer.json"), pad_token="[PAD]", unk_token="[UNK]",
            cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
        )  # fmt: skip
        rows = rows.select_columns(["input_ids"])
        collate = DataCollatorForLanguageModeling(tokenizer)
    dataloader = DataLoader(
        rows, batch_size=_BATCH, shuffle=True, num_workers=workers, collate_fn=collate, drop_last=True
    )
    source = _endless(dataloader)
    return Work(lambda: _take(source, batches), batches * _BATCH)


def objective(directory: str, batches: int) -> Work:
    """The dataset's objective on the first rows, again and again: no gathering, no tensors."""
    import numpy as np

    from training.shard_set import ShardSet

    shards = ShardSet(directory)
    columns = shards.gather(np.arange(_BATCH))
    noise: Any = shards.objective

    def run() -> int:
        for epoch in range(batches):
            noise(columns["input_ids"], columns["length"], columns["sample_id"], seed=0, epoch=epoch)
        return batches

    return Work(run, batches * _BATCH)


def _take(batches: Iterator[dict[str, Any]], count: int) -> int:
    return sum(len(batch["input_ids"]) for batch in itertools.islice(batches, count))


def _endless(batches: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    while True:
        yield from batches
