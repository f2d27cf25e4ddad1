"""Byte-level BPE (Radford et al. 2019, section 2.2): GPT-2's words, an alphabet of all 256 bytes."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from gristmill import storage
from gristmill.errors import RecipeError
from gristmill.progress import Reporter
from gristmill.recipe import VocabConfig
from tokenization.artefacts import special_added_tokens, write_tokenizer
from tokenization.bpe import SymbolWords, code_points, learn_merges, spell
from tokenization.counting import byte_alphabet
from tokenization.specials import GPT_TOKENS

VOCAB_NAME = "vocab.json"
MERGES_NAME = "merges.txt"


def learn_byte_level_bpe(config: VocabConfig, counts: pa.Table, directory: str, reporter: Reporter) -> None:
    """Learn from ``(word, count)`` rows; write ``vocab.json``, ``merges.txt`` and ``tokenizer.json``."""
    tokens, merges = byte_level_tokens(counts, config.size, reporter)
    ids = {token: number for number, token in enumerate(tokens)}
    storage.write_text(storage.join(directory, VOCAB_NAME), json.dumps(ids, ensure_ascii=False) + "\n")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    storage.write_text(storage.join(directory, MERGES_NAME), "\n".join(lines) + "\n")
    (end,) = GPT_TOKENS
    write_tokenizer(
        directory, byte_level_tokenizer(ids, merges), "GPT2Tokenizer",
        {"bos_token": end, "eos_token": end, "unk_token": end}, add_prefix_space=False,
    )  # fmt: skip


def byte_level_tokens(
    counts: pa.Table, size: int, reporter: Reporter
) -> tuple[list[str], list[tuple[str, str]]]:
    """All tokens by id (special ones, the 256 byte characters by code point, merged ones) and the merges."""
    alphabet = sorted(byte_alphabet().values())
    smallest = len(GPT_TOKENS) + len(alphabet)
    if size < smallest:
        raise RecipeError(
            f"vocab size {size} is too small: 256 bytes and {len(GPT_TOKENS)} special token need {smallest}"
        )
    points, offsets = code_points(counts["word"])
    characters = np.array([ord(character) for character in alphabet])
    symbols = np.searchsorted(characters, points).astype(np.int64)
    if len(points) and not np.array_equal(characters[np.minimum(symbols, len(characters) - 1)], points):
        raise RecipeError(
            "these word counts are not in GPT-2's byte characters; count them for byte_level_bpe"
        )
    words = SymbolWords(symbols, offsets, counts["count"].to_numpy())
    merges = learn_merges(words, len(alphabet), size - len(GPT_TOKENS), reporter)
    spelt = spell(alphabet, merges)
    tokens = [*GPT_TOKENS, *spelt]
    if len(tokens) < size:
        raise RecipeError(
            f"vocab size {size} cannot be reached: these word counts give {len(tokens)} tokens at most"
        )
    return tokens, [(spelt[left], spelt[right]) for left, right, _ in merges]


def byte_level_tokenizer(ids: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """GPT-2's tokenizer around tokens and merges."""
    tokenizer = Tokenizer(models.BPE(ids, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(special_added_tokens([token for token in GPT_TOKENS if token in ids]))
    return tokenizer
