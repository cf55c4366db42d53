from ._history import history as history
from ._programs import program_heatmap as program_heatmap
from ._programs import program_match as program_match
from ._qc import dataset_qc as dataset_qc
from ._selection import program_selection as program_selection
from ._selection import program_stability as program_stability
from ._structure import structure as structure
from ._waypoints import waypoints as waypoints
