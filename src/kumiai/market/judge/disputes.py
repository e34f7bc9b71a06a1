"""Is a dispute about what was judged? The verdict that it shows says so, signed by the customer.

Without that a provider could deliver anything, be rejected, and show the jury another update that
it made later, or its update on another model. Source: docs/nip-training.md, section 8.
"""

from __future__ import annotations

from kumiai.base.events import Event, check_event
from kumiai.market.drafts import veil_hash
from kumiai.market.kinds import DISPUTABLE, EVENT_BYTES_MAX, Code, Kind, Ruling
from kumiai.market.letters import DisputeRaised
from kumiai.market.nips.nip01 import decode_event, get_value


def find_disputed_update(dispute: DisputeRaised, customer: str) -> str:
    """Return the sha256 of the update that was judged; ValueError if the verdict does not fit."""
    verdict = decode_event(dispute.terms.verdict, EVENT_BYTES_MAX)
    flaw = check_event(verdict)
    if flaw is not None:
        raise ValueError(f"the verdict is not what its author signed: {flaw}")
    if (verdict.id, verdict.kind, verdict.pubkey) != (dispute.verdict, Kind.VERDICT, customer):
        raise ValueError("it shows another verdict, or one that is not the customer's")
    places = {"job": dispute.job, "contract": dispute.contract}
    if any(_find_refs(verdict, marker) != [place] for marker, place in places.items()):
        raise ValueError("the verdict is about another job or contract")
    if (get_value(verdict.tags, "p"), get_value(verdict.tags, "n")) != (
        dispute.provider,
        str(dispute.round),
    ):
        raise ValueError("the verdict is about another provider or round")
    if get_value(verdict.tags, "model") != veil_hash(dispute.terms.model.sha256):
        raise ValueError("the update was judged on another model")
    _check_rejected(verdict)
    update = get_value(verdict.tags, "x")
    if not update:
        raise ValueError("the verdict is about an update that was never opened")
    return update


def _check_rejected(verdict: Event) -> None:
    """Only a rejection can be disputed, for a reason that a jury can measure anew.

    Else a provider could show the verdict on a good work, and the ecash of a bad one.
    """
    said = [tag for tag in verdict.tags if tag[:1] == ("status",)]
    if len(said) != 1 or len(said[0]) < 3 or said[0][1] != Ruling.REJECTED:
        raise ValueError("the verdict rejected nothing")
    code = said[0][2]
    if code in set(Code) - DISPUTABLE:
        raise ValueError(f"no jury can measure this: {code}")


def _find_refs(event: Event, marker: str) -> list[str]:
    return [tag[1] for tag in event.tags if len(tag) >= 4 and tag[::3] == ("e", marker)]
