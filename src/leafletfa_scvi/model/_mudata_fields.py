"""Fields of scvi-tools for a MuData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from anndata import AnnData
from scvi.data.fields import BaseMuDataWrapperClass

from leafletfa_scvi.data import field_column, field_name

if TYPE_CHECKING:
    from mudata import MuData


class MatchedColumns(BaseMuDataWrapperClass):  # type: ignore[misc] # scvi has no types
    """Columns of ``obs``, of any modality, registered for the cells of the junctions.

    The fields of scvi-tools would register all cells of the modality that has the columns, in its
    order. Here cells are matched by name, and codes are written where the counts are.

    Parameters
    ----------
    field
        Field of an AnnData whose columns are named as by :func:`field_name`.
    keys
        Names of the columns in their modality.
    source
        Modality that has them; None for ``mdata.obs``.
    junctions
        Modality with the junctions.
    argument
        Argument that names the columns, for messages.
    """

    def __init__(
        self, field: Any, keys: list[str], source: str | None, junctions: str, argument: str
    ) -> None:
        super().__init__(mod_key=junctions, mod_required=True)
        self._adata_field = field
        self.keys, self.source, self.argument = keys, source, argument

    def validate_field(self, mdata: MuData) -> None:
        """Check that the columns exist."""
        self.adata_field.validate_field(self._cells(mdata))

    def register_field(self, mdata: MuData) -> dict[str, Any]:
        """Register the columns."""
        cells = self._cells(mdata)
        state: dict[str, Any] = self.adata_field.register_field(cells)
        self._write(cells, mdata)
        return state

    def transfer_field(
        self, state_registry: dict[str, Any], mdata_target: MuData, **kwargs: Any
    ) -> dict[str, Any]:
        """Register the columns with the categories of other data."""
        cells = self._cells(mdata_target)
        state: dict[str, Any] = self.adata_field.transfer_field(state_registry, cells, **kwargs)
        self._write(cells, mdata_target)
        return state

    def _cells(self, mdata: MuData) -> AnnData:
        """Return an AnnData with the columns alone."""
        columns = matched_columns(mdata, self.keys, self.source, self.mod_key, self.argument)
        return AnnData(obs=columns)

    def _write(self, cells: AnnData, mdata: MuData) -> None:
        """Copy what the field wrote."""
        target = self.get_modality(mdata)
        getattr(target, self.attr_name)[self.attr_key] = getattr(cells, self.attr_name)[
            self.attr_key
        ]


def matched_columns(
    mdata: MuData, keys: list[str], source: str | None, junctions: str, argument: str
) -> pd.DataFrame:
    """Return columns of a modality for the cells of the junctions, ``(n, columns)``.

    Parameters and errors are those of :func:`field_column`.
    """
    columns = {
        field_name(key, source, junctions): field_column(mdata, key, source, junctions, argument)
        for key in keys
    }
    return pd.DataFrame(columns, index=mdata.mod[junctions].obs_names)
