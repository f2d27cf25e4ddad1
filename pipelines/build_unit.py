"""Encode, split, pack and shard one unit of clean documents: the map of the build stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gristmill import storage
from gristmill.objectives import Objective, make_objective, token_dtype
from gristmill.randomness import text_id
from gristmill.recipe import BuildConfig, MaskedLMConfig
from gristmill.shards import shard_name, write_shard
from pipelines.packing import Packer, Rows
from pipelines.units import Unit, read_unit
from tokenization.vocabulary import Vocabulary

SPLITS = ("train", "validation")
COUNTED = ("rows", "documents", "tokens", "special_tokens", "padding_tokens", "dropped_tokens")


@dataclass(frozen=True)
class BuildContext:
    """What a worker needs to know besides its unit. ``directories`` are those of ``SPLITS``."""

    build: BuildConfig
    vocab_directory: str
    directories: tuple[str, str]
    staging: str
    units: int
    seed: int


@dataclass
class _Split:
    """One side of the train/validation cut of a unit."""

    packer: Packer
    rows: list[Rows]
    documents: int = 0
    tokens: int = 0
    special_tokens: int = 0


@lru_cache(maxsize=4)
def load_vocabulary(directory: str, digest: str) -> Vocabulary:
    """A vocabulary, loaded once a process; ``digest`` keeps a changed one from being taken for the old."""
    vocabulary = Vocabulary.load(directory)
    assert vocabulary.digest == digest
    return vocabulary


def objective_of(build: BuildConfig, vocabulary: Vocabulary) -> Objective:
    """The objective of a build, or RecipeError when its settings cannot work with this vocabulary."""
    return make_objective(
        build.objective, length=build.length, special=vocabulary.special, vocab_size=vocabulary.size
    )


def make_packer(build: BuildConfig, vocabulary: Vocabulary, row_length: int) -> Packer:
    """Rows as the objective wants them: ``[CLS] … [SEP]`` for masked_lm, bare tokens for span corruption.

    A separator follows every document (BERT's [SEP], T5's </s>), so that a model can tell where one ends; T5's own
    pipeline puts none.
    """
    special = vocabulary.special
    masked = isinstance(build.objective, MaskedLMConfig)
    prefix = (special.cls,) if masked and special.cls is not None else ()
    suffix = (special.sep,) if masked and special.sep is not None else ()
    return Packer(
        row_length, separator=special.sep if masked else special.eos, pad=special.pad or 0,
        dtype=token_dtype(vocabulary.size), prefix=prefix, suffix=suffix,
    )  # fmt: skip


def build_unit(unit: Unit, context: BuildContext, digest: str) -> None:
    """Write the train and the validation shard of one unit, and its account last. Same unit, same bytes."""
    account_path = account_name(context.staging, unit.number)
    if storage.exists(account_path):
        return
    vocabulary = load_vocabulary(context.vocab_directory, digest)
    objective = objective_of(context.build, vocabulary)
    splits = [_Split(make_packer(context.build, vocabulary, objective.raw_length), []) for _ in SPLITS]
    for table in read_unit(unit, ["id", "text"]):
        documents = np.fromiter(map(text_id, table["id"].to_pylist()), np.uint64, table.num_rows)
        ids, offsets = vocabulary.encode_batch(table["text"].to_pylist())
        # Whole documents go to validation, by their own id alone: adding other documents moves none across.
        to_validation = documents < np.uint64(int(context.build.validation_fraction * 2**64))
        for split, mask in zip(splits, (~to_validation, to_validation), strict=True):
            chosen, lengths = _select(ids, offsets, mask)
            split.rows.append(split.packer.add(chosen, lengths, documents[mask]))
            split.documents += int(mask.sum())
            split.tokens += len(chosen)
            split.special_tokens += int((np.diff(lengths) > 0).sum())
    account: dict[str, Any] = {}
    for split, name, directory in zip(splits, SPLITS, context.directories, strict=True):
        account[name] = _write(split, objective, directory, unit.number, context, vocabulary)
    storage.write_json(account_path, account)


def account_name(staging: str, unit: int) -> str:
    """Where a unit's counts are kept until the stage ends."""
    return storage.join(staging, f"account-{unit:05d}.json")


def _select(
    ids: npt.NDArray[Any], offsets: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Flat ids and offsets of the documents in a mask."""
    lengths = np.diff(offsets)
    chosen = ids[np.repeat(mask, lengths)]
    return chosen, np.concatenate([[0], np.cumsum(lengths[mask])]).astype(np.int64)


def _write(
    split: _Split,
    objective: Objective,
    directory: str,
    unit: int,
    context: BuildContext,
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    packer = split.packer
    rest = packer.finish()
    parts = [*split.rows, rest]
    tokens = np.concatenate([part.tokens for part in parts])
    length = np.concatenate([part.length for part in parts])
    sample_id = np.concatenate([part.sample_id for part in parts])
    # A single token is too short to be corrupted: it is left out, and counted.
    dropped_rows = length - (packer.length - packer.content) < 2
    dropped = int((length[dropped_rows] - (packer.length - packer.content)).sum())
    tokens, length, sample_id = tokens[~dropped_rows], length[~dropped_rows], sample_id[~dropped_rows]
    special = split.special_tokens + len(length) * (packer.length - packer.content)
    counts = {
        "rows": len(length), "documents": split.documents, "tokens": split.tokens, "special_tokens": special,
        "padding_tokens": int((packer.length - length.astype(np.int64)).sum()), "dropped_tokens": dropped,
    }  # fmt: skip
    filled = counts["tokens"] + special + counts["padding_tokens"] - dropped
    if filled != len(length) * packer.length:
        raise AssertionError(
            f"unit {unit}: {filled} tokens accounted for, {len(length) * packer.length} written"
        )
    copies = context.build.dupe_factor if context.build.materialize else 1
    columns = [
        _columns(
            tokens, length, sample_id, objective if context.build.materialize else None, context.seed, copy
        )
        for copy in range(copies)
    ]
    merged = {key: np.concatenate([column[key] for column in columns]) for key in columns[0]}
    counts["rows"] *= copies
    entry = write_shard(directory, shard_name(unit, context.units), merged)
    return {"counts": counts, "file": entry.model_dump()}


def _columns(
    tokens: npt.NDArray[Any], length: npt.NDArray[np.int32], sample_id: npt.NDArray[np.uint64],
    objective: Objective | None, seed: int, copy: int,
) -> dict[str, npt.NDArray[Any]]:  # fmt: skip
    """A shard's columns for one copy of the rows; each copy has noise of its own."""
    columns: dict[str, npt.NDArray[Any]] = {"sample_id": sample_id, "length": length, "input_ids": tokens}
    if objective is not None:
        columns |= objective(tokens, length, sample_id, seed=seed, epoch=copy)
    return columns
