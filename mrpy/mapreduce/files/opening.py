"""How a file is opened: plain, compressed, or wherever fsspec reaches."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache

from mrpy.errors import DataError, OptionError
from mrpy.light import TYPE_CHECKING, Frozen, later
from mrpy.mapreduce.files.found import is_url
from mrpy.mapreduce.own_file import own, to_read

if TYPE_CHECKING:
    import bz2
    import gzip
    import importlib
    import lzma
    from typing import IO, Any
else:
    bz2, gzip, lzma = later("bz2"), later("gzip"), later("lzma")  # each for its own files only
    importlib = later("importlib")

SUFFIXES = {
    ".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".lzma": "xz", ".zst": "zstd", ".zstd": "zstd",
}  # fmt: skip
ARCHIVES = frozenset(("zip", "tar", "libarchive"))  # of fsspec: "zip://a.txt::file.zip"
# The first is Python's, from 3.14 on. Not `zstandard`: it takes a file that was cut off for a whole one.
_ZSTD = ("compression.zstd", "backports.zstd")
_AT_ONCE = 1 << 13  # bytes that are unpacked at once: where a stream ends, what is left of them is copied


class Opening(Frozen):
    """How the files of a run are opened.

    ``compression``  ``"infer"`` it from the ending of the name, one of those below, or None
    ``storage``      what fsspec is told: keys, endpoints
    ``folder``       where they were found: relative paths are meant from there, wherever a worker may stand
    ``opened``       the files that were, for one who watches (`watching`)
    """

    compression: str | None = "infer"
    storage: Mapping[str, Any] | None = None
    folder: str = ""
    opened: list[Any] | None = None

    def watching(self) -> Opening:
        """The same for one file, of which it knows then how much was read."""
        return self.replaced(opened=[])

    def bytes_read(self) -> int:
        """How many bytes of the file that is open were read, as they are on the disk."""
        return 0 if not self.opened or self.opened[-1].closed else int(self.opened[-1].tell())

    def packed(self, path: str) -> str | None:
        """How a file is compressed."""
        if self.compression != "infer":
            return self.compression
        if is_url(path):
            path = next(filter(is_url, path.split("::"))).split("?")[0]
        return SUFFIXES.get(path[path.rfind(".") :].lower())

    def is_packed(self, path: str) -> bool:
        """Whether it can be read from its beginning only, so that whoever wants a part of it reads all."""
        return self.packed(path) is not None or (is_url(path) and path.split("://")[0] in ARCHIVES)

    def open(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """The file, unpacked. It is closed in the end."""
        packed = self.packed(path)
        return self._raw(path) if packed is None else self._opened(path, packed)

    @contextmanager
    def _opened(self, path: str, packed: str) -> Iterator[IO[bytes]]:
        with self._raw(path) as raw, _unpacked(raw, packed) as unpacked:
            yield unpacked

    def _raw(self, path: str) -> Any:
        if is_url(path):
            return _remote(path, self.storage)
        try:
            file = to_read(self.place(path))
            if self.opened is not None:
                self.opened.append(file)
            return file
        except OSError as error:
            error.filename = path  # as the user wrote it
            raise

    def place(self, path: str) -> str:
        """Where a file on this machine is."""
        return os.path.join(self.folder, path)

    def __repr__(self) -> str:  # without what may be secret, or is another where the same is read
        return f"Opening({self.compression!r})"


def compression_for(value: Any) -> str | None:
    """The compression, if it is one."""
    if value in (None, "infer") or value in SUFFIXES.values():
        return value  # type: ignore[no-any-return]
    kinds = ", ".join(map(repr, dict.fromkeys(SUFFIXES.values())))
    raise OptionError(f"compression={value!r}: must be 'infer', {kinds}, or None")


def file_system(url: str, storage: Mapping[str, Any] | None) -> tuple[Any, str]:
    """The file system of a URL, and the name of the file in it."""
    from fsspec.core import url_to_fs  # heavy, and only for URLs

    try:
        files, inner = url_to_fs(url, **(storage or {}))
    except ImportError as error:
        raise ImportError(f"{url} cannot be opened: {error}") from error
    except Exception as error:
        if not is_damage(error, packed=False):
            raise
        raise DataError(url, None, f"it cannot be unpacked: {error}") from error
    return files, str(inner)


@contextmanager
def _remote(url: str, storage: Mapping[str, Any] | None) -> Iterator[IO[bytes]]:
    files, inner = file_system(url, storage)
    with files.open(inner, "rb") as raw:
        yield raw  # and nobody else refers to the file system of an archive, which closes it at its own end


def _unpacked(raw: Any, packed: str) -> Any:
    if packed == "gzip":
        return own(gzip.GzipFile)(fileobj=raw, mode="rb")
    if packed == "bz2":
        return io.BufferedReader(_Streams(raw, bz2.BZ2Decompressor, padding=1))
    if packed == "xz":
        return io.BufferedReader(_Streams(raw, lzma.LZMADecompressor, padding=4))
    return zstd().open(raw, "rb")


class _Streams(io.RawIOBase):
    """A file of one packed stream behind the other, unpacked. Those of Python, `bz2.BZ2File` and
    `lzma.LZMAFile`, take a damaged beginning of any but the first stream for the end of the file.

    ``padding``: of so many zero bytes, or a multiple, behind each stream, as tapes and archives leave them.
    """

    def __init__(self, file: Any, unpacker: Callable[[], Any], *, padding: int) -> None:
        self._file = file
        self._unpacker = unpacker
        self._padding = padding
        self._stream = unpacker()
        self._ended = False

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._file.fileno())

    def readinto(self, buffer: Any) -> int:
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self._next(1 << 20), b""))

    def _next(self, size: int) -> bytes:
        """So many bytes at most, none at the end of the file."""
        while not self._ended:
            if self._stream.eof:
                packed = self._behind()
                self._stream, self._ended = self._unpacker(), not packed
            elif self._stream.needs_input:
                packed = self._file.read(_AT_ONCE)
                if not packed:
                    raise EOFError("the file ends within a stream")
            else:
                packed = b""
            if data := self._stream.decompress(packed, size):
                return data  # type: ignore[no-any-return]
        return b""

    def _behind(self) -> bytes:
        """What follows a stream that has ended: the beginning of another, or nothing."""
        packed: bytes = self._stream.unused_data or self._file.read(_AT_ONCE)
        zeros = 0
        while packed and not packed.strip(b"\0"):
            zeros += len(packed)
            packed = self._file.read(_AT_ONCE)
        begin = packed.lstrip(b"\0")
        if (zeros + len(packed) - len(begin)) % self._padding:
            raise lzma.LZMAError("the padding of a stream is no multiple of four bytes")
        return begin


@cache  # to find that one is not there takes as long as to read a small file
def zstd() -> Any:
    """The module for zstd, of those that there may be."""
    for name in _ZSTD:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError("zstd files need Python 3.14, or backports.zstd: pip install backports.zstd")


def is_damage(error: Exception, *, packed: bool) -> bool:
    """Whether an exception says that a file cannot be unpacked, and not that it cannot be read."""
    if isinstance(error, OSError):  # a system's has a number; one of fsspec may have none
        return packed and error.errno is None and type(error).__name__ in ("OSError", "BadGzipFile")
    if isinstance(error, EOFError | zlib.error | lzma.LZMAError):
        return True
    return type(error).__name__ in ("ZstdError", "ZstdDecompressionError", "BadZipFile", "ReadError")
