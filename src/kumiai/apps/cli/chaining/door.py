"""Between the commands and the chain: opens the place, shows what is to be sent, asks, sends.

`Door.run` is for reading; `Door.carry_out` for sending. Both turn a contract's refusal into a
sentence of what to do.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import typer
from rich.console import Console
from rich.text import Text

from kumiai.apps.cli.chaining.options import Settings
from kumiai.apps.cli.entry import get_language, get_setting
from kumiai.apps.report.texts import Language, load_texts
from kumiai.base.errors import InputError, KumiaiError

try:
    from kumiai.adapters.evm.accounts import Account, encode_checksum, parse_address
    from kumiai.adapters.evm.errors import ChainError, RevertedError
    from kumiai.adapters.evm.fees import FeePolicy
    from kumiai.adapters.evm.keystore import load_keystore, read_keystore_address
    from kumiai.apps.chain.actions import Action
    from kumiai.apps.chain.place import Place, Session, open_session
    from kumiai.apps.chain.planning import Plan, make_plan
    from kumiai.apps.chain.reading import read_amount
    from kumiai.apps.chain.refusals import explain
    from kumiai.apps.chain.sending import Failed, Sent, find_outbox, send_all
except ModuleNotFoundError as missing:  # the extra's packages, not ours
    raise KumiaiError(
        f"{missing.name} is not installed: `pip install 'kumiai[evm]'` brings it"
    ) from missing

PASSWORD_BYTES_MAX = 4_096
COIN = 10**18
COIN_NAME, TEST_NAME = "coin", "test"  # in place of a token's address

T = TypeVar("T")
Build = Callable[[Session], Awaitable[list[Action]]]


def make_door(settings: Settings) -> Door:
    """Return the door that these options open."""
    return Door(settings)


class Door:
    """One command's way to the chain."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.texts = load_texts(cast(Language, get_language(settings.lang)))
        self.console = Console(highlight=False, quiet=settings.as_json)
        self.told = Console(highlight=False, stderr=True)
        self.before_sending: Callable[[], None] = _do_nothing  # once the user has agreed

    # -- where and who --

    @property
    def place(self) -> Place:
        """The named place; KUMIAI_RPC counts where neither node nor file was named."""
        it = self.settings
        rpc = it.rpc or (None if it.chain_file else get_setting("RPC") or None)
        return Place(rpc, it.chain_file, it.chain_id, it.arena, it.deployment)

    @property
    def keystore(self) -> Path:
        """The key's file; InputError where none was named."""
        named = self.settings.keystore or get_setting("KEYSTORE")
        if not named:
            fix = "name the encrypted key that signs; `kumiai chain keys new FILE` makes one"
            raise InputError("--keystore", None, fix)
        return Path(named)

    def get_address(self) -> str:
        """The signer's address, as its file says; the password is not needed for it."""
        return read_keystore_address(self.keystore) or self.load_account().address

    def load_account(self) -> Account:
        """Decrypt the key; InputError where the password is wrong."""
        return load_keystore(self.keystore, self.ask_password(str(self.keystore)))

    def ask_password(self, what: str, *, is_new: bool = False) -> str:
        """The password from its file, the environment or the terminal; never from the arguments."""
        if self.settings.password_file is not None:
            return read_password_file(self.settings.password_file)
        if password := get_setting("PASSWORD"):
            return password
        if not sys.stdin.isatty():
            fix = "nobody can be asked here: name --password-file FILE, or set KUMIAI_PASSWORD"
            raise InputError("password", None, fix)
        text = self.texts.text("chain.password", path=what)
        return str(typer.prompt(text, hide_input=True, confirmation_prompt=is_new, err=True))

    def read_owner(self, owner: str | None) -> str | None:
        """The task's owner as named, or the signer, if there is one."""
        if owner is not None:
            return parse_address("--owner", owner)
        if self.settings.keystore or get_setting("KEYSTORE"):
            return self.get_address()
        return None

    @property
    def fees(self) -> FeePolicy:
        cap = read_amount("--fee-cap", self.settings.fee_cap)
        standard = FeePolicy()
        tip_max = min(standard.tip_max, cap)
        return FeePolicy(cap=cap, tip_min=min(standard.tip_min, tip_max), tip_max=tip_max)

    # -- reading --

    def run(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Open the place and do `work` there."""
        return self.run_at(self.place, work)

    def run_at(self, place: Place, work: Callable[[Session], Awaitable[T]]) -> T:
        """The same at another place."""

        async def inside() -> T:
            async with open_session(place) as session:
                return await work(session)

        try:
            return asyncio.run(inside())
        except RevertedError as error:
            raise explain(error, self.texts) from None

    def print_json(self, document: object) -> None:
        """Print one JSON document, if that was asked for."""
        if self.settings.as_json:
            typer.echo(json.dumps(document, ensure_ascii=False, indent=1))

    def say(self, key: str, style: str = "", **places: object) -> None:
        """Print one sentence of the catalogue."""
        self.console.print(Text(self.texts.text(key, **places), style), soft_wrap=True)

    # -- sending --

    def carry_out(self, build: Build, arena: str | None = None, **result: object) -> list[Sent]:
        """Show, ask, send and tell; `result` goes into the JSON document beside.

        arena: counts where the user named none. Returns what was sent, nothing in a dry run. Raises
        the first refusal, after all were told.
        """
        place = self.place
        if arena is not None and place.arena is None and place.deployment is None:
            place = replace(place, arena=arena)
        return self.run_at(place, lambda session: self.carry_out_in(session, build, **result))

    async def carry_out_in(self, session: Session, build: Build, **result: object) -> list[Sent]:
        """The same where a session is open already."""
        sender = self.get_address()
        plan = await make_plan(session, sender, await build(session), self.fees)
        self.show_plan(session, plan)
        if self.settings.dry_run:
            self.say("chain.dry", "yellow")
            self.print_json({"dry_run": True, **result, **self._describe_plan(plan)})
            return []
        self.ask_consent()
        account = self.load_account()
        self.before_sending()
        done = await send_all(
            session, account, await find_outbox(session, self.keystore),
            [step.action for step in plan.steps], self.fees, self.settings.confirmations,
            self._tell_trouble,
        )  # fmt: skip
        self._show_done(done)
        sent = [each for each in done if isinstance(each, Sent)]
        self.print_json({"dry_run": False, **result, "transactions": [_describe(s) for s in sent]})
        for each in done:
            if isinstance(each, Failed):
                raise explain(each.error, self.texts)
        return sent

    def show_plan(self, session: Session, plan: Plan) -> None:
        """Each transaction, its gas, what it costs at most now."""
        places = {"sender": encode_checksum(plan.sender), "id": session.chain_id,
                  "coin": show_coin(plan.balance)}  # fmt: skip
        self.say("chain.plan", "bold", **places)
        for number, step in enumerate(plan.steps, start=1):
            sentence = self.tell_action(step.action)
            self.console.print(Text(f" {number}. {sentence}"), soft_wrap=True)
            if step.gas is None:
                self.say("chain.gas_later", "dim")
                continue
            cost = show_coin(step.gas * plan.fee + step.action.value)
            self.say("chain.gas", "dim", gas=f"{step.gas:,}", coin=cost)

    def tell_action(self, action: Action) -> str:
        """The sentence of what an action does."""
        places = dict(action.places)
        if "role" in places:
            places["role"] = self.texts.name("role", str(places["role"]))
        return self.texts.text(f"chain.do.{action.what}", **places)

    def ask_consent(self, key: str = "chain.consent") -> None:
        """Go on only where the user says so; InputError where nobody can be asked."""
        if self.settings.yes:
            return
        if not sys.stdin.isatty():
            fix = "nobody can be asked here: say --yes to send, or --dry-run to look"
            raise InputError("--yes", None, fix)
        typer.confirm(self.texts.text(key), abort=True, err=True)

    def _tell_trouble(self, error: ChainError) -> None:
        text = self.texts.text("chain.waits", reason=str(error))
        self.told.print(Text(text, "yellow"), soft_wrap=True)

    def _show_done(self, done: Sequence[Sent | Failed]) -> None:
        for each in done:
            if isinstance(each, Failed):
                self.say("chain.failed", "red", what=self.tell_action(each.action))
                continue
            places = {"block": f"{each.block:,}", "gas": f"{each.gas_used:,}",
                      "coin": show_coin(each.fee), "hash": each.hash}  # fmt: skip
            self.say("chain.sent", "green", what=self.tell_action(each.action))
            self.say("chain.sent_where", "dim", **places)

    def _describe_plan(self, plan: Plan) -> dict[str, Any]:
        return {
            "sender": plan.sender,
            "balance_wei": plan.balance,
            "fee_per_gas_wei": plan.fee,
            "steps": [
                {
                    "what": s.action.what, "to": s.action.to, "value_wei": s.action.value,
                    "data": "0x" + s.action.data.hex(), "gas": s.gas,
                }
                for s in plan.steps
            ],
        }  # fmt: skip


def _do_nothing() -> None:
    """Nothing is to be kept before most transactions."""


def _describe(sent: Sent) -> dict[str, Any]:
    return {
        "what": sent.action.what, "to": sent.action.to, "hash": sent.hash, "block": sent.block,
        "gas_used": sent.gas_used, "fee_wei": sent.fee,
    }  # fmt: skip


def read_password_file(path: Path) -> str:
    """Return the first line of a file; InputError where it cannot be read or is empty."""
    try:
        with path.open("rb") as file:
            text = file.read(PASSWORD_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise InputError("--password-file", str(path), f"cannot be read: {reason}") from error
    password = text.split("\n", 1)[0].rstrip("\r")
    if not password:
        raise InputError("--password-file", str(path), "its first line is empty")
    return password


def show_coin(wei: int) -> str:
    """Wei as coin: up to nine decimals, more than nothing never as 0."""
    if wei and wei < COIN // 10**9:
        return "<0.000000001"
    whole, rest = divmod(wei * 10**9 // COIN, 10**9)
    decimals = f"{rest:09d}".rstrip("0")
    return f"{whole:,}.{decimals}" if decimals else f"{whole:,}"
