"""NIP-90: a job request, its result and the feedback between them, as values and as events.

Source: nostr-protocol/nips, 90.md (which its authors no longer recommend: it leaves the kinds of
jobs open; `docs/nip-training.md` closes them). Deviations: the encryption is NIP-44's, not
NIP-04's, and is handed in as a function; a result names its request and customer (`e`, `p`), both
exactly once (an `e` with another marker than "request" names something else); of the statuses only
the five of the document are read.

Guarantee: what a decoder returns is within the caps below, its result kind is the request's + 1000,
and an embedded request is the one that `e` names, signed by the customer that `p` names. Decoders
do not check the signature of the event they are given (`check_event` does), nor whether the
reader knows that request. Encoders refuse with ValueError what the decoders would. Amounts are
millisatoshi (msat), times are seconds.
"""

from __future__ import annotations

from kumiai.market.nips.nip90.answers import (
    decode_feedback,
    decode_result,
    encode_feedback,
    encode_result,
)
from kumiai.market.nips.nip90.requests import decode_request, encode_request
from kumiai.market.nips.nip90.values import (
    FEEDBACK_KIND,
    REQUEST_KINDS,
    RESULT_KINDS,
    RESULT_OFFSET,
    Decrypt,
    Encrypt,
    InputType,
    JobFeedback,
    JobInput,
    JobRequest,
    JobResult,
    Param,
    Status,
)

__all__ = [
    "FEEDBACK_KIND", "REQUEST_KINDS", "RESULT_KINDS", "RESULT_OFFSET", "Decrypt", "Encrypt",
    "InputType", "JobFeedback", "JobInput", "JobRequest", "JobResult", "Param", "Status",
    "decode_feedback", "decode_request", "decode_result",
    "encode_feedback", "encode_request", "encode_result",
]  # fmt: skip
