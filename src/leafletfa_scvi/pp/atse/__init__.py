"""ATSEs, their events and the usage of splice sites."""
