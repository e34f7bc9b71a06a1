"""How the global model moves by a round's aggregated delta: (init, apply) pairs in integers.

`delta` is local minus global, combined over the members. Rates are ppm integers, every vector is in
the model's own fixed point, every quotient is rounded half to even: the same bits on every machine.
"""

from kumiai.learning.server.adaptive import Adaptive
from kumiai.learning.server.build import (
    SERVER_OPTIMIZERS,
    ServerSettings,
    build_server,
    find_optimizer,
)
from kumiai.learning.server.controlled import Controlled, get_control, replace_control
from kumiai.learning.server.fragment import apply_in_span
from kumiai.learning.server.momentum import FedAvg, OuterMomentum
from kumiai.learning.server.rule import (
    ServerRule,
    ServerState,
    compute_state_bytes_max,
    decode_state,
    encode_state,
)

__all__ = [
    "SERVER_OPTIMIZERS",
    "Adaptive",
    "Controlled",
    "FedAvg",
    "OuterMomentum",
    "ServerRule",
    "ServerSettings",
    "ServerState",
    "apply_in_span",
    "build_server",
    "compute_state_bytes_max",
    "decode_state",
    "encode_state",
    "find_optimizer",
    "get_control",
    "replace_control",
]
