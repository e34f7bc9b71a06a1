"""How a round's updates become one: robust rules with one integer result on every machine.

Every rule takes N int32 updates (fixed point, see `fixed_point`) and N integer weights and returns
one int32 delta [P]. Members of weight 0 are left out, the order of members never matters, quotients
are rounded half to even. The work goes over P in blocks, so memory stays flat in P.

    per coordinate  median, trimmed_mean                   `order`
    one sum         mean                                   `linear`
    chosen weights  krum, multi_krum                       `krum`
                    geometric_median                       `geometric_median`
                    norm_clip, centered_clip               `clipping`
                    trust_root                             `trust`
    before any      buckets of members                     `bucketing`
    nested widths   mean over who holds a number           `coverage`

The last five families need two passes: the inner products of all pairs (`gram`), then one weighted
sum. `kernels` is the place for compiled loops; `aggregate_floats` runs the same rules over float32.
"""

from kumiai.learning.aggregation.coverage import (
    average_covered,
    count_covering,
    find_covered,
    is_inside,
)
from kumiai.learning.aggregation.door import AGGREGATORS, aggregate, aggregate_floats
from kumiai.learning.aggregation.kernels import Kernels, NumpyKernels
from kumiai.learning.aggregation.rounding import divide_half_even
from kumiai.learning.aggregation.rule import (
    WEIGHT_SUM_MAX,
    Members,
    Rule,
    Settings,
    fit_weights,
)

__all__ = [
    "AGGREGATORS",
    "WEIGHT_SUM_MAX",
    "Kernels",
    "Members",
    "NumpyKernels",
    "Rule",
    "Settings",
    "aggregate",
    "aggregate_floats",
    "average_covered",
    "count_covering",
    "divide_half_even",
    "find_covered",
    "fit_weights",
    "is_inside",
]
