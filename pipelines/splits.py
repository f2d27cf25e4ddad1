"""Cut a corpus into splits by a rule of our own: files in path order, large plain ones at byte ranges.

Nothing here depends on the runner, the number of workers or where the files lie, so every output file, which belongs
to one split, is the same everywhere.
"""

from __future__ import annotations

from gristmill import storage
from gristmill.errors import InputError
from gristmill.recipe import CorpusConfig
from pipelines.sources import jsonl
from pipelines.sources.compression import compression_of
from pipelines.sources.raw import Split


def find_files(corpus: CorpusConfig) -> list[tuple[int, str, str]]:
    """``(source index, path, label)`` of every input file, in order. InputError for a pattern that matches nothing."""
    found = []
    for index, source in enumerate(corpus.sources):
        paths: dict[str, str] = {}
        for pattern in source.paths:
            matches = [path for path in storage.glob(pattern) if not storage.is_directory(path)]
            if not matches:
                kind = (
                    "is a directory; give a file or a pattern such as"
                    if storage.is_directory(pattern)
                    else "no such file;"
                )
                hint = (
                    f" {storage.join(pattern, '*')}"
                    if storage.is_directory(pattern)
                    else " check [[corpus.sources]] paths"
                )
                raise InputError(f"{pattern}: {kind}{hint} (source {source.name!r})")
            root = _fixed_part(pattern)
            for path in matches:
                label = f"{source.name}/{path[len(root) :]}"
                if paths.get(label, path) != path:  # the same name from two folders
                    label = f"{source.name}/{path.lstrip('/')}"
                paths[label] = path
        found += [(index, path, label) for label, path in sorted(paths.items())]
    return found


def _fixed_part(pattern: str) -> str:
    """The folder part of a pattern before its first wildcard, with the closing slash."""
    wild = min((pattern.find(sign) for sign in "*?[" if sign in pattern), default=len(pattern))
    return pattern[: pattern.rfind("/", 0, wild) + 1]


def make_splits(corpus: CorpusConfig) -> list[Split]:
    """Every split of the corpus, numbered in order."""
    splits: list[Split] = []
    for index, path, label in find_files(corpus):
        size = storage.size(path)
        if corpus.sources[index].kind == "jsonl":
            pieces = jsonl.splits_of(path, compression_of(path) is not None, corpus.split_bytes)
        else:
            pieces = [(0, None, size)]
        splits += [
            Split(len(splits) + number, index, path, label, start, stop, weight)
            for number, (start, stop, weight) in enumerate(pieces)
        ]
    return splits
