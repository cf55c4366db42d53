"""Junctions of one genome mapped to those of another."""
