"""The arena attacked from outside: replays, malleable signatures, races, griefing, pauses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.adapters.evm.arena_door import (
    ArenaDoor,
    compact,
    digest_certificate,
    digest_order,
    digest_struct,
    digest_verdict,
    encode_words,
    flip,
    list_certificate,
    list_slashes,
    make_person,
    make_quorum,
    sign,
)
from tests.adapters.evm.arena_model import TRAINER, VALIDATOR, Rules
from tests.adapters.evm.arena_world import (
    DELEGATORS,
    DOCUMENT,
    GUARDIANS,
    OWNER,
    PAYERS,
    TRAINERS,
    VALIDATORS,
    ArenaWorld,
    list_terms,
    open_door,
)
from tests.adapters.evm.engines import CHAIN_ID, GENESIS_TIME, PyEvmEngine

from kumiai.base.keys import keccak256
from kumiai.settlement.certificates import (
    ChainCertificate,
    ChainPlace,
    ChainSlash,
    compute_task_key,
    hash_slashes,
)
from kumiai.settlement.payroll import compute_pay_proofs, compute_pay_root

RULES = Rules(
    ends_at=GENESIS_TIME + 10_000,
    grace=100,
    activation_delay=0,
    cool_down=40,
    slash_ppm=500_000,
    delegation_slash_ppm=0,
    slash_to_task=False,
    trainer_stake_min=10,
    validator_stake_min=20,
)
ENROLMENT = (
    "Enrolment(bytes32 task,address member,uint8 role,uint128 amount,bytes32 document,"
    "uint40 deadline)"
)
ADMISSION = "Admission(bytes32 task,address member,uint8 role,uint40 deadline)"


@pytest.fixture(scope="module")
def door() -> ArenaDoor:
    return open_door(PyEvmEngine())


@pytest.fixture
def world(door: ArenaDoor) -> ArenaWorld:
    """A running task: 2,000 in the escrow, four validators, two trainers."""
    world = ArenaWorld(door, RULES, door.credit)
    world.fund(OWNER, 2_000)
    for each in VALIDATORS:
        world.stake(each, VALIDATOR, 100)
    for each in TRAINERS[:2]:
        world.stake(each, TRAINER, 90)
    world.start(VALIDATORS)
    return world


def certify(world: ArenaWorld, round_: int = 1, **fields: Any) -> ChainCertificate:
    """A round that pays the first trainer 50."""
    root = compute_pay_root(world.key, {TRAINERS[0].address: 50})
    empty = bytes(32)
    certificate = ChainCertificate(
        world.key, round_, 0, False, empty, empty, root, 50, 10, hash_slashes([])
    )
    return replace(certificate, **fields)


def send(world: ArenaWorld, certificate: ChainCertificate, quorum: Any) -> str:
    args = (list_certificate(certificate), [], quorum)
    return world.door.send(DELEGATORS[0].address, "settle", *args)


def order(world: ArenaWorld, action: int, until: int, nonce: int, deadline: int) -> tuple[Any, ...]:
    digest = digest_order(world.key, action, until, nonce, deadline, "why", world.door.place)
    quorum = make_quorum(GUARDIANS, GUARDIANS[:2], digest)
    return (world.key, action, until, deadline, "why", quorum)


# ---- replays


@pytest.mark.parametrize(
    "place",
    [lambda p: replace(p, chain_id=CHAIN_ID + 1), lambda p: replace(p, arena=OWNER.address)],
)
def test_a_certificate_counts_on_one_chain_and_contract(world, place):
    certificate = certify(world)
    elsewhere: ChainPlace = place(world.door.place)
    foreign = make_quorum(VALIDATORS, VALIDATORS, digest_certificate(certificate, elsewhere))
    assert send(world, certificate, foreign) == "BadSignature"
    here = make_quorum(VALIDATORS, VALIDATORS, digest_certificate(certificate, world.door.place))
    assert send(world, certificate, here) == ""
    assert send(world, certificate, here) == "RoundNotNext"


def test_the_same_arena_on_another_chain_refuses_the_signatures():
    """Deployed at the same address: only the chain id tells the two apart."""
    here, there = open_door(PyEvmEngine()), open_door(PyEvmEngine(chain_id=8453))
    assert here.address == there.address
    worlds = [ArenaWorld(each, RULES, each.credit) for each in (here, there)]
    for each in worlds:
        each.fund(OWNER, 2_000)
        for validator in VALIDATORS:
            each.stake(validator, VALIDATOR, 100)
        each.start(VALIDATORS)
    certificate = certify(worlds[0])
    digest = digest_certificate(certificate, here.place)
    quorum = make_quorum(VALIDATORS, VALIDATORS, digest)
    assert send(worlds[1], certificate, quorum) == "BadSignature"
    assert send(worlds[0], certificate, quorum) == ""


def test_a_certificate_of_one_task_settles_no_other(world):
    other = compute_task_key(PAYERS[1].address, DOCUMENT)
    door = world.door
    assert not door.send(PAYERS[1].address, "createTask", list_terms(RULES, door.credit))
    digest = digest_certificate(certify(world), door.place)
    quorum = make_quorum(VALIDATORS, VALIDATORS, digest)
    assert send(world, certify(world, task=other), quorum) == "WrongStatus"


def test_an_order_is_carried_out_once(world):
    now = world.door.engine.now
    pause = order(world, 0, now + 50, 0, now + 600)
    assert world.door.send(OWNER.address, "order", *pause) == ""
    resume = order(world, 1, 0, 1, now + 600)
    assert world.door.send(OWNER.address, "order", *resume) == ""
    assert world.door.send(OWNER.address, "order", *pause) == "BadSignature"
    assert world.door.view("getTask", world.key)[11] == 0


@pytest.mark.parametrize(
    ("ahead", "said"), [(-5, "Expired"), (8 * 86_400, "BadOrder"), (7 * 86_400, "")]
)
def test_an_order_has_a_near_deadline(world, ahead, said):
    now = world.door.engine.now
    args = order(world, 0, now + 50, 0, now + ahead)
    assert world.door.send(OWNER.address, "order", *args) == said


def test_one_word_is_not_taken_for_another(world):
    """A verdict's signatures make no certificate, a committee's no order, and the reverse."""
    slashes = [ChainSlash(TRAINERS[0].address, 5, bytes(31) + b"\x01")]
    place = world.door.place
    certificate = certify(world, slashes=hash_slashes(slashes))
    certified = make_quorum(VALIDATORS, VALIDATORS, digest_certificate(certificate, place))
    judged = make_quorum(VALIDATORS, VALIDATORS, digest_verdict(world.key, slashes, place))
    door, listed = world.door, list_slashes(slashes)
    args = (list_certificate(certificate), listed, judged)
    assert door.send(OWNER.address, "settle", *args) == "BadSignature"
    assert door.send(OWNER.address, "slash", world.key, listed, certified) == "BadSignature"
    now = door.engine.now
    stop = (world.key, 2, 0, now + 60, "why", certified)
    assert door.send(OWNER.address, "order", *stop) == "BadCommittee"


# ---- signatures


@pytest.mark.parametrize("part", ["v", "s", "both", "r"])
def test_a_signature_has_one_form(world, part):
    certificate = certify(world)
    digest = digest_certificate(certificate, world.door.place)
    signature = sign(VALIDATORS[0], digest)
    turned = flip(signature)
    changed = {
        "v": signature[:64] + turned[64:],
        "s": turned[:64] + signature[64:],
        "both": turned,
        "r": bytes(32) + signature[32:],
    }[part]
    members, bits, signatures = make_quorum(VALIDATORS, VALIDATORS, digest)
    s_high = int.from_bytes(changed[32:64], "big") >> 255
    forged = changed[:32] + changed[32:64] if s_high else compact(changed)
    assert send(world, certificate, (members, bits, forged + signatures[64:])) == "BadSignature"


def test_nobody_counts_twice(world):
    certificate = certify(world)
    digest = digest_certificate(certificate, world.door.place)
    one = compact(sign(VALIDATORS[0], digest))
    members = [each.address for each in VALIDATORS]
    assert send(world, certificate, (members, 1, one * 3)) == "NoQuorum"
    assert send(world, certificate, (members, 0b111, one * 3)) == "BadSignature"
    twice = [members[0]] * 3 + members[3:]
    assert send(world, certificate, (twice, 0b111, one * 3)) == "BadCommittee"
    beyond = (members, 0b10111, make_quorum(VALIDATORS, VALIDATORS[:3], digest)[2])
    assert send(world, certificate, beyond) == "BadCommittee"


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 10, 31])
def test_quorums_are_those_of_the_protocol(door, n):
    """One signature below floor((n + f) / 2) + 1 nothing is settled; with it, it is."""
    world = ArenaWorld(door, RULES, door.credit)
    people = [make_person(f"of many {i}") for i in range(n)]
    people.sort(key=lambda person: person.address)
    world.fund(OWNER, 2_000)
    for each in people:
        door.mint(each.address, 100)
        args = (world.key, VALIDATOR, 20, DOCUMENT, 0, b"")
        assert door.send(each.address, "stake", *args) == ""
    members = [each.address for each in people]
    assert door.send(OWNER.address, "start", world.key, members) == ""
    required = (n + (n - 1) // 3) // 2 + 1
    certificate = certify(world)
    digest = digest_certificate(certificate, door.place)
    few = make_quorum(people, people[: required - 1], digest)
    assert send(world, certificate, few) == "NoQuorum"
    assert send(world, certificate, make_quorum(people, people[-required:], digest)) == ""


def test_an_enrolment_is_used_once_and_in_time(world):
    """Somebody else pays the stake; the member's signature neither lasts nor repeats."""
    door, member = world.door, TRAINERS[2]
    deadline = door.engine.now + 100
    words = encode_words(world.key, member.address, TRAINER, 30, DOCUMENT, deadline)
    signature = sign(member, digest_struct(ENROLMENT, words, door.place))
    args = (member.address, world.key, TRAINER, 30, DOCUMENT, deadline, b"")
    other = (member.address, world.key, TRAINER, 31, DOCUMENT, deadline, b"")
    assert door.send(OWNER.address, "stakeFor", *other, signature) == "BadSignature"
    assert door.send(OWNER.address, "stakeFor", *args, flip(signature)) == "BadSignature"
    assert door.send(OWNER.address, "stakeFor", *args, signature) == ""
    assert door.send(OWNER.address, "stakeFor", *args, signature) == "EvidenceUsed"
    door.engine.pass_time(200)
    assert door.send(OWNER.address, "stakeFor", *args, signature) == "Expired"


def test_an_admission_is_for_one_member_role_and_time(door):
    door.engine.reset()
    key = compute_task_key(OWNER.address, DOCUMENT)
    terms = list(list_terms(RULES, door.credit))
    terms[2] = GUARDIANS[0].address  # admits
    assert door.send(OWNER.address, "createTask", tuple(terms)) == ""
    member, deadline = TRAINERS[0], door.engine.now + 100

    def ask(who: str, role: int, until: int, admission: bytes) -> str:
        return door.send(who, "stake", key, role, 30, DOCUMENT, until, admission)

    words = encode_words(key, member.address, TRAINER, deadline)
    admission = sign(GUARDIANS[0], digest_struct(ADMISSION, words, door.place))
    assert ask(TRAINERS[1].address, TRAINER, deadline, admission) == "NotAdmitted"
    assert ask(member.address, VALIDATOR, deadline, admission) == "NotAdmitted"
    assert ask(member.address, TRAINER, deadline + 1, admission) == "NotAdmitted"
    assert ask(member.address, TRAINER, deadline, b"") == "NotAdmitted"
    assert ask(member.address, TRAINER, deadline, admission) == ""
    door.engine.pass_time(200)
    assert ask(member.address, TRAINER, deadline, admission) == ""  # a top-up needs no admission


# ---- front-running


def test_a_claim_sent_by_somebody_else_pays_the_account(world):
    world.settle(1, [(TRAINERS[0], 50)], 0)
    before = world.door.get_wallets(world.token, [TRAINERS[0].address, DELEGATORS[1].address])
    world.claim(1, TRAINERS[0], DELEGATORS[1])
    after = world.door.get_wallets(world.token, [TRAINERS[0].address, DELEGATORS[1].address])
    assert (after[0] - before[0], after[1] - before[1]) == (50, 0)


def test_a_leaf_pays_no_other_account(world):
    world.settle(1, [(TRAINERS[0], 50), (TRAINERS[1], 60)], 0)
    proofs = compute_pay_proofs(world.key, world.model.cumulative)
    path = list(proofs[TRAINERS[0].address].path)
    thief = (world.key, 1, DELEGATORS[1].address, 50, path)
    assert world.door.send(DELEGATORS[1].address, "claim", *thief) == "BadProof"
    # an inner node is no leaf, and a leaf of one task is none of another
    inner = (world.key, 1, TRAINERS[0].address, 50, [])
    assert world.door.send(DELEGATORS[1].address, "claim", *inner) == "BadProof"


def test_nobody_takes_a_task_s_name_or_its_round(world):
    """A squatter's task has an id of its own; a front-run certificate settles what was signed."""
    door = world.door
    assert door.send(PAYERS[1].address, "createTask", list_terms(RULES, door.credit)) == ""
    squatted = compute_task_key(PAYERS[1].address, DOCUMENT)
    assert squatted != world.key and door.view("getTask", world.key)[0] == OWNER.address
    certificate = certify(world)
    digest = digest_certificate(certificate, door.place)
    quorum = make_quorum(VALIDATORS, VALIDATORS, digest)
    stolen = replace(certificate, submissions=keccak256(b"mine"))
    assert send(world, stolen, quorum) == "BadSignature"
    assert send(world, certificate, quorum) == ""


# ---- griefing


def test_dust_tasks_and_delegators_make_nothing_dearer(world):
    """Gas of a settlement and of a claim is the same with 300 strangers' tasks and delegations."""
    door = world.door

    def measure(round_: int) -> tuple[int, int]:
        certificate = certify(
            world,
            round_,
            payments=compute_pay_root(world.key, {TRAINERS[0].address: 50 * round_}),
        )
        digest = digest_certificate(certificate, door.place)
        quorum = make_quorum(VALIDATORS, VALIDATORS, digest)
        settled = door.measure(OWNER.address, "settle", list_certificate(certificate), [], quorum)
        claim = (world.key, round_, TRAINERS[0].address, 50 * round_, [])
        return settled, door.measure(OWNER.address, "claim", *claim)

    measure(1)  # the first one writes fresh slots
    before = measure(2)
    for i in range(300):
        stranger = make_person(f"stranger {i}").address
        door.mint(stranger, 10)
        assert door.send(stranger, "delegate", world.key, TRAINERS[0].address, 1) == ""
        assert door.send(stranger, "createTask", list_terms(RULES, door.credit)) == ""
    assert measure(3) == before


def test_an_offence_proven_meanwhile_does_not_block_a_round(world):
    world.equivocate(VALIDATORS[0], 1, 0, 7)
    left = world.model.get_stake(VALIDATORS[0].address)
    slash = ChainSlash(VALIDATORS[0].address, 100, bytes(31) + b"\x07")
    assert left < slash.amount
    world.settle(1, [(TRAINERS[0], 50)], 0, [slash])
    world.compare()
    assert world.model.get_stake(VALIDATORS[0].address) == 0


def test_a_pause_stops_what_it_says_and_keeps_nobody_s_money_at_the_end(world):
    world.settle(1, [(TRAINERS[0], 50)], 20)
    world.order(0, 30, 2)
    world.claim(1, TRAINERS[0], OWNER)  # the model expects IsPaused
    world.settle(2, [], 0)
    world.verdict([])
    world.order(2, 0, 2)  # stopped while paused
    world.door.engine.pass_time(200)
    world.expire()
    world.claim(1, TRAINERS[0], OWNER)
    world.door.engine.pass_time(50)
    for each in (*VALIDATORS, *TRAINERS[:2]):
        world.withdraw(each, DELEGATORS[0])
    world.refund(OWNER)
    world.compare()
    assert world.model.escrow == 0


def test_an_expired_task_never_pays_more_than_its_pot(world):
    """Shares are rounded down; what is left over is less than one unit an account."""
    pays: Sequence[tuple[Any, int]] = [(TRAINERS[0], 7), (TRAINERS[1], 11), (DELEGATORS[0], 1)]
    world.settle(1, pays, 101)
    world.door.engine.pass_time(11_000)
    world.expire()
    for each, _ in pays:
        world.claim(1, each, OWNER)
        world.claim(1, each, OWNER)
    world.compare()
    assert 0 <= world.model.unclaimed < len(pays)


# ---- limits: what the contract does not stop, written down so that a change is seen


def test_a_conviction_voids_the_roots_that_carry_the_disputed_pay(world):
    """Roots are cumulative: what was settled meanwhile pays nobody either, until a new one does."""
    world.settle(1, [(TRAINERS[0], 50)], 0)
    world.hold(TRAINERS[0], 1)
    world.settle(2, [(TRAINERS[1], 5)], 0)  # carries the first trainer's 50 too
    world.release(TRAINERS[0], 1, is_disabled=True)
    world.claim(1, TRAINERS[0], OWNER)  # refused
    world.claim(2, TRAINERS[0], OWNER)  # refused
    world.claim(2, TRAINERS[1], OWNER)  # refused too, but not for long
    assert not any(world.model.claimed.values())
    world.model.cumulative[TRAINERS[0].address] = 0  # the committee leaves it out from now on
    world.settle(3, [(TRAINERS[1], 1)], 0)
    world.claim(3, TRAINERS[1], OWNER)
    assert world.model.claimed[TRAINERS[1].address] == 6


def test_after_the_end_a_void_root_is_replaced_and_moves_no_money(world):
    world.settle(1, [], 90)
    world.settle(2, [(TRAINERS[0], 40), (TRAINERS[1], 40)], 0, is_final=True)
    world.settle(3, [], 0, is_final=True)  # refused: the end stands
    world.hold(TRAINERS[0], 2)
    world.release(TRAINERS[0], 2, is_disabled=True)
    world.claim(2, TRAINERS[1], OWNER)  # refused
    world.settle(3, [], 0)  # refused: no further round
    world.settle(3, [(TRAINERS[1], 1)], 0, is_final=True)  # refused: there is no pot left
    world.model.cumulative[TRAINERS[0].address] = 0
    world.settle(3, [], 0, is_final=True)
    world.claim(3, TRAINERS[1], OWNER)
    assert world.model.claimed[TRAINERS[1].address] == 40
    world.settle(4, [], 0, is_final=True)  # refused: once is enough
    assert world.model.unclaimed == 40  # what was the convicted one's


def test_limit_a_verdict_can_use_up_a_certificate_s_evidence(world):
    """The same quorum signed both: a committee must not sign one evidence in two places."""
    slash = ChainSlash(TRAINERS[0].address, 5, bytes(31) + b"\x09")
    world.verdict([slash])
    world.settle(1, [(TRAINERS[0], 50)], 0, [slash])  # the model expects EvidenceUsed
    assert world.model.round_last == 0


def test_limit_a_quorum_may_spend_the_whole_escrow_and_burn_every_stake(world):
    """No contract knows whose update was good: a task is worth what its committee is."""
    everything = [
        ChainSlash(each.address, 2**128 - 1, bytes(31) + bytes([i]))
        for i, each in enumerate((*VALIDATORS, *TRAINERS[:2]))
    ]
    world.settle(1, [(DELEGATORS[0], 2_000)], 0, everything)
    world.claim(1, DELEGATORS[0], DELEGATORS[0])
    world.compare()
    assert world.model.escrow == 0 and world.model.burnt == 4 * 100 + 2 * 90


def test_limit_strangers_can_fill_the_validators_seats(door):
    """Without an admission signer, for 128 minimum stakes that come back after the cool-down."""
    world = ArenaWorld(door, RULES, door.credit)
    for i in range(128):
        squatter = make_person(f"squatter {i}").address
        door.mint(squatter, 20)
        args = (world.key, VALIDATOR, 20, DOCUMENT, 0, b"")
        assert door.send(squatter, "stake", *args) == ""
    args = (world.key, VALIDATOR, 20, DOCUMENT, 0, b"")
    assert door.send(VALIDATORS[0].address, "stake", *args) == "BadCommittee"
