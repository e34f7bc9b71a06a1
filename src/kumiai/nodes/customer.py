"""The customer posts the task and opens what was secret; the escrow attests deposits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kumiai.base.keys import SigningKey, compute_address, sign_binding
from kumiai.nodes.role import Action, Input, Memory, Pay, Publish, derive_salt
from kumiai.rounds.commitments import commit_canaries, commit_holdout
from kumiai.rounds.kinds import Kind
from kumiai.rounds.state import RoundPhase, RunPhase, RunState
from kumiai.settlement.ledger import Delegate, Deposit, Fund, LedgerCommand, Stake
from kumiai.tasks.audit import is_audited
from kumiai.tasks.document import TaskDocument, compute_task_id, to_document
from kumiai.tasks.rechecks import is_rechecked

Steps = tuple[Memory, tuple[Action, ...]]


@dataclass(frozen=True, slots=True)
class Customer:
    """Whoever asks and pays. Starts the run once the expected members are there."""

    key: SigningKey
    task: TaskDocument
    orderer: str
    escrow: str
    guardians: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()
    canaries: tuple[str, ...] = ()
    holdout_blobs: tuple[str, ...] = ()
    holdout_owners: tuple[str, ...] = ()  # the validators that they were handed to, in their order
    members_expected: int = 2
    delegations_expected: int = 0
    shards: Mapping[str, str] = field(default_factory=dict)  # trainer -> blob, in an audited run
    chain: Mapping[str, object] = field(default_factory=dict)  # the contract; see `name_chain`

    def step(self, memory: Memory, run: RunState, event: Input) -> Steps:
        """Take one input; see `Role`."""
        if run.phase is RunPhase.DRAFT and run.task is None:
            return _once(memory, "task", (self._post(),))
        if run.phase is RunPhase.ENROLLING:
            complete = (
                len(run.members) >= self.members_expected
                and len(run.delegations) >= self.delegations_expected
            )
            if complete:
                content = {"task": run.task_id, **self._name_shards(), **self._bind_holdouts(run)}
                return _once(memory, "start", (Publish(Kind.START, content),))
        if (
            run.phase is RunPhase.FINALIZING
            and run.round is not None
            and run.round.phase is RoundPhase.SCORE_REVEAL
        ):
            return _once(memory, "open", self._open(run))
        return memory, ()

    def _post(self) -> Action:
        content: dict[str, object] = {
            "document": to_document(self.task),
            "orderer": self.orderer,
            "escrow": self.escrow,
            "guardians": list(self.guardians),
            "canaries": commit_canaries(self.canaries, self._salt()) if self.canaries else "",
        }
        if self.replicas:
            content["replicas"] = list(self.replicas)
        if self.chain:
            content["chain"] = dict(self.chain)
        return Publish(Kind.TASK, content)

    def _name_shards(self) -> dict[str, object]:
        return {"shards": dict(self.shards)} if is_audited(self.task) else {}

    def _bind_holdouts(self, run: RunState) -> dict[str, object]:
        """Name by hash what every validator that came was handed."""
        if not is_rechecked(self.task):
            return {}
        salt, task_id = make_holdout_salt(self.key, self.task), compute_task_id(self.task)
        pairs = zip(self.holdout_owners, self.holdout_blobs, strict=True)
        bound = {k: commit_holdout(task_id, k, b, salt) for k, b in pairs if k in run.members}
        return {"holdouts": bound}

    def _open(self, run: RunState) -> tuple[Action, ...]:
        actions: list[Action] = []
        if self.canaries:
            members = {"members": sorted(self.canaries), "salt": self._salt()}
            actions.append(Publish(Kind.CANARY_OPEN, {"task": run.task_id, **members}))
        if self.holdout_blobs and self.task.data.open_holdout:
            content = {"task": run.task_id, **self._show_holdouts(run)}
            actions.append(Publish(Kind.HOLDOUT_OPEN, content))
        return tuple(actions)

    def _show_holdouts(self, run: RunState) -> dict[str, object]:
        if not is_rechecked(self.task):
            return {"blobs": list(self.holdout_blobs)}
        pairs = zip(self.holdout_owners, self.holdout_blobs, strict=True)
        bound = [(key, blob) for key, blob in pairs if key in run.holdouts.commitments]
        return {
            "owners": [key for key, _ in bound],
            "blobs": [blob for _, blob in bound],
            "salt": make_holdout_salt(self.key, self.task),
        }

    def _salt(self) -> str:
        return derive_salt(self.key, "canaries", compute_task_id(self.task), 0, 0)


def name_chain(
    key: SigningKey, funds_key: SigningKey, chain_id: int, arena: str
) -> dict[str, object]:
    """Return what a task says about the contract that settles it; the funds key owns it there."""
    return {
        "chain_id": chain_id,
        "arena": arena,
        "owner": compute_address(funds_key),
        "binding": sign_binding(funds_key, key.pubkey),
    }


def make_holdout_salt(key: SigningKey, task: TaskDocument) -> str:
    """Return what hides the bound hold-outs from everybody but the customer and its validators."""
    return derive_salt(key, "holdouts", compute_task_id(task), 0, 0)


@dataclass(frozen=True, slots=True)
class Escrow:
    """Takes deposits into the ledger and attests each one in the log.

    `stakes` maps member -> amount, `delegations` lists (delegator, node, amount); whoever pays is
    given the money first (`Deposit`), as the embedded ledger has no outside.
    """

    key: SigningKey
    customer: str
    budget: int
    stakes: Mapping[str, int] = field(default_factory=dict)
    delegations: tuple[tuple[str, str, int], ...] = ()

    def step(self, memory: Memory, run: RunState, event: Input) -> Steps:
        """Take one input; see `Role`."""
        if run.task is None:
            return memory, ()
        if run.phase is RunPhase.DRAFT:
            memory, actions = _once(memory, "deposits", self._take_stakes(run.task_id))
            if actions or not self.stakes.keys() <= run.stakes.keys():
                return memory, actions
            # the budget opens enrolment: not before everybody's stake has its place in the order
            return _once(memory, "fund", self._take_budget(run.task_id))
        if run.phase is RunPhase.ENROLLING:
            return self._take_delegations(memory, run)
        return memory, ()

    def _take_stakes(self, task: str) -> tuple[Action, ...]:
        actions: list[Action] = []
        for member, amount in sorted(self.stakes.items()):
            actions += _pay_in(
                task, member, amount, Stake(f"{task}/stake/{member}", task, member, amount)
            )
            actions.append(_attest(task, "stake", member, "", amount))
        return tuple(actions)

    def _take_budget(self, task: str) -> tuple[Action, ...]:
        fund = Fund(f"{task}/fund", task, self.customer, self.budget)
        actions = _pay_in(task, self.customer, self.budget, fund)
        return (*actions, _attest(task, "fund", self.customer, "", self.budget))

    def _take_delegations(self, memory: Memory, run: RunState) -> Steps:
        actions: list[Action] = []
        done = memory.done
        for index, (delegator, node, amount) in enumerate(self.delegations):
            mark = ("delegate", 0, index)
            if mark in done or node not in run.members:
                continue
            done = done | {mark}
            key = f"{run.task_id}/delegate/{index}"
            command = Delegate(key, run.task_id, delegator, node, amount)
            actions += _pay_in(run.task_id, delegator, amount, command, suffix=f"/{index}")
            actions.append(_attest(run.task_id, "delegate", delegator, node, amount))
        return replace(memory, done=done), tuple(actions)


def _pay_in(
    task: str, payer: str, amount: int, command: LedgerCommand, suffix: str = ""
) -> list[Action]:
    if amount == 0:
        return []
    deposit = Deposit(f"{task}/deposit/{payer}{suffix}", task, payer, amount)
    return [Pay(deposit), Pay(command)]


def _attest(task: str, entry: str, member: str, node: str, amount: int) -> Action:
    content = {"task": task, "entry": entry, "member": member, "node": node, "amount": str(amount)}
    return Publish(Kind.ESCROW, content)


def _once(memory: Memory, what: str, actions: tuple[Action, ...]) -> Steps:
    mark = (what, 0, 0)
    if mark in memory.done:
        return memory, ()
    return replace(memory, done=memory.done | {mark}), actions
