"""Open a file for reading through whatever it is compressed with, told by its first bytes and not by its name."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import zstandard

from gristmill import storage

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
#: Compressed bytes decoded at once: what a damaged member loses of what stands before the damage, at most.
_PIECE_BYTES = 1 << 15

#: What a damaged or cut-short compressed stream raises while it is read.
STREAM_ERRORS = (EOFError, zlib.error, zstandard.ZstdError, OSError)


def compression_of(path: str) -> str | None:
    """``gzip``, ``zstd`` or None. InputError when the file cannot be opened."""
    with storage.open_input(path) as file:
        head = file.read(4)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def open_decompressed(path: str) -> BinaryIO:
    """A buffered stream of the decompressed bytes; several members or frames in one file are read as one.

    A stream cut short gives all bytes before the cut and then raises one of STREAM_ERRORS. Neither library's own file
    object does: Python's gzip throws away what its buffer held, zstandard takes a cut frame for a clean end.
    """
    kind = compression_of(path)
    file = storage.open_input(path)
    if kind is None:
        return file
    if kind == "gzip":  # some writers pad their blocks with zeros, which belong to no member
        stream = _MemberStream(file, lambda: zlib.decompressobj(wbits=31), padding=b"\0")
    else:
        stream = _MemberStream(file, zstandard.ZstdDecompressor().decompressobj, padding=b"")
    return cast(BinaryIO, io.BufferedReader(stream, buffer_size=1 << 20))


class _MemberStream(io.RawIOBase):
    """Members (gzip) or frames (zstd) decoded one after another, complaining when the file ends inside one.

    ``decoder`` makes an object with ``decompress``, ``eof`` and ``unused_data`` for one member.
    """

    def __init__(self, file: BinaryIO, decoder: Callable[[], Any], *, padding: bytes) -> None:
        super().__init__()
        self._file, self._make, self._padding = file, decoder, padding
        self._decoder = decoder()
        self._inside = False
        self._ahead = b""  # compressed bytes read but not yet decoded
        self._pending = memoryview(b"")  # decoded bytes not yet handed out

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._pending:
            data = self._ahead or self._file.read(_PIECE_BYTES)
            if not data:
                if self._inside:
                    raise EOFError("the file ends inside a compressed member")
                return 0
            self._decode(data)
        count = min(len(target), len(self._pending))
        target[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def _decode(self, data: bytes) -> None:
        self._ahead = b""
        if not self._inside:
            data = data.lstrip(self._padding)
            if not data:
                return
            self._decoder, self._inside = self._make(), True
        self._pending = memoryview(self._decoder.decompress(data))
        if self._decoder.eof:
            self._inside, self._ahead = False, self._decoder.unused_data

    def close(self) -> None:
        self._file.close()
        super().close()
