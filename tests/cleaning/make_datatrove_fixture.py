"""Write ``datatrove_decisions.jsonl.gz``: what datatrove says of some hundreds of the demo's documents.

GRISTMILL_DATATROVE_PYTHON=/where/datatrove/is/bin/python python tests/cleaning/make_datatrove_fixture.py
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tempfile
from pathlib import Path

import zstandard

HERE = Path(__file__).resolve().parent
FIXTURE = HERE / "datatrove_decisions.jsonl.gz"
DEMO = HERE.parents[1] / "recipes" / "demo" / "data"
LONGEST = 20_000


def demo_documents(every: int = 14) -> list[dict[str, str]]:
    """``{"text", "language"}`` of every so manieth of the demo's documents, cut at ``LONGEST`` characters."""
    lines: list[bytes] = []
    for path in sorted(DEMO.glob("docs-*.jsonl.*")):
        data = path.read_bytes()
        if path.suffix == ".gz":
            text = gzip.decompress(data)
        else:
            text = zstandard.ZstdDecompressor().stream_reader(data).read()
        lines += text.splitlines()
    documents = []
    for line in lines[::every]:
        try:
            documents.append({"text": json.loads(line)["text"][:LONGEST], "language": "en"})
        except (ValueError, KeyError, TypeError):
            continue  # the demo has broken rows on purpose
    return documents


def decide(documents: list[dict[str, str]]) -> list[dict[str, str | None]]:
    """datatrove's decisions, by the interpreter that ``GRISTMILL_DATATROVE_PYTHON`` names."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "documents.jsonl", Path(folder) / "decisions.jsonl"
        source.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
        python = os.environ["GRISTMILL_DATATROVE_PYTHON"]
        script = str(HERE / "datatrove_decisions.py")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([python, script, str(source), str(target)], check=True, env=environment)
        return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    rows = "".join(json.dumps(row) + "\n" for row in decide(demo_documents()))
    FIXTURE.write_bytes(gzip.compress(rows.encode(), 9, mtime=0))
