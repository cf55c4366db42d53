"""Private names of scvi-tools that this package uses.

Checked with scvi-tools 1.4.2, 1.4.3, 1.5.0, 1.5.0.post1 and 1.5.1. When the range of versions in
``pyproject.toml`` is extended, check these names with the new versions first.

Names imported here, for the other modules:

``SAVE_KEYS``
    File names and keys of a saved model.
``SimpleLogger``
    The logger that fills ``model.history``.
``download``
    Download of a missing file, for ``backup_url``.
``parse_device_args``
    Device for Lightning's ``accelerator`` and ``devices``.

Members of scvi's classes that :class:`~leafletfa_scvi.LeafletFAModel` and its module call, set or
override are listed in :data:`PRIVATE_MEMBERS`.
"""

from __future__ import annotations

from typing import Final

from scvi.data._download import _download as download
from scvi.model._utils import parse_device_args
from scvi.model.base import BaseModelClass
from scvi.model.base._constants import SAVE_KEYS
from scvi.module.base import PyroBaseModuleClass
from scvi.train._logger import SimpleLogger

__all__ = ["PRIVATE_MEMBERS", "SAVE_KEYS", "SimpleLogger", "download", "parse_device_args"]

PRIVATE_MEMBERS: Final[dict[type, dict[str, str]]] = {
    BaseModelClass: {
        "_adata_manager": "read by the constructor: the registration of the data",
        "_get_init_params": "called by the constructor, for save and load",
        "_get_setup_method_args": "called by setup_anndata",
        "_make_data_loader": "overridden: scvi's loader makes dense batches",
        "_model_summary_string": "set by the constructor, printed by repr",
    },
    PyroBaseModuleClass: {
        "_get_fn_args_from_batch": "overridden: arguments of model and guide from a batch",
    },
}
"""Private members of scvi's classes, with their use here."""
