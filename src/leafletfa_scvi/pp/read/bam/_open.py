"""Opening SAM, BAM and CRAM files, with errors that name the file and say what to do."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import pysam

from leafletfa_scvi._arguments import check_file
from leafletfa_scvi.pp._text import line_error, read_blocks, require_line_end, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from leafletfa_scvi.pp.read._region import Region

# All fields but bases and qualities: with these a CRAM file is decoded without its reference.
_CRAM_FIELDS: Final = [b"required_fields=0x19ff", b"decode_md=0"]
_CRAM_END: Final = b"\xe0EOF"  # its place, 4,542,278, as the CRAM formats have it
_CRAM_END_BYTES: Final = 38
_SAM_COLUMNS: Final = 11
_SAM_TAG: Final = re.compile(rb"[A-Za-z][A-Za-z0-9]:[AifZHB]:[ -~]*")
_GZIP: Final = b"\x1f\x8b"
_BGZF: Final = re.compile(rb"\x1f\x8b\x08.{9}BC\x02\x00", re.DOTALL)
_BGZF_BYTES: Final = 16
_N_PEEKED: Final = 1 << 20
_INDICES: Final = (".bai", ".csi", ".crai")
_MAX_HEADER: Final = 1 << 27
"""Bytes of the header of a BAM file, or of a line of SAM: millions of contigs, or of bases."""


@contextmanager
def open_alignments(
    path: str | os.PathLike[str], *, reference: str | None = None, threads: int = 1
) -> Iterator[pysam.AlignmentFile]:
    """Open for reading from first to last record; an index is not needed.

    Parameters
    ----------
    path
        SAM, BAM or CRAM file. Of CRAM, neither bases nor qualities are decoded, so that its
        reference need not be at hand.
    reference
        FASTA file for CRAM.
    threads
        Threads that decompress.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is empty, in another format, without contigs, truncated or damaged, at the
        start or while it is read in the ``with`` block; or the reference is missing.
    """
    path = os.fspath(path)
    check_file(path, "BAM or CRAM file")
    if os.path.getsize(path) == 0:
        raise ValueError(f"{path} is empty: expected a BAM or CRAM file. Was it copied in full?")
    if reference is not None and not os.path.isfile(reference):
        raise ValueError(
            f"The reference {reference} for {path} is no file: pass the FASTA file that the CRAM "
            "file was written with, or none, as counting does without."
        )
    _check_size_of_text(path)
    verbosity = pysam.set_verbosity(0)
    try:
        file = _opened(path, reference, threads)
        try:
            yield file
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path} cannot be read to its end ({error}): it is truncated or damaged. Copy or "
                "regenerate it, and check it with samtools quickcheck or samtools view."
            ) from error
        finally:
            with suppress(OSError):  # after a damaged block closing fails too
                file.close()
    finally:
        pysam.set_verbosity(verbosity)


def reads_of(
    file: pysam.AlignmentFile, path: str, region: Region | None
) -> Iterator[pysam.AlignedSegment]:
    """Return the reads that overlap a region, or all reads if there is no index to find them by.

    An index that is older than its file is not used.
    """
    if region is None or region.contig not in file.references or not file.has_index():
        return file.fetch(until_eof=True)
    stem, _ = os.path.splitext(path)
    names = [*(f"{path}{end}" for end in _INDICES), *(f"{stem}{end}" for end in _INDICES)]
    times = [os.path.getmtime(name) for name in names if os.path.isfile(name)]
    if not times or min(times) < os.path.getmtime(path):
        return file.fetch(until_eof=True)
    return file.fetch(region.contig, region.start - 1, region.end)


def _opened(path: str, reference: str | None, threads: int) -> pysam.AlignmentFile:
    """The open file, of which the header could be read."""
    if reference is not None and not os.path.isfile(f"{reference}.fai"):
        reference = None  # the index would be written beside the user's file; neither is needed
    try:
        file = pysam.AlignmentFile(
            path,
            "r",
            reference_filename=reference,
            threads=threads,
            check_sq=False,  # checked below
            format_options=_CRAM_FIELDS,  # type: ignore[arg-type] # pysam wants bytes
        )
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        raise ValueError(
            f"{path} cannot be opened as a BAM or CRAM file ({error}): it is truncated or "
            "damaged. Copy it again or regenerate it, and check it with samtools quickcheck."
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is not a BAM or CRAM file ({error}).") from error
    if not file.nreferences:
        file.close()
        raise ValueError(
            f"{path} names no contigs in its header: its reads are not aligned. Align them."
        )
    if file.is_cram and (2, 1) <= file.version < (4, 0) and not _ends_as_cram(path):
        file.close()
        raise ValueError(
            f"{path} has no end-of-file container: it is truncated. Copy it again or regenerate "
            "it, and check it with samtools quickcheck."
        )
    return file


def _check_size_of_text(path: str) -> None:
    """Refuse a header, or a line of SAM, of which pysam would need all memory."""
    with open(path, "rb") as raw:
        head = raw.read(_BGZF_BYTES)
        is_gzip, is_bgzf = head.startswith(_GZIP), _BGZF.fullmatch(head) is not None
        raw.seek(0)
        try:
            start = (gzip.open(raw) if is_gzip else raw).read(_N_PEEKED)
        except (EOFError, OSError, zlib.error):  # pysam says what is wrong
            return
    if is_gzip and start.startswith((_GZIP, b"CRAM")):
        raise ValueError(
            f"{path} is a BAM or CRAM file compressed once more, by gzip: decompress it with "
            "gunzip first."
        )
    if is_gzip and not is_bgzf and start.startswith(b"BAM\1"):
        raise ValueError(
            f"{path} is a BAM file compressed by gzip: expected BGZF, the blocks that samtools "
            f"and bgzip write. Recompress it: gzip -dc {path} | samtools view -b -o NEW.bam -."
        )
    if start.startswith(b"BAM\1"):
        size = int.from_bytes(start[4:8], "little")
        if size > _MAX_HEADER:
            raise ValueError(
                f"{path} has a header of {size:,} bytes: expected {_MAX_HEADER:,} at most. The "
                "file is damaged."
            )
    elif start.startswith(b"@"):
        _check_sam(path)
    elif len(start) == _N_PEEKED and not start.startswith(b"CRAM") and b"\n" not in start:
        raise ValueError(f"{path} is not a BAM or CRAM file, nor lines of SAM.")


def _check_sam(path: str) -> None:
    """Refuse lines of SAM that pysam would take, without their contig or tags."""
    contigs = {b"*", b"="}
    for block in read_blocks(path, longest=_MAX_HEADER):
        require_line_end(block)
        for number, line in block.lines():
            if line.startswith(b"@SQ\t"):
                names = (field[3:] for field in line.split(b"\t") if field.startswith(b"SN:"))
                contigs.update(names)
            if line.startswith(b"@") or not line:
                continue
            fields = line.split(b"\t")
            if len(fields) < _SAM_COLUMNS:
                raise line_error(path, number, f"has {len(fields)} columns: expected 11 of SAM.")
            if fields[2] not in contigs or fields[6] not in contigs:
                raise line_error(path, number, "names a contig that is not in the header.")
            for tag in fields[_SAM_COLUMNS:]:
                if _SAM_TAG.fullmatch(tag) is None:
                    text = shown(tag.decode(errors="replace"))
                    raise line_error(path, number, f"has {text}: expected a tag of SAM.")


def _ends_as_cram(path: str) -> bool:
    """Return whether the last container marks the end, which pysam checks for BAM files only."""
    with open(path, "rb") as file:
        file.seek(max(os.path.getsize(path) - _CRAM_END_BYTES, 0))
        return _CRAM_END in file.read()
