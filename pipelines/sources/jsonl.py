"""JSON lines: one object a line, the text under a named field."""

from __future__ import annotations

import json
from collections.abc import Iterator

from gristmill import storage
from gristmill.recipe import JsonlSource
from pipelines.sources.compression import STREAM_ERRORS, open_decompressed
from pipelines.sources.raw import BLOCK_DOCUMENTS, BadRow, RawBlock, Split

#: A line longer than this is a bad row: it bounds what one row can take of memory.
MAX_LINE_BYTES = 512_000_000
_EXCERPT = 200


def read(split: Split, source: JsonlSource) -> Iterator[RawBlock]:
    """Blocks of the lines that begin in ``[split.start, split.stop)``; rows count from 1 within the split.

    A row that is not JSON, not UTF-8, or lacks the text is recorded as bad and reading goes on; a stream that breaks
    off (truncated gzip) is recorded as one bad row at the place where it broke.
    """
    block = RawBlock()
    row = 0
    with open_decompressed(split.path) as stream:
        offset = split.start
        if split.start:
            # The line that straddles the cut belongs to the split before; look one byte back to see a line's start.
            stream.seek(split.start - 1)
            offset += _skip_line(stream) - 1
        while split.stop is None or offset < split.stop:
            try:
                line = stream.readline(MAX_LINE_BYTES)
            except STREAM_ERRORS as error:
                block.bad.append(
                    BadRow(row + 1, f"the compressed stream is cut short or damaged here: {error}", "")
                )
                break
            if not line:
                break
            row += 1
            block.last_row = row
            if len(line) >= MAX_LINE_BYTES and not line.endswith(b"\n"):
                block.bad.append(BadRow(row, f"line longer than {MAX_LINE_BYTES} bytes", _excerpt(line)))
                offset += len(line) + _skip_line(stream)
                continue
            _parse(line, row, offset, split, source, block)
            offset += len(line)
            if block.full(BLOCK_DOCUMENTS):
                yield block
                block = RawBlock()
    if not block.empty():
        yield block


def _parse(line: bytes, row: int, offset: int, split: Split, source: JsonlSource, block: RawBlock) -> None:
    if line.isspace():
        block.skip("blank line")
        return
    try:
        value = json.loads(line)
    except UnicodeDecodeError as error:
        block.bad.append(BadRow(row, f"invalid UTF-8 at byte {error.start} of the row", _excerpt(line)))
        return
    except (ValueError, RecursionError) as error:
        block.bad.append(BadRow(row, f"not JSON: {error}", _excerpt(line)))
        return
    problem = None
    if not isinstance(value, dict):
        problem = f"a JSON {type(value).__name__}, an object was expected"
    elif source.text_field not in value:
        problem = f"no field {source.text_field!r}; it has {', '.join(sorted(value)[:8]) or 'none'}"
    elif not isinstance(value[source.text_field], str):
        problem = (
            f"field {source.text_field!r} is {type(value[source.text_field]).__name__}, text was expected"
        )
    if problem is not None:
        block.bad.append(BadRow(row, problem, _excerpt(line)))
        return
    identifier = value.get(source.id_field) if source.id_field else None
    url = value.get(source.url_field) if source.url_field else None
    text: str = value[source.text_field]
    if not text.isascii():  # a JSON \ud800 escape gives a lone surrogate, which no UTF-8 file can hold
        text = text.encode("utf-8", errors="replace").decode("utf-8")
    block.add(
        str(identifier) if identifier is not None else f"{split.label}@{offset}",
        text,
        str(url) if url is not None else None,
        row,
    )


def _excerpt(line: bytes) -> str:
    return line[:_EXCERPT].decode("utf-8", errors="replace")


def _skip_line(stream: object) -> int:
    """Go behind the next line feed, however far it is; returns the bytes passed."""
    skipped = 0
    while part := stream.readline(1 << 20):  # type: ignore[attr-defined]
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def splits_of(path: str, compressed: bool, split_bytes: int) -> list[tuple[int, int | None, int]]:
    """``(start, stop, weight)`` pieces of a file: byte ranges when plain, one piece when compressed."""
    size = storage.size(path)
    if compressed or size <= split_bytes:
        return [(0, None, size)]
    pieces = -(-size // split_bytes)
    cuts = [size * piece // pieces for piece in range(pieces)]
    return [(start, stop, stop - start) for start, stop in zip(cuts, [*cuts[1:], size], strict=True)]
