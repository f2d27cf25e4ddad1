"""Real documents for the cleaning tests: the shared corpora beside the repository, else the demo's own."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
import zstandard

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"


def _sample(path: Path, count: int) -> list[str]:
    """About ``count`` texts spread evenly over a JSONL file (documents of one source lie together)."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    elif path.suffix == ".gz":
        data = gzip.decompress(data)
    lines = data.splitlines()
    return [json.loads(line)["text"] for line in lines[:: max(1, len(lines) // count)]]


@pytest.fixture(scope="session")
def english() -> list[str]:
    """Some thousands of English documents."""
    if (SHARED / "docs.jsonl.zst").exists():
        return _sample(SHARED / "docs.jsonl.zst", 3200)
    bundled = sorted((ROOT / "recipes" / "demo" / "data").glob("docs-*.jsonl.*"))
    if not bundled:
        pytest.skip("neither ../shared/data/docs.jsonl.zst nor the demo's documents are here")
    return [text for path in bundled for text in _sample(path, 500)]


@pytest.fixture(scope="session")
def multilingual() -> list[tuple[str, str]]:
    """``(text, language)`` of some hundreds of documents in 32 languages."""
    path = SHARED / "multilingual.jsonl.zst"
    if not path.exists():
        pytest.skip("../shared/data/multilingual.jsonl.zst is not here")
    data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes())).read().splitlines()
    rows = [json.loads(line) for line in data[:: len(data) // 700]]
    return [(row["text"], row["lang"]) for row in rows]
