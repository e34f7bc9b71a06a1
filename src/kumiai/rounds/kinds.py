"""The kinds of events a run consists of, and the exact shape of each one's content.

A content has exactly the fields listed, each of the type listed, and perhaps those of `OPTIONAL`:
anything else is refused before a machine looks at it. All contents but the task's own name the task
by its hash.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Any

from kumiai.base import events
from kumiai.base.events import Event


@unique
class Kind(IntEnum):
    """Event kinds, in NOSTR's range of regular (stored) events."""

    TASK = 8401  # customer: the task document and who orders, holds money, may stop
    ESCROW = 8402  # escrow: money has arrived (fund, stake, delegate)
    ENROL = 8403  # member: I take part in this role, under these terms
    START = 8404  # customer: enrolment is over
    READY = 8405  # validator: the initial model has this digest
    DEAL = 8406  # trainer: my masks' public card, and the sealed shares of what is behind it
    UNMASK = 8407  # trainer: the shares that take the masks off my group's sum
    ACCEPT = 8409  # trainer: I will do this round's work (optional; a commitment implies it)
    COMMIT = 8410  # trainer: the hash that binds me to my update
    REVEAL = 8411  # trainer: the update's blob and what opens the commitment
    BEACON = 8412  # validator: the next element of my hash chain
    SCORE_COMMIT = 8413  # validator: the hash that binds me to my scores
    SCORE_REVEAL = 8414  # validator: the scores
    CURVE = 8415  # validator: the final model's accuracy at each width, on my second hold-out
    CERTIFY = 8416  # validator: my signature under the round's certificate
    FINAL_REVEAL = 8417  # validator: my second hold-out's scores of one round
    CANARY_OPEN = 8418  # customer: these members were known-value probes
    HOLDOUT_OPEN = 8419  # customer: the hold-out data, so that scores can be recomputed
    OPEN_TRACE = 8424  # trainer: the drawn leaves of my trace; the states are blobs
    JURY_COMMIT = 8425  # validator: the hash that binds me to what I found of an accusation
    JURY_REVEAL = 8426  # validator: what I found
    RECHECKED = 8427  # validator: which sheets that I was drawn to recompute are false
    RECHECK_VOTE = 8429  # validator: which of the accused sheets are false, which honest
    DECLINE = 8420  # trainer: not this round
    WITHDRAW = 8421  # member: I leave
    REJOIN = 8422  # member: I am back
    EVIDENCE = 8423  # anyone: two signatures that contradict each other
    ORDER_PROOF = 8428  # validator: one that orders said two things at one place
    STOP = 8430  # guardian: pause, resume or halt
    TICK = 8440  # orderer: the clock reached a deadline


_COMMON: dict[str, type] = {"task": str}
_ROUND: dict[str, type] = {"task": str, "round": int, "attempt": int}

SHAPES: dict[Kind, dict[str, type]] = {
    Kind.TASK: {
        "document": dict,
        "orderer": str,
        "escrow": str,
        "guardians": list,
        "canaries": str,
    },
    Kind.ESCROW: {**_COMMON, "entry": str, "member": str, "node": str, "amount": str},
    Kind.ENROL: {
        **_COMMON,
        "role": str,
        "name": str,
        "sigma_ppm": int,
        "terms": str,
        "beacon_tip": str,
        "address": str,
        "binding": str,
    },
    Kind.START: _COMMON,
    Kind.READY: {**_COMMON, "model": str},
    Kind.DEAL: {
        **_ROUND,
        "public": str,
        "own_seed_hash": str,
        "own_hashes": list,
        "agreement_hashes": list,
        "sealed": list,
    },
    Kind.UNMASK: {**_ROUND, "shares": list},
    Kind.ACCEPT: _ROUND,
    Kind.COMMIT: {**_ROUND, "commitment": str},
    Kind.REVEAL: {
        **_ROUND,
        "blob": str,
        "size_bytes": int,
        "salt": str,
        "samples": int,
        "iterations": int,
        "flop": str,
        "loss_ppm": int,
        "epsilon_milli": int,
    },
    Kind.BEACON: {**_ROUND, "element": str},
    Kind.SCORE_COMMIT: {**_ROUND, "commitment": str},
    Kind.SCORE_REVEAL: {
        **_ROUND,
        "salt": str,
        "lines": list,
        "loss_ppm": int,
        "accuracy_ppm": int,
        "final_commitment": str,
    },
    Kind.CERTIFY: {**_ROUND, "body_hash": str, "model": str, "server_state": str},
    Kind.CURVE: {**_ROUND, "model": str, "accuracies": list},
    Kind.FINAL_REVEAL: {**_ROUND, "salt": str, "values": list},
    Kind.CANARY_OPEN: {**_COMMON, "members": list, "salt": str},
    Kind.HOLDOUT_OPEN: {**_COMMON, "blobs": list},
    Kind.OPEN_TRACE: {**_ROUND, "leaves": list},
    Kind.JURY_COMMIT: {**_ROUND, "commitment": str},
    Kind.JURY_REVEAL: {**_ROUND, "salt": str, "machine": str, "audits": list},
    Kind.RECHECKED: {**_ROUND, "false": list},
    Kind.RECHECK_VOTE: {**_ROUND, "false": list, "honest": list},
    Kind.DECLINE: _ROUND,
    Kind.WITHDRAW: _COMMON,
    Kind.REJOIN: _COMMON,
    Kind.EVIDENCE: {**_COMMON, "first": dict, "second": dict},
    Kind.ORDER_PROOF: {**_COMMON, "epoch": int, "first": list, "second": list},
    Kind.STOP: {**_COMMON, "action": str, "reason": str},
    Kind.TICK: _COMMON,
}
# fields that may be left out, and are where the task does not ask for them
OPTIONAL: dict[Kind, dict[str, type]] = {
    Kind.TASK: {
        "replicas": list,  # keys of the committee that orders; validation.ordering
        "chain": dict,  # the contract that settles; settlement.kind evm
    },
    Kind.ENROL: {"share_key": str},  # of a trainer; privacy.mode secure
    Kind.START: {
        "shards": dict,  # trainer -> blob of its data; audit.mode replay
        "holdouts": dict,  # validator -> commitment to its hold-out; validation.recheck_ppm
    },
    Kind.HOLDOUT_OPEN: {"owners": list, "salt": str},  # with holdouts: what opens them
    Kind.CERTIFY: {"chain": str},  # the funds key's signature for the contract
    Kind.COMMIT: {"base": int},  # the round whose model it started from, if an earlier one
    Kind.REVEAL: {"trace_root": str, "machine": str},  # audit.mode replay
    Kind.SCORE_REVEAL: {
        "root": str,  # blob of the validator's own update; aggregator trust_root
        "machine": str,  # with audits: the class it replayed on, and what it found
        "audits": list,
    },
}


def parse_content(event: Event) -> tuple[Kind, dict[str, Any]]:
    """Return the kind and the shape-checked content; raises ValueError that names the field."""
    try:
        kind = Kind(event.kind)
    except ValueError as error:
        raise ValueError(f"kind {event.kind} is unknown") from error
    content = events.read_content(event)
    optional = OPTIONAL.get(kind, {})
    shape = SHAPES[kind] | {name: optional[name] for name in optional.keys() & content.keys()}
    if set(content) != set(shape):
        odd = sorted(set(content) ^ set(shape))
        raise ValueError(f"{kind.name}: fields {odd} are missing or unknown")
    for name, wanted in shape.items():
        value = content[name]
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"{kind.name}: field {name} is not {wanted.__name__}")
        if isinstance(value, int) and not name.endswith("loss_ppm") and value < 0:
            raise ValueError(f"{kind.name}: field {name} is negative")
    return kind, content


def parse_amount(text: str) -> int:
    """Return a decimal amount without sign; raises ValueError for anything else."""
    if (
        not text.isascii()
        or not text.isdigit()
        or len(text) > 40
        or (text[0] == "0" and text != "0")
    ):
        raise ValueError(f"amount {text[:50]!r} is not a plain decimal integer")
    return int(text)
