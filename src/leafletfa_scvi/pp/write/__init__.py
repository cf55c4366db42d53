"""Junction counts in the formats of other tools."""
