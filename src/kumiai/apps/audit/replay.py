"""The log of a run folded anew, with what a verifier needs from on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kumiai.adapters.store.log import SqliteLog
from kumiai.apps.rundir import RunDir
from kumiai.base import events
from kumiai.base.events import Event
from kumiai.base.log import GENESIS_HEAD, compute_head
from kumiai.rounds.control import ENDED
from kumiai.rounds.effects import Certified, MoneyMoved
from kumiai.rounds.kinds import Kind
from kumiai.rounds.run import step
from kumiai.rounds.state import RoundState, RunState
from kumiai.settlement.ledger import Delegate, Deposit, Fund, LedgerCommand, Stake


@dataclass(slots=True)
class Replay:
    """The log folded anew: the final state and what a verifier needs from on the way."""

    state: RunState
    count: int = 0
    certified: list[Certified] = field(default_factory=list)
    rounds: dict[int, RoundState] = field(default_factory=dict)  # as they stood at certification
    models_before: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    signatures: dict[str, Event] = field(default_factory=dict)
    commands: list[LedgerCommand] = field(default_factory=list)


def replay_log(run_dir: RunDir, error: Callable[[str, str], None]) -> Replay:
    """Fold the log from its first record, checking every chain link, signature and transition."""
    replay = Replay(RunState())
    head, height, time_ms = GENESIS_HEAD, 0, 0
    delegations = 0
    with SqliteLog.open_readonly(run_dir.log) as log:
        for record in log.read():
            where = f"log record {record.height}"
            expected = compute_head(head, height + 1, record.time_ms, record.event.id)
            if record.height != height + 1 or record.head != expected or record.time_ms < time_ms:
                error(where, "the chain is broken: height, time or head does not follow the last")
                break
            problem = events.check_event(record.event)
            if problem is not None:
                error(where, f"event of {record.event.pubkey[:12]}: {problem}")
                break
            before = replay.state
            outcome = step(before, record)
            if outcome.reject is not None:
                error(where, f"refused: {outcome.reject.reason}: {outcome.reject.detail}")
                break
            replay.state = outcome.state
            head, height, time_ms = record.head, record.height, record.time_ms
            replay.count += 1
            if record.event.kind == Kind.CERTIFY:
                replay.signatures[record.event.id] = record.event
            if record.event.kind == Kind.ESCROW:
                content = events.read_content(record.event)
                replay.commands += _deposits(before, content, delegations)
                delegations += content["entry"] == "delegate"
            for effect in outcome.effects:
                if isinstance(effect, MoneyMoved):
                    replay.commands.append(effect.command)
                elif isinstance(effect, Certified):
                    replay.certified.append(effect)
                    assert before.round is not None
                    replay.rounds[effect.certificate.round] = before.round
                    models = (before.model, before.server_state, before.model_previous)
                    replay.models_before[effect.certificate.round] = models
    if replay.state.phase not in ENDED:
        error("log", f"it ends while the run is {replay.state.phase}: cut off, or not finished")
    return replay


def _deposits(state: RunState, content: Mapping[str, str], index: int) -> list[LedgerCommand]:
    """The ledger commands that an attested deposit stands for; see `nodes.customer.Escrow`."""
    task, member, amount = state.task_id, content["member"], int(content["amount"])
    if amount == 0:
        return []
    if content["entry"] == "delegate":
        deposit = Deposit(f"{task}/deposit/{member}/{index}", task, member, amount)
        key = f"{task}/delegate/{index}"
        return [deposit, Delegate(key, task, member, content["node"], amount)]
    deposit = Deposit(f"{task}/deposit/{member}", task, member, amount)
    if content["entry"] == "stake":
        return [deposit, Stake(f"{task}/stake/{member}", task, member, amount)]
    return [deposit, Fund(f"{task}/fund", task, member, amount)]
