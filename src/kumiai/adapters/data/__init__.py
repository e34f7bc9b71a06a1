"""Where samples come from: data sets inside installed packages, or the user's own loader.

`load_source` gives one checked data set, `split` deals it to trainers and validators. Nothing here
downloads; the packages are read by path and never imported.
"""

from kumiai.adapters.data.dataset import Dataset, check_dataset
from kumiai.adapters.data.federated import FederatedData, split
from kumiai.adapters.data.sources import SOURCES_BUILT_IN, load_source
from kumiai.adapters.data.user_file import load_user_recipe

__all__ = [
    "SOURCES_BUILT_IN",
    "Dataset",
    "FederatedData",
    "check_dataset",
    "load_source",
    "load_user_recipe",
    "split",
]
