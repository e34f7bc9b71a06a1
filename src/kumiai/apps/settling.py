"""A run that settles on a chain: where the chain is, what is put there, and what is left behind.

Members of a local run derive their keys from the task, which everybody can read: their money must
be play money. So such a run takes the embedded chain (a file in its folder), or a development node
(anvil's chain id); a public chain is refused. Networks of members with keys of their own use
`kumiai chain`.

chain.json in the run's folder names the contract and, at the end, every transaction; with the
embedded chain, chain.sqlite is the whole chain. Both are sealed, and `verify` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumiai.adapters.evm.accounts import Account, compute_contract_address
from kumiai.adapters.evm.bindings.iarena import calls as arena_calls
from kumiai.adapters.evm.books import Desk
from kumiai.adapters.evm.chain.chain import EmbeddedChain, Options, open_chain
from kumiai.adapters.evm.chain.doors import EmbeddedTransport
from kumiai.adapters.evm.chain.engine import GenesisAccount
from kumiai.adapters.evm.chain.genesis import Genesis
from kumiai.adapters.evm.errors import RevertedError, UnexplainedError
from kumiai.adapters.evm.in_process import InProcessTransport
from kumiai.adapters.evm.ledger import Cast, EvmLedger, Judge, Sent
from kumiai.adapters.evm.outbox_request import OutboxPolicy, Request
from kumiai.adapters.evm.sender import Sender
from kumiai.adapters.evm.transport import HttpTransport, Transport
from kumiai.apps.chain.deploying import make_creation
from kumiai.apps.chain.deployment import (
    Deployment,
    load_deployment,
    plan_deployment,
    save_deployment,
)
from kumiai.apps.population import Population
from kumiai.apps.rundir import RunDir
from kumiai.apps.settled import (
    DEVELOPMENT_CHAINS,
    FORMAT,
    compare_run_books,
    compute_window_seconds,
    list_cumulative,
    make_chain_view,
    make_terms,
    read_record,
    read_run_books,
)
from kumiai.apps.view import ChainView
from kumiai.base.errors import InputError, StoreError
from kumiai.base.keys import derive_key
from kumiai.rounds.state import RunState
from kumiai.settlement.certificates import ChainPlace, compute_task_key
from kumiai.settlement.payroll import compute_pay_proofs
from kumiai.tasks.document import TaskDocument, compute_task_id

COIN = 10**18
MEMBER_COIN = 10 * COIN  # for gas
TASK_SECONDS = 30 * 86_400  # until which the task should be settled
TIMELOCK_SECONDS = 86_400
FORWARD_MAX = 3  # times that a development chain's clock is set forward
EARLY = ("RootInactive", "TooEarly")  # refusals for which it is not late enough
# Account 0 of every development node, from the phrase "test test ... junk": no secret.
DEVELOPMENT_SECRET = bytes.fromhex(
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
)


@dataclass(slots=True)
class ChainRun:
    """A run's chain while it lasts; `close` it."""

    run_dir: RunDir
    task: TaskDocument
    population: Population
    ledger: EvmLedger
    place: ChainPlace
    record: dict[str, Any]
    chain: EmbeddedChain | None

    @property
    def is_even(self) -> bool:
        """Tell whether the end is on the chain and every balance there is the ledger's."""
        return bool(self.record.get("is_even"))

    def finish(self, state: RunState) -> None:
        """Wait for the last settlement, let everybody claim and take stake back, and compare."""
        ledger, sender = self.ledger, self.ledger.sender
        ledger.wait()
        for left in reversed(range(FORWARD_MAX)):
            sender.insist(lambda: _set_forward(sender, 1 + compute_window_seconds(self.task)))
            try:
                self._pay_out(state)
                break
            except RevertedError as error:
                # a node that was started again has forgotten that its clock was set forward
                is_early = any(name in error.detail for name in EARLY)
                if not left or not (is_early or isinstance(error, UnexplainedError)):
                    raise
        books = sender.insist(lambda: read_run_books(sender.node, ledger.desk, state))
        differing = compare_run_books(books, ledger.judge.accounts(), state)
        self._note_transactions(differing)

    def _pay_out(self, state: RunState) -> None:
        ledger = self.ledger
        if ledger.settled:
            index = ledger.settled[-1].certificate.round
            proofs = compute_pay_proofs(ledger.desk.task_key, list_cumulative(state))
            ledger.claim(index, proofs.values())
        ledger.release()
        ledger.wait()

    def make_view(self, state: RunState) -> ChainView:
        """Return the picture of the chain's side."""
        return make_chain_view(self.record, state)

    def close(self) -> None:
        """Stop sending; the embedded chain's file is whole and at rest.

        Of a run whose end is on the chain nothing is under way: its outbox goes.
        """
        self.ledger.sender.close()
        if self.chain is not None:
            self.chain.close()
            self.run_dir.chain.with_suffix(".sqlite.lock").unlink(missing_ok=True)
        if "transactions" in self.record:
            _forget_outbox(self.run_dir)

    def _note_transactions(self, differing: list[str]) -> None:
        sender, sent = self.ledger.sender, self.ledger.sent
        outcomes = [sender.get_outcome(each.key) for each in sent]
        hashes = [o.hash for o in outcomes if o is not None and o.hash is not None]
        receipts = sender.insist(lambda: sender.node.get_receipts(hashes))
        found = {r.transaction_hash: r for r in receipts if r is not None}
        rows = [
            {
                "sort": each.sort,
                "round": each.round,
                "hash": outcome.hash,
                "block": found[outcome.hash].block,
                "gas": found[outcome.hash].gas_used,
                "is_ok": found[outcome.hash].is_success,
            }
            for each, outcome in zip(sent, outcomes, strict=True)
            if outcome is not None and outcome.hash in found
        ]
        ended = {
            "transactions": rows,
            "is_even": not differing and not self.ledger.unsettled,
            "differing": differing,
            "unsettled": self.ledger.unsettled,
        }
        self.run_dir.write_json(self.run_dir.chain_record, self.record | ended)
        self.record |= ended  # only now: once they are noted on the disk, the outbox may go


@dataclass(frozen=True, slots=True)
class SettledRun:
    """A run taken up again whose end is on the chain already: nothing more is sent there.

    Its outbox may be gone, so sending anything anew would not be sending it once.
    """

    run_dir: RunDir
    ledger: Judge
    place: ChainPlace
    record: Mapping[str, Any]

    def finish(self, state: RunState) -> None:
        """Nothing is under way."""

    def make_view(self, state: RunState) -> ChainView:
        """Return the picture of the chain's side."""
        return make_chain_view(self.record, state)

    def close(self) -> None:
        """Remove the outbox where the run was killed before it did."""
        _forget_outbox(self.run_dir)


def _forget_outbox(run_dir: RunDir) -> None:
    for path in run_dir.root.glob(f"{run_dir.outbox.name}*"):
        path.unlink()


def open_chain_run(
    task: TaskDocument,
    population: Population,
    run_dir: RunDir,
    judge: Judge,
    rpc: str | None,
    tell: Callable[[str], None],
) -> ChainRun | SettledRun:
    """Open the chain, deploy the contracts, create the task and hand out the play money.

    rpc: a development node's URL; None: the embedded chain. InputError for any other chain. A run
    that is taken up again finds what it had put there.
    """
    if run_dir.chain_record.exists():
        record = read_record(run_dir.chain_record)
        if "transactions" in record:
            place = ChainPlace(record["chain_id"], record["arena"])
            return SettledRun(run_dir, judge, place, record)
    deployer, bank = _find_deployer(task), Account(DEVELOPMENT_SECRET)
    accounts = {name: Account(key.secret) for name, key in population.funds.items()}
    chain = None
    if rpc is None:
        chain = _open_embedded(run_dir.chain, [deployer, *accounts.values()])
    try:
        sender = _open_sender(run_dir, chain, rpc, [bank, deployer, *accounts.values()])
    except BaseException:
        if chain is not None:
            chain.close()
        raise
    try:
        _check_development(sender.node.chain_id, rpc)
        names = {p.name: population.pubkey(p.name) for p in population.people}
        named = {names[name]: accounts[name] for name in names}
        named[population.customer.pubkey] = accounts["customer"]
        owner = accounts["customer"].address
        document = bytes.fromhex(compute_task_id(task))
        sent: list[Sent] = []
        if rpc is not None:
            _hand_out_coin(sender, bank, {**accounts, "deployer": deployer}, sent)
        record = _deploy(run_dir, sender, deployer, _list_guardians(accounts), sent)
        desk = Desk(record["arena"], record["token"], compute_task_key(owner, document))
        cast = Cast(
            accounts=named,
            roles={names[p.name]: _role_of(p.role) for p in population.people},
            owner=population.customer.pubkey,
            minter=deployer,
            document=document,
        )
        ledger = EvmLedger(judge, sender, desk, cast, sent)
        _create_task(task, sender, accounts, record, sent)
        ledger.prepare(_list_amounts(task, population))
    except BaseException:
        sender.close()
        if chain is not None:
            chain.close()
        raise
    tell(f"chain {record['chain_id']} ({record['node']}): contract {record['arena']}")
    place = ChainPlace(record["chain_id"], record["arena"])
    return ChainRun(run_dir, task, population, ledger, place, record, chain)


def _open_embedded(path: Path, accounts: list[Account]) -> EmbeddedChain:
    owned = {bytes.fromhex(a.address[2:]): GenesisAccount(1_000 * COIN) for a in accounts}
    return open_chain(path, Genesis(accounts=owned), Options(is_dev=True))


def _open_sender(
    run_dir: RunDir, chain: EmbeddedChain | None, rpc: str | None, accounts: list[Account]
) -> Sender:
    def make_transport() -> Transport:
        return (
            InProcessTransport(EmbeddedTransport(chain))
            if chain is not None
            else HttpTransport(str(rpc))
        )

    poll_seconds = 0.01 if chain is not None else 0.1
    policy = OutboxPolicy(confirmations=1, poll_seconds=poll_seconds)
    return Sender(make_transport, run_dir.outbox, accounts, policy=policy)


def _find_deployer(task: TaskDocument) -> Account:
    return Account(derive_key(f"kumiai/{task.name}/{task.seed}".encode(), "deployer").secret)


def _check_development(chain_id: int, rpc: str | None) -> None:
    if chain_id not in DEVELOPMENT_CHAINS:
        shown = ", ".join(str(each) for each in sorted(DEVELOPMENT_CHAINS))
        fix = (
            f"it serves chain {chain_id}: the members of a local run have keys that everybody can "
            f"derive, so it settles on development chains only ({shown}); start one: make anvil"
        )
        raise InputError("--rpc", rpc, fix)


def _hand_out_coin(
    sender: Sender, bank: Account, accounts: Mapping[str, Account], sent: list[Sent]
) -> None:
    requests = [
        Request(f"coin/{name}", account.address, value=MEMBER_COIN)
        for name, account in accounts.items()
    ]
    sender.submit(bank.address, requests)
    sender.wait([request.key for request in requests])
    sent += [Sent("coin", request.key) for request in requests]


def _deploy(
    run_dir: RunDir,
    sender: Sender,
    deployer: Account,
    guardians: tuple[str, ...],
    sent: list[Sent],
) -> dict[str, Any]:
    """Deploy timelock, arena, disputes and token; chain.json names them before they are used.

    The plan, with the deployer's nonce, is on the disk before anything is sent: a run that is taken
    up again finds its contracts. Nobody holds the timelock: bounds for new tasks stay as they are.
    """
    plan = _plan_deployment(run_dir, sender, deployer, guardians)
    requests = [
        Request(f"deploy/{name}", None, make_creation(name, plan))
        for name, _ in plan.list_contracts()
    ]
    sender.submit(deployer.address, requests)
    outcomes = sender.wait([request.key for request in requests])
    for (name, address), outcome in zip(plan.list_contracts(), outcomes, strict=True):
        if compute_contract_address(deployer.address, outcome.nonce or 0) != address:
            raise StoreError(f"{run_dir.deployment}: {name} does not live at {address}")
    sent += [Sent("deploy", request.key) for request in requests]
    if run_dir.chain_record.exists():
        return read_record(run_dir.chain_record)
    header = sender.ask(sender.node.get_header("latest"))
    version = str(sender.ask(sender.node.transport.request("web3_clientVersion", ())))
    is_embedded = run_dir.chain.exists()
    created = next(o for o in outcomes if o.key == "deploy/arena")
    record = {
        "format": FORMAT,
        "chain_id": sender.node.chain_id,
        "node": "embedded" if is_embedded else version[:60],
        "is_embedded": is_embedded,
        "arena": plan.arena,
        "arena_transaction": created.hash,
        "disputes": plan.disputes,
        "timelock": plan.timelock,
        "token": plan.token,
        "ends_at": (header.timestamp if header is not None else 0) + TASK_SECONDS,
    }
    run_dir.write_json(run_dir.chain_record, record)
    return record


def _plan_deployment(
    run_dir: RunDir, sender: Sender, deployer: Account, guardians: tuple[str, ...]
) -> Deployment:
    if run_dir.deployment.exists():
        return load_deployment(run_dir.deployment)
    nonce = sender.ask(sender.node.get_nonce(deployer.address, "pending"))
    block = sender.ask(sender.node.get_block_number())
    plan = plan_deployment(
        sender.node.chain_id,
        deployer.address,
        nonce,
        block,
        TIMELOCK_SECONDS,
        guardians,
        has_token=True,
    )
    save_deployment(run_dir.deployment, plan)
    return plan


def _create_task(
    task: TaskDocument,
    sender: Sender,
    accounts: Mapping[str, Account],
    record: Mapping[str, Any],
    sent: list[Sent],
) -> None:
    terms = make_terms(task, record["token"], record["ends_at"], _list_guardians(accounts))
    request = Request("create/task", record["arena"], arena_calls.create_task(terms).data)
    sender.submit(accounts["customer"].address, [request])
    sender.wait([request.key])
    sent.append(Sent("create", request.key))


def _list_guardians(accounts: Mapping[str, Account]) -> tuple[str, ...]:
    named = (a.address for name, a in accounts.items() if name.startswith("guardian/"))
    return tuple(sorted(named))


def _list_amounts(task: TaskDocument, population: Population) -> dict[str, int]:
    """What each name pays in: stake, what it lends, and the customer's budget."""
    amounts = {population.customer.pubkey: task.rewards.budget}
    for person in population.people:
        lent = sum(amount for _, amount in person.backs)
        own = 0 if person.role == "delegator" else person.stake
        amounts[population.pubkey(person.name)] = own + lent
    return amounts


def _role_of(role: str) -> str:
    return "trainer" if role == "canary" else role


async def _set_forward(sender: Sender, seconds: int) -> None:
    """Move a development chain's clock past the challenge window."""
    await sender.node.transport.request("evm_increaseTime", (hex(seconds),))
    await sender.node.transport.request("evm_mine", ())
