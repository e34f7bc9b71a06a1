"""When a provider does not accept a rejection: the jury is asked, and its word is taken.

Source: docs/nip-training.md, section 8.
"""

from __future__ import annotations

from dataclasses import replace

from kumiai.base.events import Event
from kumiai.market.effects import CancelInvoice, RedeemToken
from kumiai.market.kinds import Policy, Ruling
from kumiai.market.letters import RulingGiven
from kumiai.market.nips.nip01 import encode_event
from kumiai.market.provider import requests
from kumiai.market.provider.answers import make_dispute, publish
from kumiai.market.provider.state import Stage, Work
from kumiai.market.provider.turn import Turn


def dispute(turn: Turn, key: str) -> None:
    """Ask every juror of the job about a rejected work."""
    work = turn.s.works.get(key)
    if work is None or work.stage is not Stage.REJECTED or work.sealed is None:
        return
    if work.verdict is None:
        return
    text = encode_event(work.verdict).decode()
    for juror in turn.get_terms(work).jury:
        draft = make_dispute(turn, work, work.verdict.id, text, juror)
        publish(turn, work, f"dispute/{juror}", draft)
        turn.put_work(replace(work, stage=Stage.DISPUTED))


def on_ruling(turn: Turn, message: RulingGiven, event: Event) -> None:
    """A juror's word; with ecash, its signature pays us.

    When more than half of the jury is against us, the locked money goes back.
    """
    key = turn.s.disputes.get(message.dispute)
    work = turn.s.works.get(key) if key is not None else None
    if work is None or work.stage is not Stage.DISPUTED:
        return
    jury = turn.get_terms(work).jury
    if message.juror not in jury:
        turn.refuse("not-a-juror", "rules without being of the job's jury", event)
        return
    if message.ruling is Ruling.ACCEPTED:
        if message.signatures:
            token = work.request.terms.token
            turn.ask(RedeemToken(f"redeem/{work.key}", token, message.signatures))
        return
    against = tuple(dict.fromkeys((*work.against, message.juror)))
    work = replace(work, against=against)
    turn.put_work(work)
    if 2 * len(against) >= len(jury):
        turn.put_work(replace(work, stage=Stage.REJECTED))
        give_back(turn, work)


def give_back(turn: Turn, work: Work) -> None:
    """Release money that is locked for us and not ours."""
    if turn.get_contract(work).terms.payment is Policy.HOLD and work.payment_hash:
        turn.ask(CancelInvoice(f"cancel/{work.key}", work.payment_hash))


def compute_end(turn: Turn, work: Work) -> int:
    """A jury that says nothing until our invoice's life is over will not speak any more."""
    least_s = requests.compute_locktime_least(work.request.terms, turn.get_terms(work))
    return least_s + requests.INVOICE_SLACK_S
