"""All shards of one dataset directory as one numbered run of rows, checked when first opened, gathered by row
number.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from gristmill import storage
from gristmill.errors import ArtefactError
from gristmill.manifest import FileEntry, manifest_digest, read_manifest
from gristmill.objectives import Objective, SpecialTokens, make_objective
from gristmill.objectives.words import unpack_flags
from gristmill.recipe import ObjectiveConfig
from gristmill.shards import Shard, open_shard

OnDamage = Literal["raise", "skip"]


class ShardSet:
    """A finished dataset directory, opened for gathering rows.

    A shard's size, and with ``verify`` its checksum, is compared with the manifest when it is first needed. A
    damaged or missing one raises ArtefactError naming the file; with ``on_damage="skip"`` every shard is
    checked at once, and the damaged ones are left out of the row numbers and named in ``skipped``.

    ``rows``: rows in all. ``objective``: what to apply to the rows, None when they are finished examples.
    """

    def __init__(self, directory: str, *, verify: bool = True, on_damage: OnDamage = "raise") -> None:
        self.directory = directory
        self.digest = manifest_digest(directory)
        self.manifest = read_manifest(directory)
        self.verify = verify
        self.skipped: list[str] = []
        self._entries = [
            entry for entry in self.manifest.files if entry.name.endswith(".arrow") and entry.rows
        ]
        self._open: dict[int, Shard] = {}
        if on_damage == "skip":
            self._leave_out_damaged()
        sizes = np.array([entry.rows for entry in self._entries], np.int64)
        self._ends = np.cumsum(sizes)
        self._starts = self._ends - sizes
        self.rows = int(self._ends[-1]) if self._entries else 0
        self.objective = self._make_objective()

    @property
    def objective_seed(self) -> int:
        """The seed the manifest gives for the noise of validation rows."""
        return int(self.manifest.details.get("objective_seed", 0))

    def gather(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Every column's values at these row numbers, in their order, as fresh arrays (len(rows), ...)."""
        if not len(rows):
            return {name: values[:0].copy() for name, values in self._shard(0).columns.items()}
        # In file order first: one run of reads a shard; then, from the cache, in the order asked for.
        order = np.argsort(rows)
        ascending = rows[order]
        numbers = np.searchsorted(self._ends, ascending, side="right")
        borders = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
        pieces = [
            (self._shard(number), ascending[start:stop] - self._starts[number], slice(start, stop))
            for start, stop in itertools.pairwise(borders)
            for number in [int(numbers[start])]
        ]
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        columns = {}
        for name, sample in pieces[0][0].columns.items():
            gathered = np.empty((len(rows), *sample.shape[1:]), sample.dtype)
            for shard, local, part in pieces:
                # "clip" lets take write straight into out; no row number is out of range.
                shard.columns[name].take(local, axis=0, out=gathered[part], mode="clip")
            columns[name] = gathered.take(places, axis=0)
        return columns

    def _shard(self, number: int) -> Shard:
        if number not in self._open:
            self._open[number] = self._checked(self._entries[number])
        return self._open[number]

    def _checked(self, entry: FileEntry) -> Shard:
        path = storage.join(self.directory, entry.name)
        remedy = "restore it or build the dataset again"
        if not storage.exists(path):
            raise ArtefactError(f"{path}: missing, the manifest names it; {remedy}")
        if (size := storage.size(path)) != entry.bytes:
            raise ArtefactError(
                f"{path}: truncated or damaged ({size} bytes, the manifest says {entry.bytes}); {remedy}"
            )
        if self.verify and (digest := storage.checksum(path)) != entry.xxh3_128:
            raise ArtefactError(
                f"{path}: damaged (xxh3-128 {digest}, the manifest says {entry.xxh3_128}); {remedy}"
            )
        shard = open_shard(path)
        if shard.rows != entry.rows:
            raise ArtefactError(f"{path}: {shard.rows} rows, the manifest says {entry.rows}; {remedy}")
        return shard

    def _leave_out_damaged(self) -> None:
        sound: list[FileEntry] = []
        for entry in self._entries:
            try:
                self._open[len(sound)] = self._checked(entry)
                sound.append(entry)
            except ArtefactError:
                self.skipped.append(entry.name)
        if self.skipped and not sound:
            raise ArtefactError(
                f"{self.directory}: every shard is damaged or missing ({', '.join(self.skipped)})"
            )
        self._entries = sound

    def _make_objective(self) -> Objective | None:
        details = self.manifest.details
        kind = details.get("kind")
        if kind == "examples":
            return None
        path = storage.join(self.directory, "manifest.json")
        if kind != "sequences":
            raise ArtefactError(f"{path}: details.kind is {kind!r}; a dataset has 'examples' or 'sequences'")
        try:
            config = TypeAdapter(ObjectiveConfig).validate_python(details["objective"])
            special = SpecialTokens.from_dict(details["special"])
            length, vocab_size = int(details["length"]), int(details["vocab_size"])
            packed = details.get("continuations")
            continuations = None if packed is None else unpack_flags(packed, vocab_size)
        except (KeyError, TypeError, ValueError, ValidationError, ArtefactError) as error:
            reason = str(error).splitlines()[0]
            raise ArtefactError(
                f"{path}: details do not describe an objective ({reason}); build the dataset again"
            ) from error
        return make_objective(
            config, length=length, special=special, vocab_size=vocab_size, continuations=continuations
        )
