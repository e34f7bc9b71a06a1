"""What the market's machines ask for, and what comes back.

A machine is `step(state, now_s, input) -> Outcome`. An effect has a `key` that names it for ever:
the node carries it out, however often it must begin again, and hands in one result with that key.
The state remembers every effect that has no final result yet (`pending`), so after a crash the node
folds its journal and asks again for what is pending. Effects are therefore idempotent by key.

Blobs are named by sha256 and lie in the node's own store; `BlobRef`s say where others find them.
"""

from __future__ import annotations

from dataclasses import dataclass

from kumiai.base.errors import Reject
from kumiai.base.events import Event
from kumiai.market.letters import Draft, Letter
from kumiai.market.terms import BlobRef, Tag


@dataclass(frozen=True, slots=True)
class Publish:
    """Sign, remember and send to all relays until one has it -> `Published`."""

    key: str
    draft: Draft
    relays: tuple[str, ...] = ()  # beside our own


@dataclass(frozen=True, slots=True)
class OpenJob:
    """Open a sealed job with its key -> `JobOpened` or `Failed`."""

    key: str
    event: Event
    job_key: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download a blob into our store -> `Fetched` or `Failed`.

    Never more than size_bytes_max; `Failed` with code too-big, wrong-hash or not-there.
    """

    key: str
    ref: BlobRef
    size_bytes_max: int
    deadline_s: int = 0  # when to give up; 0: after the node's own patience


@dataclass(frozen=True, slots=True)
class Unseal:
    """Open a sealed blob of our store -> `Unsealed`; wrong-hash if the key does not open it."""

    key: str
    sealed: str
    seal_key: str
    size_bytes_max: int


@dataclass(frozen=True, slots=True)
class Store:
    """Put a blob on our servers, sealed under seal_key if there is one -> `Stored`."""

    key: str
    blob: str
    seal_key: str = ""


@dataclass(frozen=True, slots=True)
class Train:
    """A provider's work -> `Trained` or `Failed`: nodes.market.work.TrainOrder."""

    key: str
    round: int
    task: str
    code: str
    input_shape: tuple[int, ...]
    class_count: int
    model: str
    shard: str
    seed: int
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class Judge:
    """Measure a round's updates -> `Judged`. candidates: (provider, update, shard index)."""

    key: str
    round: int
    model: str
    previous_model: str
    candidates: tuple[tuple[str, str, int], ...]
    seed: str


@dataclass(frozen=True, slots=True)
class Combine:
    """Make the next model -> `Combined`. included: (provider, update, weight)."""

    key: str
    round: int
    model: str
    server_state: str
    previous_model: str
    included: tuple[tuple[str, str, int], ...]
    seed: str


@dataclass(frozen=True, slots=True)
class MakeInvoice:
    """-> `InvoiceMade`: a hold invoice on payment_hash, or a plain one that reveals preimage."""

    key: str
    amount_msat: int
    expiry_s: int
    description: str
    payment_hash: str = ""
    preimage: str = ""


@dataclass(frozen=True, slots=True)
class WatchInvoice:
    """Look at an invoice of ours until its state is final -> `PaymentSeen` at every change."""

    key: str
    payment_hash: str


@dataclass(frozen=True, slots=True)
class Pay:
    """Pay an invoice once -> `PaymentSeen` at every change, or `Failed` with bad-invoice.

    Nothing moves unless the invoice's amount, payee and (if given) payment_hash are these. After
    begin_by_s (0: never) the wallet is not asked to pay any more: `Failed` with not-paid.
    """

    key: str
    bolt11: str
    amount_msat: int
    payee: str
    payment_hash: str  # "": whatever it says
    job: str
    round: int
    begin_by_s: int = 0


@dataclass(frozen=True, slots=True)
class Settle:
    """Take a held payment of ours -> `PaymentSeen`."""

    key: str
    preimage: str


@dataclass(frozen=True, slots=True)
class CancelInvoice:
    """Give a held payment back, or withdraw the invoice -> `PaymentSeen`."""

    key: str
    payment_hash: str


@dataclass(frozen=True, slots=True)
class LockToken:
    """Make ecash for 2 of (provider, us, arbiter), for this work -> `TokenMade`."""

    key: str
    amount_msat: int
    provider: str
    arbiter: str
    locktime_s: int
    about: str  # `escrow.name_work`


@dataclass(frozen=True, slots=True)
class CheckToken:
    """Is the token worth amount_msat and locked so? -> `Done` or `Failed`."""

    key: str
    token: str
    amount_msat: int
    customer: str
    arbiter: str
    locktime_s: int
    about: str


@dataclass(frozen=True, slots=True)
class SignToken:
    """Our signatures for another who redeems -> `TokenSigned`, or `Failed` if not for `about`."""

    key: str
    token: str
    about: str


@dataclass(frozen=True, slots=True)
class RedeemToken:
    """Spend with our signature and those given; none given: the refund -> `Redeemed`."""

    key: str
    token: str
    signatures: tuple[str, ...]


Effect = (
    Publish | OpenJob | Fetch | Unseal | Store | Train | Judge | Combine | MakeInvoice |
    WatchInvoice | Pay | Settle | CancelInvoice | LockToken | CheckToken | SignToken | RedeemToken
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heard:
    """An event from a relay, checked and opened; our own come back too and are ignored."""

    letter: Letter


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed: deadlines are looked at."""


@dataclass(frozen=True, slots=True)
class Woken:
    """For so long we were not there, and heard nobody; comes before the tick that would judge."""

    missed_s: int


@dataclass(frozen=True, slots=True)
class Published:
    """The event is signed and remembered; it is being sent, or has been."""

    key: str
    event: Event


@dataclass(frozen=True, slots=True)
class JobOpened:
    """The hidden tags of a sealed job."""

    key: str
    hidden: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The blob is in our store."""

    key: str


@dataclass(frozen=True, slots=True)
class Unsealed:
    """The plaintext is in our store."""

    key: str
    blob: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Others find it there."""

    key: str
    ref: BlobRef


@dataclass(frozen=True, slots=True)
class Trained:
    """See nodes.market.work.Trained."""

    key: str
    update: str
    size_bytes: int
    samples: int
    iterations: int
    flop: int
    loss_ppm: int


@dataclass(frozen=True, slots=True)
class JudgedLine:
    """See nodes.market.work.JudgedUpdate."""

    provider: str
    gain: int
    value: int
    error: int
    fault: str = ""
    duplicate_of: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """See nodes.market.work.Judgement."""

    key: str
    loss_ppm: int
    accuracy_ppm: int
    lines: tuple[JudgedLine, ...]


@dataclass(frozen=True, slots=True)
class Combined:
    """The next model and the server rule's memory ("" for none)."""

    key: str
    model: str
    server_state: str


@dataclass(frozen=True, slots=True)
class InvoiceMade:
    """Ours to be paid."""

    key: str
    bolt11: str
    payment_hash: str


@dataclass(frozen=True, slots=True)
class PaymentSeen:
    """What the own wallet says: state is one of nodes.market.ports.PaymentState's words."""

    key: str
    state: str
    preimage: str = ""
    fee_msat: int = 0


@dataclass(frozen=True, slots=True)
class TokenMade:
    """Ecash that is locked; customer: the key of ours that it names."""

    key: str
    token: str
    customer: str


@dataclass(frozen=True, slots=True)
class TokenSigned:
    """One signature a proof."""

    key: str
    signatures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What came in, after the mint's fee."""

    key: str
    amount_msat: int


@dataclass(frozen=True, slots=True)
class Done:
    """It was as it should be."""

    key: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot be had; code is one of market.kinds.Code's words where one fits."""

    key: str
    code: str
    detail: str


Result = (
    Published | JobOpened | Fetched | Unsealed | Stored | Trained | Judged | Combined |
    InvoiceMade | PaymentSeen | TokenMade | TokenSigned | Redeemed | Done | Failed
)  # fmt: skip

FINAL_STATES = frozenset({"settled", "failed", "expired", "canceled"})


@dataclass(frozen=True, slots=True)
class Rejected:
    """A peer's message that was refused, with the time and the event that proves it."""

    at_s: int
    reject: Reject
    event: Event | None = None


def is_final(result: Result) -> bool:
    """Tell whether a result ends its effect: payments are seen until they cannot change."""
    return not isinstance(result, PaymentSeen) or result.state in FINAL_STATES
