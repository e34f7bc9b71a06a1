"""Runs that settle on a chain: every certificate carries a quorum that the contract will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from tests.nodes.simulation import Finished, finish
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.memory.ledger import MemoryLedger
from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.population import Person, gather
from kumiai.base import canonical, events, keys
from kumiai.base.log import append_record
from kumiai.consensus.quorum import compute_quorum
from kumiai.nodes.customer import name_chain
from kumiai.rounds.kinds import Kind
from kumiai.rounds.onchain import has_chain_quorum, read_body
from kumiai.rounds.run import step
from kumiai.rounds.signed import ChainRound, Vote
from kumiai.rounds.state import RunPhase, RunState
from kumiai.settlement.certificates import (
    ZERO_WORD,
    ChainPlace,
    compute_certificate_digest,
    hash_committee,
)
from kumiai.settlement.ledger import SettleFinal, SettleRound, escrow_account, locked_account
from kumiai.settlement.payroll import compute_pay_root

PLACE = ChainPlace(31_337, "0x" + "a1" * 20)
EVM = {"settlement": {"kind": "evm"}}
BACKER = Person("d0", "delegator", backs=(("t0", 500), ("v1", 300)))


@dataclass
class Contract(MemoryLedger):
    """What the arena asks of a settlement, beside the ledger's own rules."""

    place: ChainPlace = PLACE
    committee: str = ""  # hash; that of the first certificate is the founding one's
    round: int = 0
    sealed: ChainRound | None = None
    rounds: list[ChainRound] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def seal(self, settled: ChainRound, signatures: Sequence[tuple[str, str]]) -> None:
        certificate, committee = settled.certificate, settled.committee
        named = hash_committee(committee).hex()
        assert not self.committee or named == self.committee, "not whom the last one named"
        digest = compute_certificate_digest(certificate, self.place)
        signers = {a for a, s in signatures if keys.is_address_signature(a, digest, s)}
        assert len(signers & set(committee)) >= compute_quorum(len(committee))
        assert certificate.round > self.round
        following = certificate.next_committee
        self.committee = named if following == ZERO_WORD else following.hex()
        self.round, self.sealed = certificate.round, settled
        self.rounds.append(settled)

    def apply(self, command: object) -> None:
        if isinstance(command, SettleRound | SettleFinal):
            assert self.sealed is not None, "money moves after its certificate"
            certificate = self.sealed.certificate
            assert certificate.paid == sum(amount for _, amount in command.payments)
            assert certificate.is_final == isinstance(command, SettleFinal)
            pot = escrow_account(command.task)
            if isinstance(command, SettleRound):
                assert certificate.locked == command.locked
                assert certificate.paid + certificate.locked <= self.balance(pot)
            else:
                assert certificate.paid <= self.balance(locked_account(command.task))
            burnt = [(s.amount, s.evidence.hex()) for s in self.sealed.slashes]
            assert burnt == [
                (a, e) for (_, a), e in zip(command.burnt, command.evidence, strict=True)
            ]
            self.sealed = None
        super().apply(command)  # type: ignore[arg-type]


def play(
    task=None, people=None, network: NetworkModel | None = None, **more: object
) -> tuple[Finished, Contract]:
    contract = Contract()
    driver, population = make_driver(
        task or make_task(**EVM),
        people or make_people(extra=[BACKER]),
        network,
        place=PLACE,
        ledger=contract,
        **more,  # type: ignore[arg-type]
    )
    return finish(driver, population), contract


def test_every_round_and_the_end_carry_a_quorum_and_what_everybody_may_claim():
    finished, contract = play()
    assert finished.state.phase is RunPhase.FINISHED
    assert [r.certificate.round for r in contract.rounds] == [1, 2, 3]
    assert [r.certificate.is_final for r in contract.rounds] == [False, False, True]
    chain, state = finished.state.chain, finished.state
    assert chain is not None
    owed = {state.members[k].address: t.earned for k, t in state.tallies.items() if t.earned}
    root = contract.rounds[-1].certificate.payments
    assert root == compute_pay_root(chain.task_key, owed)
    assert finished.key("d0") in state.tallies  # who backs is paid by the same root
    assert sum(owed.values()) == sum(r.certificate.paid for r in contract.rounds)


def test_committees_that_are_drawn_anew_name_each_other():
    seated = {"validators": 7, "seats": 4, "epoch_rounds": 2}
    task = make_task(validators=7, rounds=7, validation=seated, **EVM)
    finished, contract = play(task, make_people(validators=7))
    assert finished.state.phase is RunPhase.FINISHED
    assert len({r.committee for r in contract.rounds}) > 1
    assert len(finished.state.epochs) == 4


def test_silent_crashed_and_cheating_members_do_not_stop_the_contract():
    away = {"v1": ((6_000, 40_000),), "t2": ((1_000, 25_000),)}
    network = NetworkModel(seed=3, crashes=away, drop_ppm=50_000)
    finished, contract = play(
        make_task(rounds=5, **EVM), network=network, behaviours={"t1": "free-rider"}
    )
    assert finished.state.phase is RunPhase.FINISHED
    assert len(contract.rounds) == 6


def fold_until(kind: Kind) -> tuple[RunState, list[events.Event], object]:
    """The state just before the log's first event of this kind, and that event's own."""
    finished, _ = play()
    state = RunState()
    for record in finished.driver.log.read():
        if record.event.kind == kind:
            return state, record, finished
        state = step(state, record).state
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content, key: content.pop("chain"), "missing"),
        (lambda content, key: content.update(chain="00" * 65), "funds key's"),
        (lambda content, key: content.update(chain=keys.sign_recoverable(key, bytes(32))), "key's"),
    ],
)
def test_a_certificate_without_the_funds_keys_signature_is_refused(change, reason):
    state, record, finished = fold_until(Kind.CERTIFY)
    by_key = {finished.key(p.name): p.name for p in finished.people.people}
    name = by_key[record.event.pubkey]
    content = events.read_content(record.event)
    change(content, finished.people.funds[name])
    key = finished.people.keys[name]
    event = events.sign_event(key, Kind.CERTIFY, record.event.created_at, content)
    outcome = step(state, replace(record, event=event))
    assert outcome.reject is not None
    assert outcome.reject.reason == "bad-chain-signature"
    assert reason in outcome.reject.detail


def test_the_body_binds_what_the_contract_is_told():
    state, record, _ = fold_until(Kind.CERTIFY)
    content = events.read_content(record.event)
    assert state.round is not None
    body = dict(state.round.draft) | {"model": content["model"]}
    body["server_state"] = content["server_state"]
    told = read_body(body, content["body_hash"])
    assert told.certificate.body.hex() == canonical.sha256_hex(canonical.encode(body))
    assert told.committee == tuple(
        sorted(m.address for m in state.members.values() if m.role == "validator")
    )


TASK_FAULTS = {
    "missing": lambda chain: None,
    "one-more": lambda chain: chain | {"extra": 1},
    "chain-id": lambda chain: chain | {"chain_id": 0},
    "text-id": lambda chain: chain | {"chain_id": "1"},
    "arena": lambda chain: chain | {"arena": "0x" + "A1" * 20},
    "owner": lambda chain: chain | {"owner": "0x" + "01" * 20},
    "binding": lambda chain: chain | {"binding": "00" * 65},
}


@pytest.mark.parametrize("fault", TASK_FAULTS)
def test_a_task_names_its_contract_rightly_or_not_at_all(fault):
    record, finished = fold_until(Kind.TASK)[1:]
    content = events.read_content(record.event)
    chain = TASK_FAULTS[fault](content.pop("chain"))
    event = events.sign_event(
        finished.people.customer,
        Kind.TASK,
        record.event.created_at,
        content | ({} if chain is None else {"chain": chain}),
    )
    outcome = step(RunState(), append_record(None, record.time_ms, event))
    assert outcome.reject is not None
    assert outcome.reject.reason == "bad-chain"


def test_a_run_of_its_own_ledger_names_no_contract():
    people = make_people()
    customer = gather(make_task(), people)
    chain = name_chain(customer.customer, customer.funds["customer"], 1, PLACE.arena)
    driver, _ = make_driver(make_task(), people)
    driver.run()
    record = next(iter(driver.log.read()))
    content = events.read_content(record.event) | {"chain": chain}
    event = events.sign_event(customer.customer, Kind.TASK, record.event.created_at, content)
    outcome = step(RunState(), append_record(None, record.time_ms, event))
    assert outcome.reject is not None
    assert outcome.reject.reason == "bad-chain"
    assert all("chain" not in events.read_content(r.event) for r in driver.log.read())


def test_an_address_serves_one_member():
    state, record, finished = fold_until(Kind.ENROL)
    state = step(state, record).state
    taken = next(iter(state.members.values())).address
    name = next(p.name for p in finished.people.people if finished.key(p.name) not in state.members)
    other = finished.people.keys[name]
    owner = next(k for k in finished.people.funds.values() if keys.compute_address(k) == taken)
    content = events.read_content(record.event) | {
        "address": taken,
        "binding": keys.sign_binding(owner, other.pubkey),
    }
    event = events.sign_event(other, Kind.ENROL, record.event.created_at, content)
    outcome = step(state, append_record(record, record.time_ms, event))
    assert outcome.reject is not None
    assert "another member's" in outcome.reject.detail


def test_a_deposit_beyond_what_the_contract_counts_is_refused():
    state, record, finished = fold_until(Kind.ESCROW)
    content = events.read_content(record.event) | {"entry": "stake", "member": "5" * 64}
    escrow = finished.people.escrow
    for amount, detail in ((2**128 - 1, None), (2**128, "below 2**128")):
        given = content | {"amount": str(amount)}
        event = events.sign_event(escrow, Kind.ESCROW, record.event.created_at, given)
        outcome = step(state, replace(record, event=event))
        told = outcome.reject and outcome.reject.detail
        assert (told is None) if detail is None else (detail in str(told))


def test_who_backs_a_member_must_have_an_address_to_be_paid_at():
    state, record, finished = fold_until(Kind.START)
    backer = finished.key("d0")
    left = {key: member for key, member in state.members.items() if key != backer}
    outcome = step(replace(state, members=left), record)
    assert outcome.reject is not None
    assert (outcome.reject.reason, backer[:12]) == ("no-address", outcome.reject.detail[:12])


def test_votes_of_others_than_the_committee_make_no_quorum_for_the_contract():
    addresses = [f"0x{i:040x}" for i in range(4)]
    votes = tuple(Vote("", "", "", "", "", address, "") for address in addresses)
    draft = {"chain": {"committee": addresses}}
    assert has_chain_quorum(draft, votes[:3])
    assert not has_chain_quorum(draft, votes[:2])
    assert not has_chain_quorum({"chain": {"committee": [*addresses[:2], "0x1", "0x2"]}}, votes)
    assert has_chain_quorum({}, ())


def test_a_signature_for_a_contract_has_no_place_where_there_is_none():
    people = make_people()
    driver, population = make_driver(make_task(), people)
    driver.run()
    state, last = RunState(), None
    for record in driver.log.read():
        if record.event.kind == Kind.CERTIFY:
            last = record
            break
        state = step(state, record).state
    assert last is not None
    name = next(p.name for p in people if population.pubkey(p.name) == last.event.pubkey)
    content = events.read_content(last.event) | {"chain": "00" * 65}
    key = population.keys[name]
    event = events.sign_event(key, Kind.CERTIFY, last.event.created_at, content)
    outcome = step(state, replace(last, event=event))
    assert outcome.reject is not None
    assert outcome.reject.reason == "bad-chain-signature"
