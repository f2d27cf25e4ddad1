"""A small real corpus, cut from the demo's with its mess, and an undisturbed run to hold others to."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from gristmill.progress import Reporter
from gristmill.recipe import Recipe, load_recipe
from pipelines import units
from pipelines.build import build
from pipelines.clean import clean
from pipelines.runners import Execution
from pipelines.vocab import vocab

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "recipes" / "demo" / "data"
#: Units so small that the corpus has several.
UNIT_BYTES = 120_000
VOCABS, BUILDS = ("bert", "t5"), ("masked", "spans")

RECIPE = """
name = "small"
output = "OUTPUT"
seed = 5
[corpus]
split_bytes = 150_000
[[corpus.sources]]
name = "docs"
kind = "jsonl"
paths = ["corpus/docs-*"]
[[corpus.sources]]
name = "web"
kind = "warc"
paths = ["corpus/pages.warc.gz"]
[clean.rules]
language = { allowed = ["en"], min_score = 0.5 }
gopher_repetition = {}
gopher_quality = {}
[vocab.bert]
kind = "wordpiece"
family = "bert"
size = 600
[vocab.t5]
kind = "sentencepiece_unigram"
family = "t5"
size = 700
sentinels = 20
[build.masked]
vocab = "bert"
length = 64
validation_fraction = 0.1
objective = { kind = "masked_lm" }
[build.spans]
vocab = "t5"
length = 64
validation_fraction = 0.1
objective = { kind = "span_corruption" }
"""


def _lines(name: str) -> list[bytes]:
    data = (DEMO / name).read_bytes()
    return (gzip.decompress(data) if name.endswith("gz") else zstandard.decompress(data)).splitlines()


def _members(data: bytes) -> list[bytes]:
    found = []
    while data:
        decoder = zlib.decompressobj(31)
        decoder.decompress(data)
        found.append(data[: len(data) - len(decoder.unused_data)])
        data = decoder.unused_data
    return found


def _write_corpus(folder: Path) -> None:
    """JSON lines of three kinds, with a broken row, a blank one and duplicates; and a WARC file cut short."""
    folder.mkdir()
    zst = (
        zstandard.ZstdDecompressor()
        .stream_reader((DEMO / "docs-02.jsonl.zst").read_bytes())
        .read()
        .splitlines()
    )
    broken = zst[430:520]  # row 454 of the demo's file breaks off
    plain = _lines("docs-03.jsonl.gz")
    # Chapters of the Bible pass the rules, so that their copies are left to the duplicate search.
    texts = [
        value for value in map(json.loads, filter(None, plain[:290])) if value.get("source") == "bible-kjv"
    ]
    again = [
        {**v, "id": f"again/{v['id']}", "text": v["text"][0].swapcase() + v["text"][1:].replace(" ", "  ")}
        for v in texts[:8]
    ]
    near = [{**v, "id": f"near/{v['id']}", "text": f"Once more: {v['text']}"} for v in texts[6:16]]
    planted = [json.dumps(value).encode() for value in again + near]
    (folder / "docs-a.jsonl").write_bytes(b"\n".join([*plain[:290], *planted[::2]]) + b"\n")
    (folder / "docs-b.jsonl.gz").write_bytes(gzip.compress(b"\n".join([*plain[590:640], *broken]), mtime=0))
    (folder / "docs-c.jsonl.zst").write_bytes(
        zstandard.compress(b"\n".join([*zst[:60], *planted[1::2], b""]))
    )
    records = _members((DEMO / "pages-03.warc.gz").read_bytes())
    (folder / "pages.warc.gz").write_bytes(b"".join([*records[:41], records[-1]]))


@dataclass(frozen=True)
class Ground:
    """A folder with the corpus in ``corpus`` and the recipe that reads it."""

    folder: Path

    @property
    def recipe_file(self) -> Path:
        return self.folder / "recipe.toml"

    def recipe(self, output: Path) -> Recipe:
        """The recipe with its results under ``output``."""
        return load_recipe(str(self.recipe_file), str(output))

    def moved(self, folder: Path) -> Ground:
        """The same corpus and recipe in another folder."""
        shutil.copytree(self.folder, folder)
        return Ground(folder)


def run_stages(recipe: Recipe, execution: Execution) -> None:
    """Clean, both vocabularies, both datasets."""
    clean(recipe, execution)
    for name in VOCABS:
        vocab(recipe, name, execution)
    for name in BUILDS:
        build(recipe, name, execution)


def output_bytes(folder: Path) -> dict[str, bytes]:
    """All manifests and every file one speaks of, by their place under ``folder``."""
    found: dict[str, bytes] = {}
    for manifest in sorted(folder.rglob("manifest.json")):
        names = [entry["name"] for entry in json.loads(manifest.read_bytes())["files"]]
        for path in [manifest, *(manifest.parent / name for name in names)]:
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def other_files(folder: Path) -> list[str]:
    """What lies under ``folder`` beside these, and beside times and each dataset's own report."""
    known = set(output_bytes(folder))
    rest = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    allowed = {"timing.json", "report.json"}
    return sorted(name for name in rest if name not in known and os.path.basename(name) not in allowed)


def one_process() -> Execution:
    return Execution(1, reporter=Reporter(quiet=True))


@pytest.fixture(scope="session", autouse=True)
def small_units() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "SMALLEST_BYTES", UNIT_BYTES)
        yield


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("ground")
    _write_corpus(folder / "corpus")
    (folder / "recipe.toml").write_text(RECIPE)
    return Ground(folder)


@pytest.fixture(scope="session")
def undisturbed(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of every Beam stage, in one process."""
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    run_stages(ground.recipe(output), one_process())
    return output


# What the tests of this folder share, importable under one name.
sys.modules["tests_pipelines"] = sys.modules[__name__]
