"""Junction counts from files: BAM, BED12, .junc, SJ.out.tab, STARsolo."""

from leafletfa_scvi.pp.read._formats import FORMATS, InputFormat

__all__ = ["FORMATS", "InputFormat"]
