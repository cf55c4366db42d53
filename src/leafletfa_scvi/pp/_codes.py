"""Codes of strands and splice motifs, which are those of STAR's ``SJ.out.tab``."""

from __future__ import annotations

from typing import Final

STRANDS: Final = ("?", "+", "-")
"""Strands by their code."""
UNSTRANDED, FORWARD, REVERSE = 0, 1, 2

MOTIFS: Final = ("unknown", "non-canonical", "GT-AG", "GC-AG", "AT-AC")
"""Splice motifs by their code: first and last two bases of the intron in its own direction."""
