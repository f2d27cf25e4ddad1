"""Gopher repetition, Gopher quality, C4 and FineWeb on the same documents, here and in datatrove, by CPU
time.

    python benchmarks/filters.py DOCUMENTS.jsonl[.zst] --datatrove /where/datatrove/is/bin/python
        [--count 4000]

datatrove needs an interpreter of its own (``pip install datatrove==0.10.1 spacy nltk regex``). Both run in
processes of their own, in turn, ``--rounds`` times; a document that a filter rejects goes to no further
filter of datatrove's, while every rule of ours looks at every document. *Cold* is our first pass over the
documents, spaCy's start not counted on either side; *warm* the second, with every chunk in the table. Prints
one line a measurement and the ratios of the medians.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH = 1024
RULES = ("gopher_repetition", "gopher_quality", "c4", "fineweb")


def run_ours(texts: list[str], words: str) -> dict[str, float]:
    """CPU seconds of a first and a second pass, and documents kept."""
    from gristmill.recipe import CleanConfig
    from pipelines.cleaning.ruleset import RuleSet

    rules = RuleSet(CleanConfig(words=words, words_language="en", rules={name: {} for name in RULES}))
    rules.judge(["One sentence to compile and load everything. And don't forget [1] this one: é."])
    times = []
    kept = 0
    for _ in range(2):
        start = time.process_time()
        kept = 0
        for first in range(0, len(texts), BATCH):
            kept += sum(not reasons for reasons in rules.judge(texts[first : first + BATCH]).reasons)
        times.append(time.process_time() - start)
    return {"cold": times[0], "warm": times[1], "kept": kept}


def run_datatrove(texts: list[str]) -> dict[str, float]:
    """CPU seconds of datatrove's filters one after the other, and documents kept."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter()]
    for judge in filters:
        judge.filter(Document(text="One sentence to load everything. " * 20, id="0"))
    start = time.process_time()
    kept = 0
    for text in texts:
        document = Document(text=text, id="0")
        kept += all(judge.filter(document) is True for judge in filters)
    return {"cold": time.process_time() - start, "kept": kept}


def read(path: str, count: int) -> list[str]:
    """About ``count`` texts spread evenly over a JSONL file."""
    data = Path(path).read_bytes()
    if path.endswith(".zst"):
        import zstandard

        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    lines = data.splitlines()
    return [json.loads(line)["text"] for line in lines[:: max(1, len(lines) // count)]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("documents")
    parser.add_argument("--datatrove", help="an interpreter that has datatrove; none: ours alone")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help=argparse.SUPPRESS)  # how the processes are told apart
    options = parser.parse_args()
    if options.only:
        texts = read(options.documents, 10**9)
        found = run_datatrove(texts) if options.only == "datatrove" else run_ours(texts, options.only)
        print(json.dumps(found))
        return
    texts = read(options.documents, options.count)
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) / 1e6
    print(f"{len(texts)} documents, {size:.1f} MB")
    measured: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "documents.jsonl")
        Path(path).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        for _ in range(options.rounds):
            for kind in (["datatrove"] if options.datatrove else []) + ["spacy", "unicode"]:
                python = options.datatrove if kind == "datatrove" else sys.executable
                command = [python, __file__, path, "--only", kind]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for name in ("cold", "warm"):
                    if name in found:
                        measured.setdefault(f"{kind} {name}", []).append(found[name])
                        speed = size / found[name]
                        print(
                            f"{kind:10} {name}: {found[name]:8.2f} s  {speed:7.2f} MB/s  kept {found['kept']}"
                        )
    base = statistics.median(measured.get("datatrove cold", [float("nan")]))
    for name, seconds in measured.items():
        middle = statistics.median(seconds)
        print(f"median {name:16} {middle:8.2f} s  {size / middle:7.2f} MB/s  {base / middle:6.1f}x datatrove")


if __name__ == "__main__":
    main()
