"""A batch on its way to the model."""

from __future__ import annotations

import torch
from torch import Tensor

#: ``input_ids``, ``attention_mask``, ``labels``, ``sample_id`` as the stream gives them, int64.
Batch = dict[str, Tensor]

#: The label of a position where nothing is to be predicted, as everywhere in torch and ``transformers``.
IGNORED = -100


def place(batch: Batch, device: torch.device) -> Batch:
    """The batch on ``device``, its labels reduced to where there are any.

    ``positions`` (n,) int64: places in the flattened (B * L) labels that have one; ``targets`` (n,) int64:
    those labels. They are found here, on the CPU, so that their number is known without waiting for the GPU.
    """
    labels = batch["labels"].reshape(-1)
    positions = (labels != IGNORED).nonzero().squeeze(1)
    placed = {**batch, "positions": positions, "targets": labels[positions]}
    if device.type == "cpu":
        return placed
    return {name: tensor.to(device, non_blocking=True) for name, tensor in placed.items()}


def rows_of(batch: Batch, start: int, end: int) -> Batch:
    """Rows ``start`` to ``end`` of an unplaced batch, as views."""
    return {name: tensor[start:end] for name, tensor in batch.items()}
