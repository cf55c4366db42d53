"""Differences of activities between groups of samples, and regression on columns of ``obs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from leafletfa_scvi._arguments import check_column, check_inside, check_one_of
from leafletfa_scvi.stats import adjust_pvalues, fit_mixed_model, moderate_variances
from leafletfa_scvi.tl._activities import CellActivities, cell_activities
from leafletfa_scvi.tl._design import build_design, read_formula
from leafletfa_scvi.tl._labels import check_columns, labeled_cells, log_cells_as_replicates
from leafletfa_scvi.tl._units import Transform, mean_activities, score_units

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anndata import AnnData

    from leafletfa_scvi.model import LeafletFAModel
    from leafletfa_scvi.model._groups import Comparison

_LEVEL = 0.9
"""Probability of the intervals of effects."""
_TESTS = (
    "effect",
    "effect_lower",
    "effect_upper",
    "activity_effect",
    "se",
    "statistic",
    "df",
    "pvalue",
)
"""Columns of a test of one coefficient."""


def differential_activity(
    data: AnnData | LeafletFAModel,
    groupby: str | None = None,
    group1: str | float | Iterable[str | float] | None = None,
    group2: str | float | None = None,
    *,
    sample_key: str | None = None,
    formula: str | None = None,
    all_pairs: bool = False,
    transform: Transform = "clr",
    min_activity: float = 0.001,
    fdr_target: float = 0.05,
) -> pd.DataFrame:
    """Test whether programs are more active in one group of samples, or change with a column.

    Samples (donors, animals, plates) are the unit of replication. The activity of a program in a
    sample is the mean over its cells, transformed to a log-ratio scale. Its error, of few cells
    whose activities are uncertain, counts in the variance of the sample, and decides how much it
    weighs. Samples with cells of several groups have a random intercept, so that differences
    within samples are used. The variance of each effect is moderated over programs. The test is
    Student's t test.

    Parameters
    ----------
    data
        Trained model with its AnnData, or an AnnData with activities in ``obsm["X_PHI"]``. The
        posterior variance of each cell's activities is taken from a model; an AnnData has none, so
        that only the variation between cells counts as their error.
    groupby
        Column of ``obs`` with the groups.
    group1
        Group or groups to compare, by name or number. If None, each group in turn.
    group2
        Group to compare with. If None or ``"rest"``, all other groups together.
    sample_key
        Column of ``obs`` with the samples. If None, cells are the replicates: results then say
        something of these cells only, not of the population their donors come from.
    formula
        Right side of a regression formula on columns of ``obs``, as ``"~ age + sex +
        C(cell_type)"`` (syntax of formulaic), instead of ``groupby``. Labels that vary within
        samples, as cell types do, divide them; numbers must be constant within a sample.
    all_pairs
        Compare all pairs of the groups of ``groupby``, or of those in ``group1``.
    transform
        ``"clr"``: centered log ratio, the logarithm of the activity minus the mean of the
        logarithms over programs; ``"logit"``: log odds of the activity.
    min_activity
        Minimum mean activity of a program, in one of the groups or over all units of a regression,
        to be tested. In [0, 1).
    fdr_target
        Bound on the adjusted p value of ``is_da_fdr_<target>``.

    Returns
    -------
    One row per comparison (or term of the formula) and program, those with the smallest p value
    first within each. Columns:

    - ``comparison``, ``group1``, ``group2``, or ``term``; ``program``.
    - ``effect``: mean of group 1 minus group 2 on the scale of ``transform`` (coefficient of the
      term), positive if the program is more active in group 1; ``se``, its standard error;
      ``effect_lower`` and ``effect_upper``, 90 % confidence interval.
    - ``activity_effect``: the same difference (coefficient) of activities, between -1 and 1.
    - ``mean_activity1``, ``mean_activity2``: mean activity over samples, each counting once
      (``mean_activity`` of a regression).
    - ``statistic`` (t), ``df``, ``pvalue``, ``padj`` (Benjamini and Hochberg over all rows of the
      call), ``is_da_fdr_<target>``. NaN and False for programs that are not tested.
    - ``n_samples_group1``, ``n_samples_group2``, or ``n_samples``; ``replicates``:
      ``"samples"`` or ``"cells"``.

    Raises
    ------
    KeyError
        A column or group does not exist.
    ValueError
        A group has fewer than two samples, both or neither of ``groupby`` and ``formula`` are
        given, the formula cannot be used, or the activities of ``data`` are missing.
    RuntimeError
        The model is not trained.

    Notes
    -----
    The mean activities of a unit of n cells are mixed with those of half a cell with the mean
    activities of all units, which bounds their logarithms. Cells with missing values in a column
    that is used are left out, and a message says how many. Programs' activities sum to 1: if one
    rises, others fall on the scale of ``activity_effect`` and of ``"logit"``, and relative to the
    mean of all with ``"clr"``.

    Variances are moderated as in limma (Smyth 2004), with a trend in the logarithm of the mean
    activity. The degrees of freedom of the prior are
    limited to those of as many independent programs as the correlations of residuals suggest.

    Examples
    --------
    >>> import leafletfa_scvi as lfa
    >>> adata = lfa.datasets.simulate_cohort((5, 5), n_cells=400, n_atses=60, seed=1)
    >>> adata.obsm["X_PHI"] = adata.obsm["phi_true"]
    >>> table = lfa.tl.differential_activity(adata, "group", "A", "B", sample_key="donor")
    >>> table.columns[:5].tolist()
    ['comparison', 'group1', 'group2', 'program', 'effect']
    """
    check_one_of("transform", transform, Transform)
    check_inside("min_activity", min_activity, "[0, 1)")
    check_inside("fdr_target", fdr_target)
    if (groupby is None) == (formula is None):
        raise ValueError(
            "Expected either groupby or formula, found both or neither. Pass one of them."
        )
    if formula is not None and (group1 is not None or group2 is not None or all_pairs):
        raise ValueError(
            "Expected group1, group2 and all_pairs with groupby, found them with formula."
        )
    cells = cell_activities(data)
    if len(cells.programs) < 2:
        raise ValueError(
            "Expected at least 2 programs, found 1. Its activity is 1 in all cells: there is "
            "nothing to test."
        )
    if sample_key is None:
        log_cells_as_replicates()
    else:
        check_columns(cells.adata.obs, [check_column("sample_key", sample_key)], "sample_key")
    if formula is None:
        assert groupby is not None
        check_column("groupby", groupby)
        groups = (groupby, group1, group2, all_pairs)
        frames = list(_compare_groups(cells, groups, sample_key, transform, min_activity))
    else:
        frames = _fit_formula(cells, formula, sample_key, transform, min_activity)
    table = pd.concat(frames, ignore_index=True)
    order = list(table.columns)
    called = f"is_da_fdr_{fdr_target}"
    table["padj"] = adjust_pvalues(table["pvalue"].to_numpy())
    table[called] = table["padj"] <= fdr_target
    table["replicates"] = "cells" if sample_key is None else "samples"
    at = order.index("pvalue") + 1
    return table[[*order[:at], "padj", called, *order[at:], "replicates"]]


def _compare_groups(
    cells: CellActivities,
    groups: tuple[str, Any, Any, bool],
    sample_key: str | None,
    transform: Transform,
    min_activity: float,
) -> Iterator[pd.DataFrame]:
    """Yield the table of each comparison."""
    from leafletfa_scvi.model._groups import check_samples, compared_cells, sample_codes

    names = cells.adata.obs_names.to_numpy()
    groupby, group1, group2, all_pairs = groups
    compared = compared_cells(
        cells.adata, names, groupby, group1, group2, None, None, all_pairs=all_pairs
    )
    codes, sample = compared.codes, np.arange(len(names))
    if sample_key is not None:
        sample = sample_codes(cells.adata, sample_key, codes >= 0)
    labeled = (codes >= 0) & (sample >= 0)
    if sample_key is not None:
        check_samples(compared, sample, sample_key)
    else:
        for comparison in compared.comparisons:
            _check_cells(comparison, codes)
    for comparison in compared.comparisons:
        first, second = (np.isin(codes, c) for c in (comparison.codes1, comparison.codes2))
        used = labeled & (first | second)
        phi, variance = cells.select(used)
        pairs = 2 * pd.factorize(sample[used])[0] + second[used]
        pair, unit = np.unique(pairs, return_inverse=True)
        is_first = pair % 2 == 0
        activity = mean_activities(phi, unit, len(pair))
        means = activity[is_first].mean(0), activity[~is_first].mean(0)
        tested = np.maximum(*means) >= min_activity
        design = np.column_stack([np.ones(len(pair)), is_first])
        fit = _Fit(phi, variance, unit, design, pair // 2, transform, tested)
        columns: dict[str, Any] = {
            "comparison": f"{comparison.name1} vs {comparison.name2}",
            "group1": comparison.name1,
            "group2": comparison.name2,
            "program": cells.programs,
            **fit.test(1),
            "mean_activity1": means[0],
            "mean_activity2": means[1],
            "n_samples_group1": int(is_first.sum()),
            "n_samples_group2": int((~is_first).sum()),
        }
        yield _sorted(pd.DataFrame(columns))


def _check_cells(comparison: Comparison, codes: np.ndarray) -> None:
    """Check that both sides of a comparison have two cells."""
    n1, n2 = (np.isin(codes, c).sum() for c in (comparison.codes1, comparison.codes2))
    if min(n1, n2) < 2:
        raise ValueError(
            f"Expected at least two cells in each group, found {n1} in {comparison.name1!r} and "
            f"{n2} in {comparison.name2!r}. Name the groups that have more in group1."
        )


def _fit_formula(
    cells: CellActivities,
    formula: str,
    sample_key: str | None,
    transform: Transform,
    min_activity: float,
) -> list[pd.DataFrame]:
    """Table of each term of a formula but the intercept."""
    obs = cells.adata.obs
    parsed, columns = read_formula(formula, obs)
    keep = labeled_cells(obs, columns if sample_key is None else [*columns, sample_key])
    obs, (phi, variance) = obs[keep], cells.select(keep)
    samples = np.arange(len(obs)) if sample_key is None else pd.factorize(obs[sample_key])[0]
    design = build_design(parsed, columns, obs, samples, sample_key or "")
    activity = mean_activities(phi, design.unit, len(design.sample))
    tested = activity.mean(0) >= min_activity
    try:
        fit = _Fit(phi, variance, design.unit, design.matrix, design.sample, transform, tested)
    except ValueError as error:
        raise ValueError(f"There are too few samples for {formula!r}. {error}") from error
    frames = []
    for i, term in enumerate(design.terms):
        if term == "Intercept":
            continue
        frame: dict[str, Any] = {
            "term": term,
            "program": cells.programs,
            **fit.test(i),
            "mean_activity": activity.mean(0),
            "n_samples": int(design.sample.max()) + 1,
        }
        frames.append(_sorted(pd.DataFrame(frame)))
    if not frames:
        raise ValueError(f"Expected formula with terms to test, found {formula!r}.")
    return frames


class _Fit:
    """Regression of the activities of units on a design, and tests of its coefficients.

    Programs that are not tested are left out, also of the mean of logarithms.
    """

    def __init__(
        self,
        phi: np.ndarray,
        variance: np.ndarray | None,
        unit: np.ndarray,
        design: np.ndarray,
        sample: np.ndarray,
        transform: Transform,
        tested: np.ndarray,
    ) -> None:
        self.tested = tested
        if tested.sum() < 2:  # one program alone has no other to be compared with
            self.tested = np.zeros_like(tested)
            return
        kept = None if variance is None else variance[:, tested]
        scores = score_units(phi[:, tested], kept, unit, transform)
        self.fit = fit_mixed_model(scores.value, design, sample, scores.variance)
        # Logarithms of rare activities vary more than those of common ones.
        self.level = np.log(scores.activity.mean(0))
        self.activity_effect = self.fit.coefficients_of(scores.activity)

    def test(self, column: int) -> dict[str, np.ndarray]:
        """Test one coefficient of each program, its variance moderated over programs."""
        values = {name: np.full(len(self.tested), np.nan) for name in _TESTS}
        if self.tested.any():
            for name, value in zip(_TESTS, self._test(column), strict=True):
                values[name][self.tested] = value
        return values

    def _test(self, column: int) -> tuple[np.ndarray, ...]:
        fit = self.fit
        moderated = moderate_variances(
            fit.variance[:, column],
            fit.df[:, column],
            self.level,
            n_independent=fit.n_independent(),
        )
        effect, se = fit.coefficient[:, column], np.sqrt(moderated.variance)
        df: np.ndarray = moderated.df
        statistic = np.divide(effect, se, out=np.full(len(se), np.nan), where=se > 0)
        reach = stats.t.ppf((1.0 + _LEVEL) / 2.0, df) * se
        pvalue = np.asarray(2.0 * stats.t.sf(np.abs(statistic), df))
        bounds = effect - reach, effect + reach
        return effect, *bounds, self.activity_effect[:, column], se, statistic, df, pvalue


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by p value, programs that are not tested last."""
    return table.sort_values("pvalue", kind="stable", na_position="last")
