"""Junctions of unknown strand: the junctions on a strand whose splice sites they share."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def connected(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the connected component of each edge between left and right nodes, both from 0."""
    if not len(left):
        return np.zeros(0, np.int64)
    n_left, n_right = int(left.max()) + 1, int(right.max()) + 1
    edges = (np.ones(len(left), np.int8), (left, right + n_left))
    graph = coo_array(edges, shape=(n_left + n_right,) * 2)
    component = connected_components(graph, directed=False)[1][left]
    # Renumbered without the components of isolated nodes.
    return np.asarray(pd.factorize(component)[0], np.int64)


def sharing_groups(
    chrom: np.ndarray, start: np.ndarray, end: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """Find the group whose splice sites junctions of unknown strand share.

    Such junctions that share splice sites with each other belong together: they get a group if
    junctions of this one, and of no other, have any of their splice sites. So a junction that
    shares sites on both strands, or of several genes, gets none.

    Parameters
    ----------
    chrom, start, end
        ``(J,)`` contig as a number, and first and last base of the intron.
    group
        ``(J,)`` group of junctions on a strand, as numbers; -1 for unknown strand.

    Returns
    -------
    ndarray
        ``(U,)`` group of each junction of unknown strand, in their order; -1 for none.
    """
    is_open = group < 0
    span = int(end.max(initial=0)) + 1
    sites = [chrom * span + position for position in (start, end)]
    left, right = (pd.factorize(site[is_open])[0] for site in sites)
    component = connected(left.astype(np.int64), right.astype(np.int64))
    pairs = []
    for site in sites:
        open_sites = pd.DataFrame({"site": site[is_open], "component": component})
        closed = pd.DataFrame({"site": site[~is_open], "group": group[~is_open]})
        shared = open_sites.drop_duplicates().merge(closed.drop_duplicates(), on="site")
        pairs.append(shared[["component", "group"]])
    shared = pd.concat(pairs).drop_duplicates()
    only = shared[~shared.duplicated("component", keep=False)]
    found = np.full(int(component.max(initial=-1)) + 1, -1)
    found[only["component"]] = only["group"]
    result: np.ndarray = found[component]
    return result
