"""Junction counts from files: BAM, BED12, .junc, SJ.out.tab, STARsolo."""
