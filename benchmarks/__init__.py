"""Benchmarks in folders by subject; ``nox -s benchmarks -- NAME`` runs the script of that name.

``kernels`` times the numerical core, ``training`` the steps of a fit, ``reading`` the readers of
files; ``quality`` and ``differential`` compare methods; ``robustness`` damages files and kills
processes; ``studies`` holds comparisons behind single decisions. Results are in ``results``.
"""
