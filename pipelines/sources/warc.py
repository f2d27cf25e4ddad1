"""WARC files: HTML pages a crawler was answered with, their main content as text."""

from __future__ import annotations

from collections.abc import Iterator

from fastwarc import ArchiveIterator, WarcRecordType

from gristmill import storage
from gristmill.recipe import WarcSource
from pipelines.cleaning.extraction import extract_html
from pipelines.sources.http_body import decode_body
from pipelines.sources.raw import BLOCK_DOCUMENTS, BadRow, RawBlock, Split

#: Payload bytes read of one page; what browsers call a page is far smaller, and it bounds memory.
MAX_PAGE_BYTES = 64_000_000
_HTML_TYPES = ("text/html", "application/xhtml+xml")


def read(split: Split, source: WarcSource) -> Iterator[RawBlock]:
    """Blocks of the pages of one file; rows are record numbers, from 1.

    Requests, other media types and answers other than 200 are no documents and are counted as skipped. A record cut
    short or a page that cannot be decoded is recorded as a bad row, and so is the place where the file
    stops being WARC, which alone ends the reading.
    """
    block = RawBlock()
    row = 0
    with storage.open_input(split.path) as file:
        records = iter(ArchiveIterator(file, record_types=WarcRecordType.any_type, auto_decode="none"))
        while True:
            try:
                record = next(records, None)
                if record is None:
                    break
                row += 1
                block.last_row = row
                _take(record, row, source, block)
            except (
                Exception
            ) as error:  # the C++ reader raises OSError, ValueError and others on damaged files
                block.bad.append(BadRow(row + 1, f"not readable as WARC from here on: {error}", ""))
                break
            if block.full(BLOCK_DOCUMENTS):
                yield block
                block = RawBlock()
    if row == 0 and not block.bad and split.weight:
        block.bad.append(BadRow(1, "no WARC record in this file", ""))
    if not block.empty():
        yield block


def _take(record: object, row: int, source: WarcSource, block: RawBlock) -> None:
    if record.record_type != WarcRecordType.response:  # type: ignore[attr-defined]
        block.skip(f"{record.record_type} record")  # type: ignore[attr-defined]
        return
    http = record.http_headers  # type: ignore[attr-defined]
    if http is None:
        block.skip("response without HTTP headers")
        return
    if http.status_code != 200:
        block.skip(f"HTTP status {http.status_code}")
        return
    media_type = (record.http_content_type or "").lower()  # type: ignore[attr-defined]
    if media_type not in _HTML_TYPES:
        block.skip(f"media type {media_type or 'unknown'}")
        return
    url = (record.headers.get("WARC-Target-URI") or "").strip("<>") or None  # type: ignore[attr-defined]
    expected: int = record.content_length  # type: ignore[attr-defined]
    body: bytes = record.reader.read(MAX_PAGE_BYTES)  # type: ignore[attr-defined]
    if len(body) < min(expected, MAX_PAGE_BYTES):
        block.bad.append(BadRow(row, f"record cut short: {len(body)} of {expected} bytes of {url}", ""))
        return
    try:
        payload = decode_body(
            body, http.get("Transfer-Encoding"), http.get("Content-Encoding"), MAX_PAGE_BYTES
        )
    except ValueError as error:
        block.bad.append(BadRow(row, f"page not readable: {error}: {url}", ""))
        return
    page = extract_html(payload, record.http_charset, main_content=source.extract == "main_content")  # type: ignore[attr-defined]
    identifier = (record.record_id or "").strip("<>").removeprefix("urn:uuid:")  # type: ignore[attr-defined]
    block.add(identifier or f"{url}#{row}", page.text, url, row)
