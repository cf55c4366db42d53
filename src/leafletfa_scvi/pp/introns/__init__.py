"""Reads in introns, and retained introns."""
