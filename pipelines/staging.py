"""Names of the files a stage keeps while it works, in the output's staging directory; they go when it is done."""

from __future__ import annotations

from gristmill.storage import join


def scored(staging: str, split: int) -> str:
    """One split's documents after repair, with language and failed rules (Arrow IPC stream)."""
    return join(staging, f"scored-{split:05d}.arrow")


def keys(staging: str, split: int) -> str:
    """One split's keys for duplicate search; written after ``scored``, so its presence says the split is done."""
    return join(staging, f"keys-{split:05d}.arrow")


def tally(staging: str, split: int) -> str:
    """One split's counts from the first pass (JSON)."""
    return join(staging, f"tally-{split:05d}.json")


def edges(staging: str, kind: str, bucket: int) -> str:
    """Duplicate edges found in one bucket of keys."""
    return join(staging, f"edges-{kind}-{bucket:05d}.arrow")


def verdicts(staging: str, split: int) -> str:
    """Which documents of a split are duplicates, and of what."""
    return join(staging, f"verdicts-{split:05d}.arrow")


def account(staging: str, split: int) -> str:
    """One split's counts from the last pass (JSON); written last of its outputs."""
    return join(staging, f"account-{split:05d}.json")
