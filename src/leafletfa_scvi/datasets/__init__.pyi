from ._alignments import SimulatedAlignments as SimulatedAlignments
from ._alignments import simulate_alignments as simulate_alignments
from ._cohort import simulate_cohort as simulate_cohort
from ._simulate import simulate_splicing as simulate_splicing
