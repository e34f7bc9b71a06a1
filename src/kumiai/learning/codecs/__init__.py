"""How an update becomes few bytes on the wire and back, with exact byte counts.

    codec = build_codec("ef|topk:density=0.01,chunk=4096|int2", layout.shapes)
    state = codec.init(layout.size)
    payload, state = codec.encode(update_P, state, seed)             the sender
    ints_P = codec.decode_fixed(payload, layout.size)                every receiver

Where a payload fits: a round's updates are summed as int32 fixed point, bit-exactly, and a trainer
commits to the hash of its blob. With a codec the blob is the payload. Every receiver (the other
members, validators, an auditor years later) decodes it and rounds it to the fixed point; from there
on nothing changes. All of them must get the same integers, so decoding is bit-exact: its only float
operations are single IEEE ones on single numbers and sums that float64 holds exactly. What is
scored, aggregated and paid is the decoded update, not what its sender had before encoding.

Payloads come from peers: a decoder checks lengths against what P implies before it allocates, and
raises ValueError, and nothing else, for whatever no encoder writes. State (error feedback's memory,
PowerSGD's factors) belongs to the sender, is handed in and out, and never travels.
"""

from kumiai.learning.codecs.codec import Codec, State
from kumiai.learning.codecs.feedback import ErrorFeedback
from kumiai.learning.codecs.fragment import Fragment, cut, for_round
from kumiai.learning.codecs.memory import compute_state_bytes, decode_state, encode_state
from kumiai.learning.codecs.parse import build_codec, parse_description, write_description
from kumiai.learning.codecs.plain import Plain
from kumiai.learning.codecs.stack import Stack

__all__ = [
    "Codec",
    "ErrorFeedback",
    "Fragment",
    "Plain",
    "Stack",
    "State",
    "build_codec",
    "compute_state_bytes",
    "cut",
    "decode_state",
    "encode_state",
    "for_round",
    "parse_description",
    "write_description",
]
