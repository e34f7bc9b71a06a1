"""Floor 2: what each member's update is worth, by the utility of coalitions or by agreement."""

from kumiai.valuation.assess import (
    METHODS,
    SHAPLEY_METHODS,
    Limits,
    assess,
    assess_games,
    assess_group,
    assess_members,
)
from kumiai.valuation.banzhaf import BanzhafLimits
from kumiai.valuation.cgsv import apply_cgsv, init_cgsv, value_by_cgsv
from kumiai.valuation.class_cosine import (
    apply_class_cosine,
    compute_class_cosines,
    join_heads,
    value_by_class_cosine,
)
from kumiai.valuation.comfedsv import ComfedsvLimits, value_comfedsv
from kumiai.valuation.completion import CompletionLimits
from kumiai.valuation.cosine import value_by_cosine
from kumiai.valuation.duplicates import merge_duplicates, spread
from kumiai.valuation.fedsv import CohortRound, value_fedsv
from kumiai.valuation.game import Utility, Valuation
from kumiai.valuation.gtg import GtgLimits
from kumiai.valuation.permutation import PermutationLimits
from kumiai.valuation.strata import StrataLimits
from kumiai.valuation.tmc import TmcLimits

__all__ = [
    "METHODS",
    "SHAPLEY_METHODS",
    "BanzhafLimits",
    "CohortRound",
    "ComfedsvLimits",
    "CompletionLimits",
    "GtgLimits",
    "Limits",
    "PermutationLimits",
    "StrataLimits",
    "TmcLimits",
    "Utility",
    "Valuation",
    "apply_cgsv",
    "apply_class_cosine",
    "assess",
    "assess_games",
    "assess_group",
    "assess_members",
    "compute_class_cosines",
    "init_cgsv",
    "join_heads",
    "merge_duplicates",
    "spread",
    "value_by_cgsv",
    "value_by_class_cosine",
    "value_by_cosine",
    "value_comfedsv",
    "value_fedsv",
]
