"""Text files as blocks of lines: any encoding and line end, in bounded memory."""

from __future__ import annotations

import codecs
import gzip
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from leafletfa_scvi._arguments import check_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

BLOCK: Final = 1 << 24
"""Number of bytes of text that are held at a time."""
MAX_LINE: Final = BLOCK
"""Maximum length of a line in bytes: room for the counts of 800,000 barcodes of a junction."""

_COMPRESSED: Final = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_WORKBOOK: Final = b"PK\3\4"
_CONTROL: Final = bytes(i for i in (*range(32), 127) if i not in b"\t\n\r")
_REPLACED: Final = "\ufffd".encode()


@dataclass(frozen=True)
class Block:
    """Whole lines of a file, each ending in a newline.

    Attributes
    ----------
    path
        The file.
    first
        1-based number of the first line.
    data
        UTF-8, if the file is text at all.
    is_whole
        False if the file ends without a line end, so that its last line may be cut.
    """

    path: str
    first: int
    data: bytes
    is_whole: bool = True

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and bytes of each line."""
        return enumerate(self.data.split(b"\n")[:-1], self.first)


def whole_number(text: str | bytes) -> int | None:
    """Return the value of up to 18 decimal digits; None for anything else, as 1_000, +5 or 1e3."""
    is_number = text.isdigit() and text.isascii() and len(text) < 19
    return int(text) if is_number else None


def line_error(path: str, number: int, message: str) -> ValueError:
    """Return the error of a line, with its 1-based number."""
    return ValueError(f"{path}, line {number}: {message}")


def shown(text: str, longest: int = 60) -> str:
    """Quote a value for messages, shortened if it is long."""
    return repr(text if len(text) <= longest else f"{text[: longest - 10]}...")


@contextmanager
def open_bytes(path: str) -> Iterator[BinaryIO]:
    """Open a file, gzip (also of several members, as bgzip writes) or plain, by its content.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is no file, is compressed otherwise, or its gzip is damaged, when opened or while it
        is read in the ``with`` block.
    """
    check_file(path)
    with open(path, "rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        for start, name in _COMPRESSED.items():
            if magic.startswith(start):
                raise ValueError(f"{path} is compressed by {name}: expected plain text or gzip.")
        if magic.startswith(_WORKBOOK):
            raise ValueError(
                f"{path} is a zip archive, as workbooks of Excel are: expected plain text or "
                "gzip. Save it as text, such as CSV."
            )
        if not magic.startswith(b"\x1f\x8b"):
            yield raw
            return
        try:
            with gzip.open(raw) as file:
                yield file  # type: ignore[misc]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"{path} is truncated or damaged: gzip says {str(error)!r}. Copy it again or "
                "regenerate it."
            ) from error


def read_blocks(path: str, size: int = BLOCK, longest: int = MAX_LINE) -> Iterator[Block]:
    r"""Yield whole lines of a text file, about ``size`` bytes at a time, with Unix line ends.

    Parameters
    ----------
    path
        UTF-8, with or without a byte order mark, or UTF-16 with one; plain or gzip. Line ends are
        ``\n`` or ``\r\n``, or all ``\r``.
    size
        Number of bytes to read at a time.
    longest
        Maximum length of a line in bytes.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`open_bytes`, or if a line is too long or holds control characters; names the
        line.
    """
    first, rest, end = 1, b"", b""
    with open_bytes(path) as file:
        for chunk in _chunks(file, size):
            data = rest + chunk
            end = end or _line_end(data)
            cut = data.rfind(end) + 1 if end else 0
            data, rest = data[:cut], data[cut:]
            if data:
                block = Block(path, first, _checked(path, first, data, end))
                _check_length(path, first, block.data.find(b"\n"), longest)
                first += block.data.count(b"\n")
                yield block
            _check_length(path, first, len(rest), longest)
    if rest:
        data = _checked(path, first, rest, end or b"\n")
        is_whole = data.endswith(b"\n")
        yield Block(path, first, data if is_whole else data + b"\n", is_whole)


def require_line_end(block: Block) -> None:
    """Refuse a last line that ends in a number without a line end: digits may be missing."""
    if not block.is_whole:
        raise line_error(
            block.path,
            block.first + block.data.count(b"\n") - 1,
            "has no line end, so that its last number may be cut off. Copy the file again or "
            "regenerate it; if it is complete, add a line end.",
        )


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the bytes of a file as UTF-8, without a byte order mark."""
    data = file.read(size)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
        while data:
            yield decoder.decode(data).encode()
            data = file.read(size)
        yield decoder.decode(b"", final=True).encode()
        return
    data = data.removeprefix(codecs.BOM_UTF8)
    while data:
        yield data
        data = file.read(size)


def _line_end(data: bytes) -> bytes:
    r"""Return the last byte of line ends: ``\n``, or ``\r`` of old Macs; empty if none so far."""
    if b"\n" in data:
        return b"\n"
    return b"\r" if b"\r" in data[:-1] else b""


def _check_length(path: str, number: int, length: int, longest: int) -> None:
    if length > longest:
        raise line_error(
            path,
            number,
            f"is longer than {longest:,} bytes: expected lines of text. The file is damaged or of "
            "another format.",
        )


def _checked(path: str, first: int, data: bytes, end: bytes) -> bytes:
    """Return text with Unix line ends, checked for control characters."""
    if end == b"\r":
        odd, what = b"\n", "a line feed, although lines end in carriage returns"
        position = data.find(odd)
        data = data.replace(b"\r", b"\n")
    else:
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").removesuffix(b"\r")
        position, what = data.find(b"\r"), "a carriage return within the line"
    if position < 0 and len(data.translate(None, _CONTROL)) < len(data):
        position = next(i for i, byte in enumerate(data) if byte in _CONTROL)
        what = (
            "a zero byte"
            if data[position] == 0
            else f"the control character {data[position]:#04x}"
        )
    if position < 0 and (position := data.find(_REPLACED)) >= 0:
        what = "an invalid character of UTF-16"
    if position >= 0:
        number = first + data.count(b"\n", 0, position)
        raise line_error(
            path,
            number,
            f"holds {what}: expected a text file in UTF-8. Copy it again or regenerate it.",
        )
    return data
