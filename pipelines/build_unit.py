"""Encode, split, pack and shard one unit of clean documents: the map of the build stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gristmill import storage
from gristmill.objectives import Objective, make_objective, token_dtype
from gristmill.randomness import text_id
from gristmill.recipe import (
    BuildConfig,
    MaskedLMConfig,
    NextSentenceConfig,
    ReplacedTokenConfig,
    SentenceOrderConfig,
)
from gristmill.shards import shard_name, write_shard
from pipelines.packing import I64, Account, Packer, Rows
from pipelines.pairing import Pairer
from pipelines.segments import split_segments
from pipelines.units import Unit, read_unit
from tokenization.vocabulary import Vocabulary

SPLITS = ("train", "validation")
COUNTED = (
    "rows", "documents", "tokens", "special_tokens", "padding_tokens", "reused_tokens", "dropped_tokens",
    "short_tokens", "truncated_tokens",
)  # fmt: skip
#: Objectives whose rows stand between [CLS] and [SEP], as BERT's.
FRAMED = (MaskedLMConfig, ReplacedTokenConfig)
PAIRED = (NextSentenceConfig, SentenceOrderConfig)


@dataclass(frozen=True)
class BuildContext:
    """What a worker needs to know besides its unit. ``directories`` are those of ``SPLITS``."""

    build: BuildConfig
    vocab_directory: str
    directories: tuple[str, str]
    staging: str
    units: int
    seed: int


class Maker(Protocol):
    """What makes rows of the documents of one side of the train/validation cut of a unit."""

    def add(
        self, ids: npt.NDArray[Any], offsets: I64, counts: I64, documents: npt.NDArray[np.uint64]
    ) -> None:
        """Some more documents: flat ids, offsets of their pieces (P + 1,), pieces of each (D,), ids (D,)."""
        ...

    def finish(self, seed: int, copy: int) -> tuple[Rows, Account]:
        """All rows, and what became of the tokens. Called once for every copy."""
        ...


class PackedRows:
    """A :class:`Maker` of packed rows, the same for every copy."""

    def __init__(self, packer: Packer) -> None:
        self._packer = packer
        self._parts: list[Rows] = []
        self._account = Account()
        self._finished = False

    def add(
        self, ids: npt.NDArray[Any], offsets: I64, counts: I64, documents: npt.NDArray[np.uint64]
    ) -> None:
        """See :class:`Maker`; a document is one piece here."""
        self._parts.append(self._packer.add(ids, offsets, documents))
        self._account.tokens += len(ids)
        if self._packer.separator is not None:
            self._account.special_tokens += int(np.count_nonzero(np.diff(offsets)))

    def finish(self, seed: int, copy: int) -> tuple[Rows, Account]:
        """See :class:`Maker`."""
        if not self._finished:
            self._finish()
        return self._parts[0], self._account

    def _finish(self) -> None:
        parts = [*self._parts, self._packer.finish()]
        tokens, length, sample_id = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("tokens", "length", "sample_id")
        )
        frame = self._packer.length - self._packer.content
        # A single token is too short to be corrupted: it is left out, and counted.
        kept = length - frame >= 2
        account = self._account
        account.short_tokens = int((length[~kept] - frame).sum())
        rows = Rows(tokens[kept], length[kept], sample_id[kept])
        account.special_tokens += len(rows.length) * frame
        account.padding_tokens = int((self._packer.length - rows.length.astype(np.int64)).sum())
        self._parts, self._finished = [rows], True


@dataclass
class _Split:
    """One side of the train/validation cut of a unit."""

    maker: Maker
    documents: int = 0


@lru_cache(maxsize=4)
def load_vocabulary(directory: str, digest: str) -> Vocabulary:
    """A vocabulary, loaded once a process; ``digest`` keeps a changed one from being taken for the old."""
    vocabulary = Vocabulary.load(directory)
    assert vocabulary.digest == digest
    return vocabulary


def objective_of(build: BuildConfig, vocabulary: Vocabulary) -> Objective:
    """The objective of a build, or RecipeError when its settings cannot work with this vocabulary."""
    return make_objective(
        build.objective, length=build.length, special=vocabulary.special, vocab_size=vocabulary.size,
        continuations=vocabulary.continuations,
    )  # fmt: skip


def make_rows(build: BuildConfig, vocabulary: Vocabulary, row_length: int) -> Maker:
    """Rows as the objective wants them: ``[CLS] … [SEP]`` for masked_lm and replaced_token, pairs of segments
    for next_sentence and sentence_order, bare tokens for the others.

    Outside pairs a separator follows every document (BERT's [SEP], the others' end token), so that a model can
    tell where one ends; T5's own pipeline puts none. A vocabulary without padding pads with its end token.
    """
    special, config, dtype = vocabulary.special, build.objective, token_dtype(vocabulary.size)
    if isinstance(config, PAIRED):
        return Pairer(
            row_length, law=config.kind, short_sequences=config.short_sequences, special=special, dtype=dtype
        )
    framed = isinstance(config, FRAMED)
    prefix = (special.cls,) if framed and special.cls is not None else ()
    suffix = (special.sep,) if framed and special.sep is not None else ()
    separator = special.sep if framed or special.eos is None else special.eos
    pad = special.pad if special.pad is not None else special.eos or 0
    return PackedRows(
        Packer(row_length, separator=separator, pad=pad, dtype=dtype, prefix=prefix, suffix=suffix)
    )


def build_unit(unit: Unit, context: BuildContext, digest: str) -> None:
    """Write the train and the validation shard of one unit, and its account last. Same unit, same bytes."""
    account_path = account_name(context.staging, unit.number)
    if storage.exists(account_path):
        return
    build = context.build
    vocabulary = load_vocabulary(context.vocab_directory, digest)
    objective = objective_of(build, vocabulary)
    splits = [_Split(make_rows(build, vocabulary, objective.raw_length)) for _ in SPLITS]
    for table in read_unit(unit, ["id", "text"]):
        documents = np.fromiter(map(text_id, table["id"].to_pylist()), np.uint64, table.num_rows)
        pieces, counts = table["text"].to_pylist(), np.ones(table.num_rows, np.int64)
        if isinstance(build.objective, PAIRED):
            pieces, counts = split_segments(pieces)
        ids, offsets = vocabulary.encode_batch(pieces)
        # Whole documents go to validation, by their own id alone: adding other documents moves none across.
        to_validation = documents < np.uint64(int(build.validation_fraction * 2**64))
        for split, mask in zip(splits, (~to_validation, to_validation), strict=True):
            chosen, lengths = _select(ids, offsets, np.repeat(mask, counts))
            split.maker.add(chosen, lengths, counts[mask], documents[mask])
            split.documents += int(mask.sum())
    account: dict[str, Any] = {}
    for split, name, directory in zip(splits, SPLITS, context.directories, strict=True):
        account[name] = _write(split, objective, directory, unit.number, context)
    storage.write_json(account_path, account)


def account_name(staging: str, unit: int) -> str:
    """Where a unit's counts are kept until the stage ends."""
    return storage.join(staging, f"account-{unit:05d}.json")


def _select(ids: npt.NDArray[Any], offsets: I64, mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[Any], I64]:
    """Flat ids and offsets of the pieces in a mask."""
    lengths = np.diff(offsets)
    chosen = ids[np.repeat(mask, lengths)]
    return chosen, np.concatenate([[0], np.cumsum(lengths[mask])]).astype(np.int64)


def _write(
    split: _Split, objective: Objective, directory: str, unit: int, context: BuildContext
) -> dict[str, Any]:
    """Write a split's shard, all copies one after another; its counts are over all copies."""
    materialize = context.build.materialize
    counts = dict.fromkeys(COUNTED, 0)
    counts["documents"] = split.documents
    copies = []
    for copy in range(context.build.dupe_factor if materialize else 1):
        rows, account = split.maker.finish(context.seed, copy)
        positions = rows.tokens.size
        if account.positions != positions:
            raise AssertionError(
                f"unit {unit}: {account.positions} tokens accounted for, {positions} written"
            )
        counts["rows"] += len(rows.length)
        for name, number in account.counts().items():
            counts[name] += number
        copies.append(_columns(rows, objective if materialize else None, context.seed, copy))
    merged = {key: np.concatenate([columns[key] for columns in copies]) for key in copies[0]}
    entry = write_shard(directory, shard_name(unit, context.units), merged)
    return {"counts": counts, "file": entry.model_dump()}


def _columns(rows: Rows, objective: Objective | None, seed: int, copy: int) -> dict[str, npt.NDArray[Any]]:
    """A shard's columns for one copy of the rows; each copy has noise of its own."""
    columns: dict[str, npt.NDArray[Any]] = {
        "sample_id": rows.sample_id, "length": rows.length, "input_ids": rows.tokens, **rows.extra,
    }  # fmt: skip
    if objective is not None:
        columns |= objective(rows.tokens, rows.length, rows.sample_id, seed=seed, epoch=copy)
    return columns
