"""Statistics on arrays, of junctions, samples and groups; knows neither models nor AnnData."""

from leafletfa_scvi.stats._false_discovery import false_discovery_set, log_odds

__all__ = ["false_discovery_set", "log_odds"]
