"""A module somewhere in particular, its draws, and the density of its model at given values."""

from __future__ import annotations

import torch
from pyro import poutine

from leafletfa_scvi.module import LeafletFAModule


def make(entries, n_programs=3, seed=0, n_junctions=None, **options):
    """A module whose guide is somewhere in particular."""
    n_junctions = entries.n_junctions if n_junctions is None else n_junctions
    module = LeafletFAModule(entries.n_cells, n_junctions, n_programs, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.guide.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        module.guide.phi_log += 2.0
        module.guide.psi_log_inclusion += 1.5
    return module


def draw(module, entries, seed=0):
    """Trace of the guide over all cells."""
    torch.manual_seed(seed)
    cells = torch.arange(entries.n_cells)
    return poutine.trace(module.guide).get_trace(cells, entries)


def log_joint(module, values, cells, entries):
    """Log density of the model at given values, scaled as for training."""
    site = {"phi": values["phi"][cells]}
    site.update({k: v for k, v in values.items() if k != "phi"})
    trace = poutine.trace(poutine.condition(module.model, data=site)).get_trace(cells, entries)
    return trace.log_prob_sum().item()


def values_of(trace):
    return {
        name: node["value"].detach()
        for name, node in trace.nodes.items()
        if node["type"] == "sample"
        and not name.startswith("_")
        and "plate" not in name
        and type(node["fn"]).__name__ != "_Subsample"
    }
