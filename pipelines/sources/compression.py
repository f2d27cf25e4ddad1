"""Open a file for reading through whatever it is compressed with, told by its first bytes and not by its name."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import BinaryIO, cast

import zstandard

from gristmill import storage

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}

#: What a damaged or cut-short compressed stream raises while it is read.
STREAM_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError, OSError)


def compression_of(path: str) -> str | None:
    """``gzip``, ``zstd`` or None. InputError when the file cannot be opened."""
    with storage.open_input(path) as file:
        head = file.read(4)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def open_decompressed(path: str) -> BinaryIO:
    """A buffered stream of the decompressed bytes; several members or frames in one file are read as one.

    A stream cut short raises one of STREAM_ERRORS when its end is reached, also for zstd, whose library reads a cut
    frame as a clean end.
    """
    kind = compression_of(path)
    file = storage.open_input(path)
    if kind == "gzip":
        return cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=file), buffer_size=1 << 20))
    if kind == "zstd":
        return cast(BinaryIO, io.BufferedReader(_ZstdStream(file), buffer_size=1 << 20))
    return file


class _ZstdStream(io.RawIOBase):
    """Frames decoded one after another, complaining when the file ends inside one."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._decoder = zstandard.ZstdDecompressor().decompressobj()
        self._pending = memoryview(b"")
        self._inside = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._pending:
            data = self._decoder.unused_data if self._decoder.eof else b""
            if self._decoder.eof:
                self._decoder = zstandard.ZstdDecompressor().decompressobj()
                self._inside = False
            if not data:
                data = self._file.read(1 << 18)
            if not data:
                if self._inside:
                    raise EOFError("compressed file ended before its end-of-frame mark")
                return 0
            self._inside = True
            self._pending = memoryview(self._decoder.decompress(data))
            if self._decoder.eof and not self._decoder.unused_data:
                self._inside = False
        count = min(len(target), len(self._pending))
        target[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
