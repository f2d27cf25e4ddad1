"""Training batches in an order of the seed alone: not of world size, prefetching, or past interruptions.

Step t is the global positions [t*G, (t+1)*G) of an endless walk over epochs (``sample_order``), so batches
straddle the borders of epochs and nothing is lost or repeated; each rank takes its contiguous slice of every
step. The state is a position and what it is a position in. Rows are gathered and noised one or more batches
at a time in this process: a worker process would cost more to talk to than the work it saves. Works as a
plain iterator and under ``DataLoader(stream, batch_size=None)``.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from gristmill.errors import ArtefactError, GristmillError
from training.sample_order import BLOCK_ROWS, WINDOW_BLOCKS, SampleOrder
from training.shard_set import OnDamage, ShardSet

Batch = dict[str, torch.Tensor]
Columns = dict[str, NDArray[Any]]

#: Small batches are gathered and noised together up to this many rows, to spread the cost of the calls.
_ROWS_TOGETHER = 1024


class Stream(IterableDataset[Batch]):
    """An endless, resumable iterator of this rank's batches.

    A batch is a dict of int64 tensors: ``input_ids`` and ``attention_mask`` (b, L), ``labels`` (b, L or the
    targets' length; -100 where nothing is predicted), ``length`` (b,) tokens of each input, ``sample_id``
    (b,) the stored 64-bit ids' bits, and the further columns of the rows or of the objective.
    b is ``global_batch / world_size``, rounded down or up so that the
    ranks' slices add up.

    On a *sequences* dataset the objective runs here, its noise keyed by (seed, epoch, sample id): fresh every
    epoch. ``prefetch``: batches made ahead by one thread; 0 for none. ``pin_memory``: None means where CUDA
    is in use. ``on_damage``: see ShardSet; a skipped shard's rows are left out of the order, so ranks that
    read different copies of a dataset must agree on ``skipped``.
    """

    def __init__(
        self,
        directory: str,
        *,
        global_batch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        prefetch: int = 1,
        verify: bool = True,
        on_damage: OnDamage = "raise",
        pin_memory: bool | None = None,
        block_rows: int = BLOCK_ROWS,
        window_blocks: int = WINDOW_BLOCKS,
    ) -> None:
        if global_batch < 1 or prefetch < 0 or not 0 <= rank < world_size:
            raise ValueError(f"global_batch {global_batch}, prefetch {prefetch}, rank {rank} of {world_size}")
        self._shards = ShardSet(directory, verify=verify, on_damage=on_damage)
        if not self._shards.rows:
            raise ArtefactError(f"{directory}: the dataset has no rows to train on")
        self._order = SampleOrder(self._shards.rows, seed, shuffle, block_rows, window_blocks)
        self.global_batch = global_batch
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.prefetch = prefetch
        self.samples_seen = 0
        self._pin = torch.cuda.is_available() if pin_memory is None else pin_memory

    @property
    def rows(self) -> int:
        """Rows of one epoch."""
        return self._shards.rows

    @property
    def skipped(self) -> list[str]:
        """Names of damaged shards left out."""
        return list(self._shards.skipped)

    def state_dict(self) -> dict[str, Any]:
        """What a run must keep to go on from here, JSON-ready; counts batches taken, not those made ahead."""
        return {
            "manifest_digest": self._shards.digest, "seed": self.seed, "samples_seen": self.samples_seen,
            "order": self._order_settings(), "skipped": self.skipped,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where a stream of this dataset and seed stood; world size, rank and prefetch may differ.

        Takes effect at the next ``iter``. ArtefactError when the dataset, seed or order is another one.
        """
        directory = self._shards.directory
        if state["manifest_digest"] != self._shards.digest:
            raise ArtefactError(
                f"{directory}: the dataset has changed since the state was saved "
                f"(manifest {self._shards.digest}, saved {state['manifest_digest']}); "
                "restore that dataset or start a new run"
            )
        for key, mine in (("seed", self.seed), ("order", self._order_settings()), ("skipped", self.skipped)):
            if state.get(key, mine) != mine:
                raise ArtefactError(
                    f"{directory}: the state was saved with {key} {state[key]}, this stream has {mine}; "
                    "it cannot continue the same order"
                )
        self.samples_seen = int(state["samples_seen"])

    def _order_settings(self) -> list[int]:
        return [int(self._order.shuffle), self._order.block_rows, self._order.window_blocks]

    def __iter__(self) -> Iterator[Batch]:
        if get_worker_info() is not None:
            raise GristmillError("Stream prefetches in its own thread: use DataLoader(..., num_workers=0)")
        position = self.samples_seen
        batches = (
            _prefetched(self._batches(position), self.prefetch) if self.prefetch else self._batches(position)
        )
        try:
            for batch in batches:
                position += self.global_batch
                self.samples_seen = position
                yield batch
        finally:
            batches.close()

    def _batches(self, position: int) -> Generator[Batch, None, None]:
        start, stop = _slice(self.global_batch, self.rank, self.world_size)
        share = stop - start
        together = max(1, min(_ROWS_TOGETHER // max(share, 1), self.rows // self.global_batch))
        while True:
            firsts = range(position, position + together * self.global_batch, self.global_batch)
            parts = [part for first in firsts for part in self._order.parts(first + start, first + stop)]
            columns = self._make(parts)
            for number in range(together):
                cut = slice(number * share, (number + 1) * share)
                yield _tensors({name: values[cut] for name, values in columns.items()}, self._pin)
            position = firsts.stop

    def _make(self, parts: list[tuple[int, NDArray[np.int64]]]) -> Columns:
        """The examples of ``(epoch, rows)`` parts, one after another: one gather, one call an epoch."""
        rows = np.concatenate([np.empty(0, np.int64), *(rows for _, rows in parts)])
        columns = self._shards.gather(rows)
        sizes = {epoch: 0 for epoch, _ in parts}
        for epoch, part in parts:
            sizes[epoch] += len(part)
        if len(sizes) <= 1:
            return _examples(self._shards, columns, self.seed, next(iter(sizes), 0))
        made, start = [], 0
        for epoch, size in sizes.items():
            piece = {name: values[start : start + size] for name, values in columns.items()}
            made.append(_examples(self._shards, piece, self.seed, epoch))
            start += size
        return {name: np.concatenate([piece[name] for piece in made]) for name in made[0]}

    def evaluation(self, batch_size: int, rows: int | None = None) -> Iterator[Batch]:
        """See :func:`evaluation_batches`; over this stream's dataset and by this rank."""
        return _evaluation(self._shards, batch_size, rows, self.rank, self.world_size)


def evaluation_batches(
    directory: str,
    batch_size: int,
    rows: int | None = None,
    *,
    rank: int = 0,
    world_size: int = 1,
    verify: bool = True,
) -> Iterator[Batch]:
    """The first ``rows`` rows (None: all) once, in file order, ``batch_size`` over all ranks at a time.

    Batches as of Stream; the last may be shorter. A *sequences* dataset gets the noise of its manifest's
    ``objective_seed``, the same at every call.
    """
    return _evaluation(ShardSet(directory, verify=verify), batch_size, rows, rank, world_size)


def _evaluation(
    shards: ShardSet, batch_size: int, rows: int | None, rank: int, world_size: int
) -> Iterator[Batch]:
    total = shards.rows if rows is None else min(rows, shards.rows)
    for first in range(0, total, batch_size):
        start, stop = _slice(min(batch_size, total - first), rank, world_size)
        columns = shards.gather(np.arange(first + start, first + stop))
        yield _tensors(_examples(shards, columns, shards.objective_seed, 0), pin=False)


def _slice(size: int, rank: int, world_size: int) -> tuple[int, int]:
    """A rank's part of a step of ``size`` samples; parts are contiguous and differ by one sample at most."""
    return size * rank // world_size, size * (rank + 1) // world_size


def _examples(shards: ShardSet, columns: Columns, seed: int, epoch: int) -> Columns:
    """Rows as stored, or noised by the dataset's objective."""
    if shards.objective is None:
        return columns
    made = shards.objective(
        columns["input_ids"], columns["length"], columns["sample_id"], seed=seed, epoch=epoch
    )
    return {**columns, **made}


def _tensors(columns: Columns, pin: bool) -> Batch:
    """A batch as fresh int64 tensors, with the attention mask."""
    batch = {name: torch.from_numpy(_signed(values)).to(torch.int64) for name, values in columns.items()}
    shape, lengths = columns["input_ids"].shape, columns["length"]
    if len(lengths) and int(lengths.min()) == shape[1]:
        batch["attention_mask"] = torch.ones(shape, dtype=torch.int64)
    else:
        mask = np.arange(shape[1], dtype=np.int32) < lengths[:, None]
        batch["attention_mask"] = torch.from_numpy(mask).to(torch.int64)
    return {name: tensor.pin_memory() for name, tensor in batch.items()} if pin else batch


def _signed(values: NDArray[Any]) -> NDArray[Any]:
    """The same bits as int64 where torch could not hold them as numbers (64-bit ids)."""
    return values.view(np.int64) if values.dtype == np.uint64 else values


def _prefetched(batches: Iterator[Batch], depth: int) -> Generator[Batch, None, None]:
    """The same batches, made up to ``depth`` ahead by a thread that ends with this generator.

    What the thread raises is raised here, after the batches made before it.
    """
    made: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def work() -> None:
        try:
            for batch in batches:
                made.put(batch)
                if stopped.is_set():
                    return
        except BaseException as error:
            made.put(error)

    thread = threading.Thread(target=work, name="gristmill-prefetch", daemon=True)

    def stop() -> None:
        stopped.set()
        while thread.is_alive():
            with contextlib.suppress(queue.Empty):
                made.get_nowait()
            thread.join(0.001)

    thread.start()
    # A thread still inside torch while the interpreter shuts down aborts the process.
    atexit.register(stop)
    try:
        while True:
            item = made.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        atexit.unregister(stop)
        stop()
