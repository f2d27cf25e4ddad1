"""``gristmill verify``: every checksum under a path."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape

from gristmill import storage
from gristmill.errors import ArtefactError
from gristmill.manifest import MANIFEST_NAME, read_manifest, verify
from gristmill.progress import Reporter


def finished_directories(path: str) -> Iterator[str]:
    """Every directory with a manifest at or below a path, sorted."""
    if storage.exists(storage.join(path, MANIFEST_NAME)):
        yield path
    for name in storage.list_directories(path):
        yield from finished_directories(storage.join(path, name))


def verify_path(path: str) -> None:
    """Print a line per directory; ArtefactError (exit code 1) naming the first damage when there is any."""
    if not storage.exists(path):
        raise ArtefactError(f"{path}: no such file or directory")
    start = path if storage.is_directory(path) else os.path.dirname(path) or "."
    directories = list(finished_directories(start))
    if not directories:
        raise ArtefactError(f"{path}: no {MANIFEST_NAME} here or below, so nothing finished to verify")
    console = Console(highlight=False)
    problems: list[str] = []
    total = sum(entry.bytes for directory in directories for entry in read_manifest(directory).files)
    with Reporter().task("verify", total=total, unit="B") as task:
        for directory in directories:
            found = verify(directory)
            entries = read_manifest(directory).files
            task.advance(sum(entry.bytes for entry in entries))
            mark = "[red]damaged[/red]" if found else "[green]sound[/green]"
            console.print(f"{mark}  {escape(directory)}  {len(entries)} files", soft_wrap=True)
            problems += found
    for problem in problems:
        console.print(f"  {problem}", soft_wrap=True, markup=False)
    if problems:
        raise ArtefactError(
            f"{len(problems)} damaged or missing file(s), the first: {problems[0]}; run the stage again"
        )
