"""Error feedback: what a round could not send is added to the next.

Seide et al., "1-Bit Stochastic Gradient Descent and its Application to Data-Parallel Distributed
Training of Speech DNNs", 2014; Karimireddy et al., "Error Feedback Fixes SignSGD and other Gradient
Compression Schemes", 2019.

    x_t = b e_t + u_t;  sent: C(x_t);  e_(t+1) = x_t - decode(C(x_t));  e_0 = 0, b = 1 by default

With b = 1 the decoded updates add up to the inputs but for the last e, so nothing is lost for
good. SparseLoCo and DeMo use b below 1. What is fed back is the error before the fixed point: the
rounding to 2**-24 is not. A caller whose update was not included in its round keeps the state from
before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kumiai.base.amounts import PPM
from kumiai.learning.codecs.codec import Codec, State, check_state
from kumiai.learning.codecs.wire import check_update
from kumiai.learning.fixed_point import FloatVector, IntVector


@dataclass(frozen=True)
class ErrorFeedback:
    """`inner` with memory: the state is (error [P], *inner's state). Payloads are inner's own."""

    inner: Codec
    decay_ppm: int = PPM

    @property
    def description(self) -> str:
        return f"ef:decay_ppm={self.decay_ppm}|{self.inner.description}"

    def init(self, size: int) -> State:
        return (np.zeros(size, dtype=np.float32), *self.inner.init(size))

    def encode(self, update_P: FloatVector, state: State, seed: int) -> tuple[bytes, State]:
        check_update(update_P)
        check_state(state[:1], (update_P,))
        wanted_P = state[0]
        if self.decay_ppm != PPM:
            wanted_P = wanted_P * np.float32(self.decay_ppm / PPM)
        wanted_P = wanted_P + update_P
        payload, inner_state = self.inner.encode(wanted_P, state[1:], seed)
        error_P = wanted_P - self.inner.decode(payload, len(update_P))
        return payload, (error_P, *inner_state)

    def decode(self, payload: bytes, size: int) -> FloatVector:
        return self.inner.decode(payload, size)

    def decode_fixed(self, payload: bytes, size: int) -> IntVector:
        return self.inner.decode_fixed(payload, size)

    def compute_size_bytes(self, size: int) -> int | None:
        return self.inner.compute_size_bytes(size)

    def compute_size_bytes_max(self, size: int) -> int:
        return self.inner.compute_size_bytes_max(size)
