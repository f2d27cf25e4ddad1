"""Readers of raw corpora: one module per format. Each turns a split of input into blocks of raw documents.

=========  =================================================
module     reads
=========  =================================================
jsonl      JSON lines, plain or compressed
warc       WARC files of crawled HTML pages
=========  =================================================

A new format is a recipe section in ``gristmill.recipe``, a module here with ``read(split, source)``, and a line in
``READERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipelines.sources import jsonl, warc
from pipelines.sources.raw import RawBlock, Split

READERS: dict[str, Callable[[Split, Any], Iterator[RawBlock]]] = {"jsonl": jsonl.read, "warc": warc.read}
