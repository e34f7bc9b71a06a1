"""What a running node shows: a live screen in a terminal, else plain lines; and its troubles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from kumiai.apps.cli.marketing import faults, screens
from kumiai.apps.cli.terminal import clean, safe
from kumiai.apps.cli.wallet.amounts import show_amount
from kumiai.apps.market.places import Places
from kumiai.apps.report.texts import Texts, format_nat, format_percent
from kumiai.market.customer import CustomerPlan, CustomerState, Phase
from kumiai.market.customer.state import Standing
from kumiai.market.provider import ProviderPolicy, ProviderState
from kumiai.nodes.market.carry_money import OWN_LIMITS
from kumiai.nodes.market.errors import WalletError

REFRESH_HZ = 4
KEY_DIGITS = screens.KEY_DIGITS


def say_places(console: Console, places: Places, texts: Texts, spendable_msat: int | None) -> None:
    """Say where the node meets others and whose money it moves, before it starts."""
    relays, blobs = ", ".join(places.relays), ", ".join(places.blobs)
    say(console, texts.text("market.begin.places", relays=relays, blobs=blobs), "dim")
    if places.wallet:
        say_wallet(console, places, texts, spendable_msat)


def say_wallet(console: Console, places: Places, texts: Texts, spendable_msat: int | None) -> None:
    """Say which wallet it is and, where that is known, what can be spent from it."""
    shown = _shorten(places.wallet_shown)
    if spendable_msat is not None:
        amount = show_amount(spendable_msat)
        shown = texts.text("market.begin.holds", wallet=shown, amount=amount)
    if places.is_play_money:
        shown = texts.text("market.begin.play", wallet=shown)
    say(console, texts.text("market.begin.wallet", wallet=shown), "dim")


def say(console: Console, line: str, style: str = "") -> None:
    """Print one line as it is; a pipe gets it unwrapped."""
    console.print(safe(line, style), soft_wrap=not console.is_terminal)


def _shorten(wallet: str) -> str:
    """The same wallet with its file as one writes it here, where it lies below this folder."""
    kind, _, rest = wallet.partition(":")
    here = f"{Path.cwd()}/"
    is_below = kind in ("embedded", "nwc") and rest.startswith(here)
    return f"{kind}:{rest.removeprefix(here)}" if is_below else wallet


class NodeScreen:
    """A node's observer; `with` it around the node's run."""

    def __init__(
        self, console: Console, texts: Texts, *, is_transient: bool = False, wallet: str = ""
    ) -> None:
        """wallet: the member's, without anything secret."""
        self.console, self.texts, self._wallet = console, texts, wallet
        self._troubles: dict[str, str] = {}
        self._hinted: set[str] = set()
        self._live = (
            Live(
                console=console,
                get_renderable=self.render,
                refresh_per_second=REFRESH_HZ,
                transient=is_transient,
            )
            if console.is_terminal and not console.quiet
            else None
        )

    def __enter__(self) -> NodeScreen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def render(self) -> RenderableType:
        """What the live screen shows now."""
        return Text()

    def on_step(self, state: Any, effects: Any) -> None:
        """Take in the node's state."""

    def on_rejected(self, rejected: Any) -> None:
        """Peers' faults are kept in the journal; the screen stays calm."""

    def on_trouble(self, what: str, error: Exception) -> None:
        """A service failed and is asked again: said once, until something else is wrong with it."""
        if isinstance(error, WalletError) and error.code in OWN_LIMITS:
            self.on_limit(error)
            return
        kind, fault = faults.name_work(what, self.texts), str(error)
        if what == "stopped" or self._troubles.get(kind) == faults.hide_ids(fault):
            return
        self._troubles[kind] = faults.hide_ids(fault)
        shown = faults.describe_fault(fault, self.texts)
        self.warn(self.texts.text("market.trouble", what=kind, error=shown))
        self._say_start(fault)

    def on_limit(self, error: WalletError) -> None:
        """The own wallet would not pay: its owner is told which limit it was, once."""
        if self._troubles.get(error.code) != str(error):
            self._troubles[error.code] = str(error)
            self.warn(faults.explain_wallet(error, self.texts, self._wallet))

    def on_relay(self, url: str, fault: str) -> None:
        """A relay is gone, or there again."""
        key = "market.relay.lost" if fault else "market.relay.back"
        shown = faults.describe_fault(fault, self.texts, url)
        self.warn(self.texts.text(key, url=url, fault=shown))
        self._say_start(f"{url}: {fault}")

    def _say_start(self, fault: str) -> None:
        """Whoever forgot to start a server on this machine is told how, once."""
        command = faults.find_start(fault)
        if command and command not in self._hinted:
            self._hinted.add(command)
            self.warn(self.texts.text("market.start_it", command=command))

    def warn(self, line: str) -> None:
        """Say what is wrong with the world."""
        say(self.console, line, "yellow")

    def tell(self, key: str, **places: object) -> None:
        """Say a line, where no live screen shows it anyway."""
        if self._live is None:
            say(self.console, self.texts.text(key, **places))


class JobScreen(NodeScreen):
    """Shows a customer's job."""

    def __init__(
        self,
        console: Console,
        plan: CustomerPlan,
        texts: Texts,
        names: dict[str, str] | None = None,
        folder: str = "DIR",
        state: CustomerState | None = None,
        wallet: str = "",
    ) -> None:
        """state: where the job is taken up; what happened before is not told again."""
        self._plan, self._names, self._folder = plan, names or {}, folder
        self._state = state or CustomerState()
        self._told = len(self._state.history)
        self._phase: Phase = self._state.phase
        self._missed_s = self._state.missed_s
        members = self._state.members.values()
        self._out = {m.provider for m in members if m.standing is Standing.ENDED}
        super().__init__(console, texts, is_transient=True, wallet=wallet)

    def render(self) -> RenderableType:
        """The whole job; how to take offers where that is left to its owner."""
        shown = screens.render_job(self._plan, self._state, self.texts, self._names)
        if self._state.phase is not Phase.OFFERS or self._plan.is_automatic:
            return shown
        return Group(shown, Text(self.texts.text("market.live.take", folder=self._folder), "cyan"))

    def on_step(self, state: Any, effects: Any) -> None:
        """Take in the node's state."""
        self._state = state
        if state.missed_s > self._missed_s:
            minutes = max(1, round((state.missed_s - self._missed_s) / 60))
            self._missed_s = state.missed_s
            self.warn(self.texts.text("market.live.away", n=minutes))
        self._tell_phase(state)
        for member in state.members.values():
            is_out = member.standing is Standing.ENDED and member.reason != state.outcome
            if is_out and member.provider not in self._out:
                self._out.add(member.provider)
                reason = screens.get_reason(member.reason, self.texts)
                name = self._names.get(member.provider, member.provider[:KEY_DIGITS])
                self.tell("market.live.out", provider=name, reason=reason)
        for done in state.history[self._told :]:
            self.tell(
                "market.live.line",
                round=done.round,
                total=self._plan.terms.rounds,
                accepted=done.accepted,
                rejected=done.rejected,
                loss=format_nat(done.loss_ppm, signed=False),
                accuracy=format_percent(done.accuracy_ppm),
                paid=show_amount(state.spent_msat),
            )
        self._told = len(state.history)

    def _tell_phase(self, state: CustomerState) -> None:
        if state.phase is self._phase:
            return
        self._phase = state.phase
        if state.phase is Phase.STORING:
            self.tell("market.live.storing")
        elif state.phase is Phase.OFFERS and state.job is not None:
            job = state.job.id[:KEY_DIGITS]
            self.tell("market.live.posted", job=job, seconds=self._plan.offers_s)
            if not self._plan.is_automatic:
                self.tell("market.live.take", folder=self._folder)
        elif state.phase is Phase.CONTRACTS:
            new = (Standing.CHOSEN, Standing.SENT)
            count = sum(member.standing in new for member in state.members.values())
            if count < len(state.members):  # others took up work before, or have left it
                self.tell("market.live.more", n=count)
                return
            offers = self.texts.text("market.live.offers", n=len(state.offers))
            self.tell("market.live.chosen", offers=offers, n=count)


class ProviderScreen(NodeScreen):
    """Shows a provider: live, or a line for every step of its works."""

    def __init__(self, console: Console, policy: ProviderPolicy, texts: Texts) -> None:
        self._policy = policy
        self._state = ProviderState()
        self._stages: dict[str, str] = {}
        self._contracts: dict[str, str] = {}
        super().__init__(console, texts)

    def render(self) -> RenderableType:
        """Contracts and work, the newest: what a terminal cannot hold is cut off at its end."""
        height = self.console.height
        return screens.render_provider(self._policy, self._state, self.texts, height)

    def on_step(self, state: Any, effects: Any) -> None:
        """Take in the node's state."""
        self._state = state
        for key, contract in state.contracts.items():
            if self._contracts.get(key) != contract.standing:
                self._contracts[key] = contract.standing
                standing = self.texts.text(f"market.standing.{contract.standing}")
                reason = screens.get_reason(contract.reason, self.texts)
                line = f"{standing}: {reason}" if reason else standing
                self.tell("market.live.contract", job=contract.job[:KEY_DIGITS], standing=line)
        for key, work in state.works.items():
            if self._stages.get(key) != work.stage:
                self._stages[key] = work.stage
                stage = self.texts.text(f"market.stage.{work.stage}")
                if work.stage in ("rejected", "failed") and work.code:
                    stage = f"{stage}: {screens.get_reason(work.code, self.texts)}"
                job, number = work.request.job[:KEY_DIGITS], work.request.terms.round
                self.tell("market.live.work", job=job, round=number, stage=clean(stage))
