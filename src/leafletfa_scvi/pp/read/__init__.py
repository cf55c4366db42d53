"""Junction counts from files: BAM, BED12, SJ.out.tab, STARsolo, leafcutter and others."""

from leafletfa_scvi.pp.read._formats import FORMATS, InputFormat

__all__ = ["FORMATS", "InputFormat"]
