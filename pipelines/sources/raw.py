"""What passes between input files and cleaning: splits, and blocks of raw documents and unreadable rows."""

from __future__ import annotations

from dataclasses import dataclass, field

#: A block is closed at this many characters even if it has few documents, so that memory stays bounded.
BLOCK_CHARACTERS = 8_000_000


@dataclass(frozen=True)
class Split:
    """One piece of input, cut by our own deterministic rule and never by the runner.

    ``number`` is its place among all splits, ``label`` names the file independent of where it lies,
    ``start``/``stop`` are byte offsets (stop None: to the end), ``weight`` the bytes it stands for in progress bars.
    """

    number: int
    source: int
    path: str
    label: str
    start: int
    stop: int | None
    weight: int


@dataclass(frozen=True)
class BadRow:
    """An input row that could not be read. ``row`` counts from 1 within the split, ``excerpt`` shows its beginning."""

    row: int
    error: str
    excerpt: str


@dataclass
class RawBlock:
    """Parallel lists for some documents, the bad rows met on the way, and records that are no documents at all.

    ``last_row`` is the last row read so far, of whatever kind.
    """

    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    urls: list[str | None] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    characters: int = 0
    last_row: int = 0

    def add(self, identifier: str, text: str, url: str | None, row: int) -> None:
        """Append one document."""
        self.ids.append(identifier)
        self.texts.append(text)
        self.urls.append(url)
        self.rows.append(row)
        self.characters += len(text)

    def skip(self, reason: str) -> None:
        """Count a record that is no document (an image, a request)."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def full(self, documents: int) -> bool:
        """Whether the block should be closed."""
        return len(self.ids) >= documents or self.characters >= BLOCK_CHARACTERS or len(self.bad) >= documents

    def empty(self) -> bool:
        """Whether nothing is in it."""
        return not (self.ids or self.bad or self.skipped)


#: Documents a reader puts into one block.
BLOCK_DOCUMENTS = 1024
