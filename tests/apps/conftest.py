"""A made-up but complete run, for the report, the tables and the command line."""

from __future__ import annotations

import hashlib
import math

import pytest

from kumiai.apps.flows import BURNT, ESCROW
from kumiai.apps.view import (
    CertificateView,
    FlowView,
    MemberView,
    ReceiptView,
    RoundView,
    RunView,
)
from kumiai.rounds.receipt import REASONS

ROUNDS = 8
BUDGET = 1_000_000
VALIDATORS = ("North Lab", "検証所 東", "East Audit", "検証所 西")
# name, behaviour, samples, contribution, error, width, accuracy
TRAINERS = (
    ("佐藤精機", "", 812, 412_600, 9_800, 1_000_000, 941_000),
    ("Brandt & Söhne", "", 640, 361_200, 11_200, 1_000_000, 941_000),
    ("田中製作所", "", 505, 298_400, 8_600, 750_000, 934_000),
    ("Olivia Metalworks", "", 377, 214_900, 12_700, 750_000, 934_000),
    ("Kaito 鋳造", "", 291, 150_300, 10_100, 500_000, 921_000),
    ("Lumen Tools", "", 174, 71_500, 13_900, 250_000, 887_000),
    ("Idle Inc.", "free-rider", 0, -300, 4_100, 0, None),
    ("Copycat GmbH", "copier", 0, 0, 0, 0, None),
    ("Mallory Ltd.", "poisoner", 300, -188_000, 21_000, 0, None),
)
CHEATS = {
    "Idle Inc.": ("no-work", REASONS["no-work"]),
    "Copycat GmbH": ("copy", REASONS["copy"].format(detail="佐藤精機")),
    "Mallory Ltd.": ("harmful", REASONS["harmful"]),
}
DELEGATORS = (
    ("Hana 林", "佐藤精機", 400),
    ("Paulo", "Brandt & Söhne", 250),
    ("Aiko 森", "Mallory Ltd.", 150),
)


def _hash(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def _split(total: int, weights: list[int]) -> list[int]:
    shares = [total * weight // sum(weights) for weight in weights]
    shares[0] += total - sum(shares)
    return shares


def _members() -> tuple[MemberView, ...]:
    pays = [*_split(660_000, [row[3] for row in TRAINERS[:6]]), 0, 0, 0]
    backed = {target: stake for _, target, stake in DELEGATORS}
    members = []
    for (name, behaviour, samples, value, error, width, accuracy), pay in zip(
        TRAINERS, pays, strict=True
    ):
        code, reason = CHEATS.get(name, ("counted", REASONS["counted"]))
        cheat = name in CHEATS
        members.append(
            MemberView(
                pubkey=_hash("key", name),
                name=name,
                role="trainer",
                behaviour=behaviour,
                verdict="INVALID" if cheat else "VALID",
                reason=reason,
                reason_code=code,
                contribution_ppm=value,
                error_ppm=error,
                stake=100,
                delegated=backed.get(name, 0),
                reward=pay,
                slashed=10 if cheat else 0,
                width_ppm=width,
                model_path=f"models/{_hash('key', name)[:8]}.safetensors" if width else "",
                model_accuracy_ppm=accuracy,
                samples=samples,
                bytes_sent=8 * 407_080,
                flop=samples * 8 * 610_000,
                round_verdicts=_round_verdicts(name),
            )
        )
    for name, pay in zip(VALIDATORS, _split(100_000, [4, 4, 4, 3]), strict=True):
        members.append(
            MemberView(
                pubkey=_hash("key", name),
                name=name,
                role="validator",
                reason=REASONS["final-validator"],
                reason_code="final-validator",
                stake=100,
                reward=pay,
                bytes_sent=8 * 21_000,
                flop=9 * 8 * 52_000_000,
            )
        )
    for (name, target, stake), pay in zip(DELEGATORS, [9_200, 5_800, 0], strict=True):
        members.append(
            MemberView(
                pubkey=_hash("key", name),
                name=name,
                role="delegator",
                reason=REASONS["final-backed"],
                reason_code="final-backed",
                stake=stake,
                reward=pay,
                slashed=15 if target in CHEATS else 0,
            )
        )
    members.append(
        MemberView(
            pubkey=_hash("key", "Kumiai Parts Co-op"),
            name="Kumiai Parts Co-op",
            role="customer",
            reason="Posted and funded the task.",
            reason_code="customer",
            width_ppm=1_000_000,
            model_path="models/customer.safetensors",
            model_accuracy_ppm=941_000,
        )
    )
    return tuple(members)


def _round_verdicts(name: str) -> tuple[str, ...]:
    if name in CHEATS:
        return tuple("INVALID" for _ in range(ROUNDS))
    if name == "Kaito 鋳造":
        return ("VALID", "VALID", "LATE", "VALID", "VALID", "VALID", "VALID", "VALID")
    if name == "Lumen Tools":
        return ("VALID", "INCONCLUSIVE", "VALID", "VALID", "VALID", "VALID", "VALID", "VALID")
    return ("VALID",) * ROUNDS


def _rounds() -> tuple[RoundView, ...]:
    rounds = []
    for number in range(1, ROUNDS + 1):
        left = math.exp(-0.55 * number)
        honest = [row for row in TRAINERS[:6] if not (row[0] == "Kaito 鋳造" and number == 3)]
        rounds.append(
            RoundView(
                round=number,
                loss_ppm=int(205_000 + 2_000_000 * left),
                accuracy_ppm=int(943_000 - 620_000 * left),
                bytes=9 * 407_080 + 4 * 21_000,
                virtual_ms=9_400 + 130 * number,
                seconds=5.2 + 0.1 * (number % 3),
                phase_seconds={"TRAIN": 3.1, "SCORE": 1.7, "AGGREGATE": 0.1, "CERTIFY": 0.05},
                included=tuple(row[0] for row in honest),
                excluded=tuple((name, reason) for name, (_, reason) in CHEATS.items()),
                late=("Kaito 鋳造",) if number == 3 else (),
                values={row[0]: int(row[3] * left) for row in (*honest, *TRAINERS[6:])},
            )
        )
    return tuple(rounds)


def _flows(members: tuple[MemberView, ...]) -> tuple[FlowView, ...]:
    customer = "Kumiai Parts Co-op"
    flows = [FlowView(customer, ESCROW, BUDGET, "fund")]
    for member in members:
        if member.reward:
            at_once = member.reward // 10
            flows.append(FlowView(ESCROW, member.name, at_once, "round"))
            flows.append(FlowView(ESCROW, member.name, member.reward - at_once, "final"))
    paid = sum(flow.amount for flow in flows[1:])
    flows.append(FlowView(ESCROW, customer, BUDGET - paid, "refund"))
    flows += [FlowView(m.name, BURNT, m.slashed, "slash") for m in members if m.slashed]
    return tuple(flows)


def _receipts(members: tuple[MemberView, ...]) -> tuple[ReceiptView, ...]:
    receipts = []
    for member in members:
        if member.role not in ("trainer", "validator"):
            continue
        amounts = _split(member.reward // 10, [1] * ROUNDS)
        for number, amount in enumerate(amounts, start=1):
            verdict = member.round_verdicts[number - 1] if member.role == "trainer" else "-"
            late = verdict == "LATE"
            receipts.append(
                ReceiptView(
                    member=member.name,
                    name=f"round {number}",
                    round=number,
                    verdict="-" if late else verdict,  # type: ignore[arg-type]
                    reason=REASONS["late"] if late else member.reason,
                    reason_code="late" if late else member.reason_code,
                    amount=amount,
                    width_ppm=0,
                    hash=_hash("receipt", member.name, number),
                    path=f"receipts/{member.pubkey[:8]}-{number:03}.json",
                )
            )
        receipts.append(
            ReceiptView(
                member=member.name,
                name="final ranking",
                round=0,
                verdict=member.verdict,
                reason=member.reason,
                reason_code=member.reason_code,
                amount=member.reward - sum(amounts),
                width_ppm=member.width_ppm,
                hash=_hash("receipt", member.name, "final"),
                path=f"receipts/{member.pubkey[:8]}-final.json",
            )
        )
    return tuple(receipts)


def build_view() -> RunView:
    """Six honest trainers, three cheats, four validators, three delegators, 8 rounds."""
    members, rounds = _members(), _rounds()
    flows = _flows(members)
    certificates = tuple(
        CertificateView(
            round=number,
            hash=_hash("certificate", number),
            model_digest=_hash("model", number),
            signers=VALIDATORS if number != 4 else VALIDATORS[:3],
            quorum=3,
            height=14 + 41 * number,
        )
        for number in range(1, ROUNDS + 1)
    )
    refunded = sum(flow.amount for flow in flows if flow.kind == "refund")
    return RunView(
        task={
            "name": "digits-together",
            "description": "Small workshops teach one model to read handwritten part numbers.",
            "mode": "federate",
            "seed": 7,
            "training": {"rounds": ROUNDS, "aggregator": "multi_krum", "algorithm": "fedavg"},
            "data": {"source": "mnist5k", "partition": "dirichlet"},
            "governance": {"jurisdiction": "JP", "purpose": "reading part numbers"},
            "settlement": {"kind": "local", "unit": "point"},
            "model_rewards": {"policy": "aequa"},
        },
        task_id=_hash("task"),
        scenario="mixed",
        phase="FINISHED",
        seed=7,
        members=members,
        rounds=rounds,
        flows=flows,
        certificates=certificates,
        receipts=_receipts(members),
        totals={
            "funded": BUDGET,
            "paid": BUDGET - refunded,
            "locked": 0,
            "refunded": refunded,
            "burnt": sum(member.slashed for member in members),
            "bytes": sum(row.bytes for row in rounds),
            "flop": sum(member.flop for member in members),
            "energy_wh": 0.42,
            "seconds": sum(row.seconds for row in rounds) + 3.0,
        },
        indicators={
            "owner": "Kumiai Parts Co-op",
            "responsible": "Hiro Sato",
            "stop_guardians": 3,
            "stop_required": 2,
            "stop_last_drill": "",
            "members_signed": 16,
        },
        environment={"kumiai": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "cpu": "2 cores"},
        notes=("The energy figure is an estimate from floating point operations.",),
    )


@pytest.fixture
def sample_view() -> RunView:
    return build_view()
