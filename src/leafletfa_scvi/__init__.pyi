from . import data as data
from . import datasets as datasets
from . import inference as inference
from . import model as model
from . import ops as ops
from . import pl as pl
from . import pp as pp
from . import stats as stats
from . import tl as tl
from ._report import report as report
from .model import LeafletFAModel as LeafletFAModel

__version__: str
