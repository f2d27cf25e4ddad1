"""``Vocabulary.encode_batch`` on one core beside the libraries it stands on."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.corpus import Bench, texts_file, vocabulary
from benchmarks.harness import Entry, Side
from benchmarks.work import Work

_TASK = "benchmarks.encode"
_AT_ONCE = 1000  # texts a call, as datasets.map gives them


def entries(bench: Bench) -> list[Entry]:
    """One entry a kind of vocabulary."""
    why = (
        "The same tokenizer.json in tokenizers, a thousand texts a call, ids taken out as lists; ours "
        "gives one flat array and offsets. One thread each. Fresh processes: what a library remembers of "
        "words starts empty."
    )
    spiece = " And sentencepiece itself giving NumPy arrays, the floor that ours adds the flat array to."
    whys = {"wordpiece": why, "byte_level_bpe": why, "sentencepiece_unigram": why + spiece}
    return [
        Entry(
            f"encode.{kind}",
            f"texts to ids, {kind}, one core",
            "MB",
            whys[kind],
            lambda kind=kind: _sides(bench, kind),
        )
        for kind in whys
    ]


def _sides(bench: Bench, kind: str) -> tuple[Side, ...]:
    texts = texts_file(bench, bench.scaled(bench.megabytes / 2))
    directory = vocabulary(bench, kind, bench.work / f"vocab-{kind}")
    options = {"texts": texts, "directory": directory}
    sides = [
        Side("gristmill", f"{_TASK}:ours", options),
        Side("tokenizers", f"{_TASK}:tokenizers_lists", options),
    ]
    if kind.startswith("sentencepiece"):
        sides.append(Side("sentencepiece, NumPy", f"{_TASK}:sentencepiece_arrays", options))
    return tuple(sides)


# -- tasks ---------------------------------------------------------------------------------------------------


def ours(texts: str, directory: str) -> Work:
    """All texts in one call, as the build stage gives a row group."""
    from tokenization.vocabulary import Vocabulary

    read, megabytes = _read(texts)
    loaded = Vocabulary.load(directory)
    return Work(lambda: loaded.encode_batch(read), megabytes, lambda made: {"tokens": len(made[0])})


def tokenizers_lists(texts: str, directory: str) -> Work:
    """``encode_batch_fast`` and ``ids`` of each encoding."""
    from tokenizers import Tokenizer

    read, megabytes = _read(texts)
    tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
    tokenizer.encode_special_tokens = True

    def run() -> int:
        tokens = 0
        for start in range(0, len(read), _AT_ONCE):
            encodings = tokenizer.encode_batch_fast(read[start : start + _AT_ONCE], add_special_tokens=False)
            tokens += sum(map(len, [encoding.ids for encoding in encodings]))
        return tokens

    return Work(run, megabytes, lambda tokens: {"tokens": tokens})


def sentencepiece_arrays(texts: str, directory: str) -> Work:
    """``encode`` to one NumPy array a text."""
    import sentencepiece

    read, megabytes = _read(texts)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(Path(directory) / "spiece.model"))

    def run() -> int:
        return sum(map(len, processor.encode(read, return_type="numpy", num_threads=1)))

    return Work(run, megabytes, lambda tokens: {"tokens": tokens})


def _read(path: str) -> tuple[list[str], float]:
    texts: list[str] = json.loads(Path(path).read_text(encoding="utf-8"))
    return texts, sum(len(text.encode()) for text in texts) / 1e6
