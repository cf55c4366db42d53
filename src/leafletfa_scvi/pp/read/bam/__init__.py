"""Junction counts from alignments."""
