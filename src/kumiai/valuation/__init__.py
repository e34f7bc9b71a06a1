"""Floor 2: what each member's update is worth, by the utility of coalitions or by agreement."""

from kumiai.valuation.assess import METHODS, assess, assess_games
from kumiai.valuation.cosine import value_by_cosine
from kumiai.valuation.duplicates import merge_duplicates, spread
from kumiai.valuation.game import Utility, Valuation
from kumiai.valuation.gtg import GtgLimits

__all__ = [
    "METHODS",
    "GtgLimits",
    "Utility",
    "Valuation",
    "assess",
    "assess_games",
    "merge_duplicates",
    "spread",
    "value_by_cosine",
]
