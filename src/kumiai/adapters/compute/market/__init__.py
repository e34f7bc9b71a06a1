"""The numeric work of the open market: what a customer, a validator and a provider compute.

All of it is the engine that a run uses; here are the doors. A provider opens a stranger's task,
recipe, model and shard, each capped and checked before it is used; a customer or validator measures
what strangers revealed and believes nothing that they say of it.

An order is answered by itself: no provider carries anything from one round to the next. So the
inner optimiser (AdamW, Muon, momentum) starts anew in every round, as DiLoCo's does here anyway,
and what a codec would remember (`ef`) is refused. What moves on from round to round is the
customer's: the global model, and the server rule's state (DiLoCo's outer Nesterov momentum).
"""

from kumiai.adapters.compute.market.customer import MarketCustomer, MarketJudge
from kumiai.adapters.compute.market.limits import WorkLimits
from kumiai.adapters.compute.market.opened import OpenedJob, open_job
from kumiai.adapters.compute.market.provider import MarketProvider
from kumiai.adapters.compute.market.redundancy import Agreement, compare_work

__all__ = [
    "Agreement",
    "MarketCustomer",
    "MarketJudge",
    "MarketProvider",
    "OpenedJob",
    "WorkLimits",
    "compare_work",
    "open_job",
]
