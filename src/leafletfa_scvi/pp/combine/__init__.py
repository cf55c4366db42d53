"""Data sets joined, and cells summed."""
