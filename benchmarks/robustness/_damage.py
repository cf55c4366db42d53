"""Kinds of damage to files, as functions of a generator of random numbers and the bytes."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    Damage = Callable[[random.Random, bytes], bytes]

NO_NUMBERS = "1_000|１２|1e3|+5| 5|5 |0x1F|nan|inf|1.5||-|5-|²|1,000|\v5".split("|")
SEPARATORS = b"\t ,"


def cut(rng: random.Random, data: bytes) -> bytes:
    """At any byte."""
    return data[: rng.randrange(len(data))]


def cut_in_line(rng: random.Random, data: bytes) -> bytes:
    """Within a line, so that part of it is left."""
    places = [i for i in range(1, len(data)) if data[i] != 10 and data[i - 1] != 10]
    return data[: rng.choice(places)]


def cut_near_end(rng: random.Random, data: bytes) -> bytes:
    """The last bytes."""
    return data[: -rng.randint(1, min(12, len(data) - 1))]


def zeros(rng: random.Random, data: bytes) -> bytes:
    """Zero bytes instead of some, as after a crash of a file system."""
    start, size = rng.randrange(len(data)), rng.choice([1, 3, 512])
    return data[:start] + b"\0" * len(data[start : start + size]) + data[start + size :]


def flip(rng: random.Random, data: bytes) -> bytes:
    """One bit."""
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def garbage(rng: random.Random, data: bytes) -> bytes:
    """Random bytes instead of some."""
    start, size = rng.randrange(len(data)), rng.randint(2, 20)
    return data[:start] + rng.randbytes(size) + data[start + size :]


def lost(rng: random.Random, data: bytes) -> bytes:
    """A few bytes left out."""
    start = rng.randrange(len(data) - 1)
    return data[:start] + data[start + rng.randint(1, 30) :]


def _at_line(change: Callable[[random.Random, list[bytes], int], None]) -> Damage:
    def damage(rng: random.Random, data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        change(rng, lines, rng.randrange(len(lines)))
        return b"".join(lines)

    damage.__doc__ = change.__doc__
    return damage


@_at_line
def line_twice(rng: random.Random, lines: list[bytes], i: int) -> None:
    """A line twice."""
    lines.insert(rng.randrange(len(lines)), lines[i])


@_at_line
def line_lost(rng: random.Random, lines: list[bytes], i: int) -> None:
    """A line left out."""
    del lines[i]


@_at_line
def line_end_lost(rng: random.Random, lines: list[bytes], i: int) -> None:
    """Two lines joined."""
    i = min(i, len(lines) - 2) if len(lines) > 1 else 0
    lines[i] = lines[i].rstrip(b"\n")


@_at_line
def carriage_return(rng: random.Random, lines: list[bytes], i: int) -> None:
    """A carriage return within a line."""
    place = rng.randrange(len(lines[i]))
    lines[i] = lines[i][:place] + b"\r" + lines[i][place:]


def _at_fields(change: Callable[[random.Random, list[bytes], int], None]) -> Damage:
    def damage(rng: random.Random, data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        i = rng.randrange(len(lines))
        end = b"\n" if lines[i].endswith(b"\n") else b""
        mark = next((bytes([m]) for m in SEPARATORS if m in lines[i]), b"\t")
        fields = lines[i].rstrip(b"\n").split(mark)
        change(rng, fields, rng.randrange(len(fields)))
        lines[i] = mark.join(fields) + end
        return b"".join(lines)

    damage.__doc__ = change.__doc__
    return damage


@_at_fields
def column_lost(rng: random.Random, fields: list[bytes], i: int) -> None:
    """A column left out."""
    del fields[i]


@_at_fields
def column_added(rng: random.Random, fields: list[bytes], i: int) -> None:
    """A column too many."""
    fields.insert(i, rng.choice([b"x", b"1", b""]))


@_at_fields
def columns_swapped(rng: random.Random, fields: list[bytes], i: int) -> None:
    """Two columns in each other's place; start and end among them."""
    k = rng.randrange(len(fields))
    fields[i], fields[k] = fields[k], fields[i]


@_at_fields
def no_number(rng: random.Random, fields: list[bytes], i: int) -> None:
    """What looks like a number and is none, instead of a number."""
    numbers = [k for k, field in enumerate(fields) if field.isdigit()]
    fields[rng.choice(numbers or [i])] = rng.choice(NO_NUMBERS).encode()


@_at_fields
def negative(rng: random.Random, fields: list[bytes], i: int) -> None:
    """A number below 0, or too large."""
    numbers = [k for k, field in enumerate(fields) if field.isdigit()]
    fields[rng.choice(numbers or [i])] = rng.choice([b"-1", b"-7", b"3000000000", b"9" * 25])


@_at_fields
def other_strand(rng: random.Random, fields: list[bytes], i: int) -> None:
    """What is no strand, instead of a strand or of any column."""
    strands = [k for k, field in enumerate(fields) if field in (b"+", b"-", b".", b"?")]
    fields[rng.choice(strands or [i])] = rng.choice([b"x", b"1", b"plus", b"", b"++"])


def windows(rng: random.Random, data: bytes) -> bytes:
    """Line ends of Windows."""
    return data.replace(b"\n", b"\r\n")


def old_mac(rng: random.Random, data: bytes) -> bytes:
    """Line ends of old Macs."""
    return data.replace(b"\n", b"\r")


def byte_order_mark(rng: random.Random, data: bytes) -> bytes:
    """A byte order mark."""
    return b"\xef\xbb\xbf" + data


def utf16(rng: random.Random, data: bytes) -> bytes:
    """UTF-16, as PowerShell writes."""
    return data.decode().encode("utf-16")


def no_last_line_end(rng: random.Random, data: bytes) -> bytes:
    """No line end after the last line."""
    return data.rstrip(b"\n")


def empty(rng: random.Random, data: bytes) -> bytes:
    """Nothing."""
    return b""


def endless_line(rng: random.Random, data: bytes) -> bytes:
    """A line of 20 million bytes, in gzip."""
    place = data.find(b"\n", rng.randrange(len(data))) + 1
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    start = packer.compress(data[:place] + rng.choice([b"x", b"#", b"1"]) * 20_000_000)
    return start + packer.flush()


def gzip_cut(rng: random.Random, data: bytes) -> bytes:
    """Gzip, cut."""
    packed = gzip.compress(data, mtime=0)
    return packed[: rng.randrange(3, len(packed))]


def gzip_sum(rng: random.Random, data: bytes) -> bytes:
    """Gzip with a wrong checksum or length."""
    packed = bytearray(gzip.compress(data, mtime=0))
    packed[-rng.randint(1, 8)] ^= 1 << rng.randrange(8)
    return bytes(packed)


def gzip_flip(rng: random.Random, data: bytes) -> bytes:
    """Gzip with one bit changed."""
    return flip(rng, gzip.compress(data, mtime=0))


def gzip_tail(rng: random.Random, data: bytes) -> bytes:
    """Gzip with bytes after its end."""
    return gzip.compress(data, mtime=0) + rng.choice([b"x", b"\0" * 100, rng.randbytes(50)])


BYTES: tuple[Damage, ...] = (cut, cut_near_end, zeros, flip, garbage, lost, empty)
LINES: tuple[Damage, ...] = (
    *(cut_in_line, line_twice, line_lost, line_end_lost, carriage_return, column_lost),
    *(column_added, columns_swapped, no_number, negative, other_strand, windows, old_mac),
    *(byte_order_mark, utf16, no_last_line_end, endless_line),
    *(gzip_cut, gzip_sum, gzip_flip, gzip_tail),
)
HARMLESS = (windows, old_mac, byte_order_mark, utf16, no_last_line_end)
