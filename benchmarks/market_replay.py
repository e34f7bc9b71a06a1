"""How long a provider's journal takes to be folded: at every start, and for every `status`.

    python benchmarks/market_replay.py [--works 1000 2000 10000] [--save FOLDER]

A journal of jobs of 1,000 rounds, one after another, each round asked for, trained, delivered, paid
and judged: about ten entries a work, as a node writes them. It is made in memory and folded by
`nodes.market.replay`; decoding from the disk is not counted. The last column should not grow.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from saved_tables import Printout, add_save_option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from kumiai.base.canonical import sha256_hex
from kumiai.base.events import Event
from kumiai.base.keys import derive_key
from kumiai.market import drafts, terms
from kumiai.market import effects as fx
from kumiai.market.kinds import Code, Policy, Ruling
from kumiai.market.letters import Draft, Letter
from kumiai.market.nips.nip01 import sign_text
from kumiai.market.provider import Provider, ProviderPolicy, Start
from kumiai.nodes.market.record import InputCodec
from kumiai.nodes.market.replay import Replayed, replay_all

OWN, CUSTOMER = derive_key(b"replay", "provider"), derive_key(b"replay", "customer")
ROUNDS = 1_000  # of a job
PRICE_MSAT = 1_000
ROUND_S = 10
BEGIN_S = 1_800_000_000
KEY, SERVER = "ab" * 32, ("http://127.0.0.1:1",)
JOB = terms.JobTerms(
    task=terms.BlobRef(KEY, 1, SERVER), recipe="mlp", algorithm="fedavg", rounds=ROUNDS, shards=1,
    samples=100, shard_bytes=10_000, model_bytes=10_000, update_bytes_max=10_000, input_shape=(8,),
    class_count=10, train_s=100, reveal_s=30, judge_s=30, bid_msat=PRICE_MSAT,
    payment=(Policy.INVOICE,),
)  # fmt: skip
POLICY = ProviderPolicy(
    pubkey=OWN.pubkey, secret=KEY, name="one", price_msat=PRICE_MSAT, payee=f"02{KEY}",
    payment=(Policy.INVOICE,), train_s=10,
)  # fmt: skip
OFFER = terms.OfferTerms(PRICE_MSAT, Policy.INVOICE, POLICY.payee, 10)
CONTRACT = terms.ContractTerms(
    0, terms.BlobRef(KEY, 9, SERVER), KEY, PRICE_MSAT, Policy.INVOICE, POLICY.payee
)
Entry = tuple[int, Any]


def say(draft: Draft, at_s: int, author: str = CUSTOMER.pubkey) -> Event:
    """Return an event without a valid signature: whoever folds a journal checks none."""
    content = sha256_hex(repr(draft).encode())
    name = sha256_hex(f"{at_s}{content}".encode())
    return Event(name, author, at_s, int(draft.kind), draft.tags, content, "0" * 128)


def list_entries(works: int) -> Iterator[Entry]:
    """Yield (time, input) of a journal with so many works."""
    at_s = BEGIN_S
    yield at_s, Start()
    for done in range(0, works, ROUNDS):
        draft = drafts.draft_job(JOB, at_s + 3_600, ())
        job = sign_text(CUSTOMER, int(draft.kind), at_s, "", draft.tags)
        yield at_s, fx.Heard(Letter(job))
        draft = drafts.draft_offer(job, replace(OFFER, expires_at_s=at_s + 3_600))
        offer = sign_text(OWN, int(draft.kind), at_s, "", draft.tags)
        yield at_s, fx.Published(f"publish/offer/{job.id}", offer)
        draft = drafts.draft_contract(job.id, offer.id, OWN.pubkey, CONTRACT, at_s + 3_600)
        contract = say(draft, at_s)
        yield at_s, fx.Heard(Letter(contract, draft.hidden))
        yield at_s, fx.Fetched(f"fetch/task/{contract.id}")
        yield at_s, fx.Fetched(f"fetch/shard/{contract.id}")
        yield at_s, fx.Unsealed(f"unseal/{contract.id}", KEY, 9)
        yield at_s, fx.Published(f"publish/accept/{contract.id}", contract)
        for number in range(1, min(ROUNDS, works - done) + 1):
            at_s += ROUND_S
            yield from list_round(job.id, contract.id, number, at_s)
        yield at_s, fx.Heard(Letter(say(drafts.draft_closing(job.id, ROUNDS, "", ()), at_s)))


def list_round(job: str, contract: str, number: int, at_s: int) -> Iterator[Entry]:
    """Yield what is written down of one work."""
    asked = terms.RoundTerms(
        number, 0, terms.BlobRef(KEY, 9, SERVER), number, at_s + 100, PRICE_MSAT
    )
    draft = drafts.draft_round(job, contract, OWN.pubkey, asked, at_s + 100)
    request = say(draft, at_s)
    yield at_s, fx.Heard(Letter(request, draft.hidden))
    yield at_s, fx.Published(f"publish/processing/{request.id}", request)
    yield at_s, fx.Fetched(f"fetch/model/{request.id}")
    yield at_s, fx.Trained(f"train/{request.id}", KEY, 9, 100, 10, 1_000, 5)
    yield at_s, fx.Stored(f"store/{request.id}", terms.BlobRef(KEY, 9, SERVER))
    paid_by = sha256_hex(request.id.encode())
    yield at_s, fx.InvoiceMade(f"invoice/{request.id}", "lnbcrt1", paid_by)
    result = say(Draft(draft.kind, (("of", request.id),)), at_s, OWN.pubkey)
    yield at_s, fx.Published(f"publish/result/{request.id}", result)
    draft = drafts.draft_verdict(
        job, contract, result.id, number, OWN.pubkey, Ruling.ACCEPTED, Code.ACCEPTED, 5, KEY
    )
    yield at_s, fx.Heard(Letter(say(draft, at_s), draft.hidden))
    yield at_s, fx.PaymentSeen(f"watch/{request.id}", "settled", KEY)
    yield at_s, fx.Published(f"publish/success/{request.id}", result)


def fold(works: int) -> tuple[Replayed[Any], float]:
    """Make a journal and fold it; return its end and the seconds that folding took."""
    codec = InputCodec(Start)
    entries = [codec.encode(at_s, item) for at_s, item in list_entries(works)]
    begun = time.perf_counter()
    replayed = replay_all(Provider(POLICY), codec, entries)
    return replayed, time.perf_counter() - begun


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--works", type=int, nargs="+", default=[1_000, 2_000, 5_000, 10_000])
    add_save_option(parser, "market_replay")
    args = parser.parse_args()
    out = Printout("market_replay", args.save)
    table = Table(title="a provider's journal, folded")
    for head in ("works", "entries", "seconds", "us an entry"):
        table.add_column(head, justify="right")
    for works in args.works:
        replayed, seconds = fold(works)
        earned_msat = replayed.state.earned_msat
        if earned_msat != works * PRICE_MSAT:
            raise SystemExit(f"{works} works earned {earned_msat} msat: the journal is wrong")
        each_us = 1e6 * seconds / replayed.entry_count
        table.add_row(f"{works:,}", f"{replayed.entry_count:,}", f"{seconds:.2f}", f"{each_us:.0f}")
    out.show(table)
    out.save()


if __name__ == "__main__":
    main()
