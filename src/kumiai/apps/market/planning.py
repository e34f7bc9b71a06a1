"""From a job file to the plan of a customer, and from options to the policy of a provider."""

from __future__ import annotations

import os
from collections.abc import Sequence

from kumiai.apps.market.jobfile import JobFile
from kumiai.base.errors import InputError
from kumiai.consensus.quorum import compute_quorum
from kumiai.market.customer import CustomerPlan
from kumiai.market.fees import compute_fee_max
from kumiai.market.kinds import Policy
from kumiai.market.terms import BlobRef, JobTerms
from kumiai.nodes.market.local import LocalBlobPort
from kumiai.nodes.market.ports import WalletInfo
from kumiai.nodes.market.work import Prepared

MSAT = 1_000  # of a satoshi
_UNKNOWN = BlobRef("0" * 64, 0)  # filled in when the blobs are on the servers


def make_plan(
    job: JobFile,
    prepared: Prepared,
    blobs: LocalBlobPort,
    pubkey: str,
    secret: str,
    relays: Sequence[str],
    arbiter: str = "",
    *,
    has_fees: bool = False,
) -> CustomerPlan:
    """Put the customer's decisions together; sizes are measured on the prepared blobs.

    has_fees: whether the wallet's payments may cost fees, which the budget then holds too.
    """
    task, market = job.task, job.market
    terms = JobTerms(
        task=_UNKNOWN,
        recipe="code" if prepared.code else task.model.recipe,
        algorithm=task.training.algorithm,
        rounds=task.training.rounds,
        shards=len(prepared.shards),
        redundancy=market.redundancy,
        samples=max(prepared.sample_counts),
        shard_bytes=max(_measure(blobs, name) for name in prepared.shards),
        model_bytes=_measure(blobs, prepared.model),
        update_bytes_max=prepared.update_bytes_max,
        input_shape=prepared.input_shape,
        class_count=prepared.class_count,
        train_s=market.train_s,
        reveal_s=market.reveal_s,
        judge_s=market.judge_s,
        bid_msat=market.bid_sat * MSAT,
        payment=market.policies,
        hardware=market.hardware,
        validation=market.validation,
        committee=market.committee,
        quorum=compute_quorum(len(market.committee)) if market.committee else 1,
        jury=market.jury,
        arbiter=arbiter,
    )
    return CustomerPlan(
        pubkey=pubkey,
        secret=secret,
        terms=terms,
        task=prepared.task,
        code=prepared.code,
        model=prepared.model,
        shards=prepared.shards,
        sample_counts=prepared.sample_counts,
        budget_msat=market.budget_sat * MSAT,
        relays=tuple(relays),
        offers_s=market.offers_s,
        offers_enough=market.offers_enough,
        accept_s=market.accept_s,
        payment_s=market.payment_s,
        is_sealed=market.sealed,
        is_automatic=market.automatic,
        attempts_max=market.attempts_max,
        faults_max=market.faults_max,
        refused=market.refused,
        has_fees=has_fees,
    )


def compute_round_msat(job: JobFile, *, has_fees: bool) -> int:
    """Return what one round may cost at most, with the limit of its fees."""
    bid_msat = job.market.bid_sat * MSAT
    works = job.task.data.trainers * job.market.redundancy
    is_by_invoice = any(policy is not Policy.ESCROW for policy in job.market.policies)
    fee_msat = compute_fee_max(bid_msat) if has_fees and is_by_invoice else 0
    return works * (bid_msat + fee_msat)


def check_payment(wanted: Sequence[str]) -> None:
    """InputError for a way of payment that there is not."""
    known = [str(policy) for policy in Policy]
    for name in wanted:
        if name not in known:
            raise InputError("--payment", name, f"choose among {', '.join(known)}")
    if not wanted:
        raise InputError("--payment", "", f"name at least one of {', '.join(known)}")


def choose_payment(
    wanted: Sequence[str], info: WalletInfo, *, has_ecash: bool
) -> tuple[Policy, ...]:
    """Return the ways of payment that a provider's wallet can do, in the order asked for."""
    check_payment(wanted)
    able = [Policy(name) for name in wanted]
    if not info.has_hold:
        able = [policy for policy in able if policy is not Policy.HOLD]
    if not info.has_preimage:
        able = [policy for policy in able if policy is not Policy.FAIR]
    if not has_ecash:
        able = [policy for policy in able if policy is not Policy.ESCROW]
    if not able:
        fix = f"this {info.kind} wallet can do none of them: try --payment invoice"
        raise InputError("--payment", ",".join(wanted), fix)
    return tuple(able)


def describe_hardware() -> str:
    """Say in a few words what this machine trains on."""
    import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name(0)}"
    return f"cpu: {os.cpu_count() or 1} cores"


def _measure(blobs: LocalBlobPort, name: str) -> int:
    return blobs.get_path(name).stat().st_size
