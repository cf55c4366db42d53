"""Genes, transcripts and strands of junctions."""
