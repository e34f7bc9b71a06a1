"""Swaps at a mint that a crash cannot double or lose.

`settle` is the heart: ask the mint what it answered before, if it may have been asked; else ask it
now; on a refusal look once more. What the mint signed is checked (DLEQ) before it is written down.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from kumiai.adapters.payments.cashu import points
from kumiai.adapters.payments.cashu.answers import BlindSignature, to_dleq
from kumiai.adapters.payments.cashu.api import KEYSET_INACTIVE, SPENT, MintApi, MintRefusedError
from kumiai.adapters.payments.cashu.keysets import (
    KEY_COUNT_MAX,
    Keyset,
    compute_fee,
    split_amount,
    split_with_fee,
)
from kumiai.adapters.payments.cashu.store import Operation, Output, WalletStore
from kumiai.adapters.payments.cashu.tokens import Proof, Token, encode_token
from kumiai.nodes.market.errors import WalletError

NUTS_NEEDED = frozenset({7, 9, 12})  # states, asking again, proofs of the signatures
INPUT_COUNT_MAX = 256
_ATTEMPTS = 2  # the second with new keys, where the mint has retired those of the first


class Swaps:
    """The operations of one wallet: `store` remembers, `api` asks, `unit` is the mint's."""

    def __init__(self, api: MintApi, store: WalletStore, unit: str) -> None:
        self._api = api
        self._store = store
        self._unit = unit
        self._nuts: frozenset[int] | None = None
        self._keysets: dict[str, Keyset] = {}

    async def require(self, *nuts: int) -> None:
        """Raise WalletError unless the mint says that it follows these documents."""
        if self._nuts is None:
            self._nuts = await self._api.fetch_nuts()
        if missing := (NUTS_NEEDED | set(nuts)) - self._nuts:
            raise WalletError("NOT_IMPLEMENTED", f"the mint does not offer NUT {sorted(missing)}")

    async def get_active(self) -> Keyset:
        """Return the keyset that new ecash is made with; the one with the lowest fee."""
        if not any(keyset.is_active for keyset in self._keysets.values()):
            await self.refresh()
        active = [keyset for keyset in self._keysets.values() if keyset.is_active]
        if not active:
            raise WalletError("NOT_IMPLEMENTED", f"the mint has no keys for {self._unit}")
        return min(active, key=lambda keyset: (keyset.input_fee_ppk, keyset.id))

    async def get_keyset(self, name: str) -> Keyset:
        """Return the one keyset of the mint whose id is or begins with `name`."""
        for is_last in (False, True):
            found = [keyset for id, keyset in self._keysets.items() if id.startswith(name)]
            if len(found) == 1:
                return found[0]
            if not is_last:
                await self.refresh()
        raise WalletError("OTHER", f"the mint has no {self._unit} keys {name}, or several")

    async def refresh(self) -> None:
        """Ask the mint for its keysets again: they change seldom."""
        self._keysets = await self._api.fetch_keysets(self._unit)

    async def compute_fee(self, proofs: Sequence[Proof]) -> int:
        """Return what the mint takes for spending these, known before."""
        return compute_fee(
            [(await self.get_keyset(proof.keyset)).input_fee_ppk for proof in proofs]
        )

    async def send(
        self,
        key: str,
        request: str,
        amount: int,
        make_secret: Callable[[], str],
        count_max: int = KEY_COUNT_MAX,
    ) -> str:
        """Turn own ecash into a token worth `amount` after the fee; same key, same token.

        count_max: of the token's pieces; it is worth a little more where they would be more.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            operation = self._get(key, "lock", request)
            is_fresh = operation is None
            if operation is None:
                operation = await self._plan_send(key, request, amount, make_secret, count_max)
            try:
                return await self._swap(operation, [""] * len(operation.inputs), is_fresh)
            except MintRefusedError as refusal:
                if refusal.is_retriable:
                    raise
                await self.drop(operation)
                if attempt == _ATTEMPTS or refusal.mint_code not in {KEYSET_INACTIVE, SPENT}:
                    raise
                await self.refresh()
        raise AssertionError("the last attempt returns or raises")

    async def receive(
        self, key: str, request: str, inputs: Sequence[Proof], shown: Sequence[str]
    ) -> int:
        """Swap the proofs of a token for own ecash; return the units received.

        shown: a witness for each proof, "" for none. The outputs are the same for every call with
        this key, whatever is shown, so an answer that comes late is still ours.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            operation = self._get(key, "redeem", request)
            is_fresh = operation is None
            if operation is None:
                operation = await self._plan_receive(key, request, tuple(inputs))
            try:
                return int(await self._swap(operation, shown, is_fresh))
            except MintRefusedError as refusal:
                if refusal.is_retriable:
                    raise
                if attempt == _ATTEMPTS or refusal.mint_code != KEYSET_INACTIVE:
                    self._store.refuse(operation)
                    raise
                self._store.drop(operation, frozenset())
                await self.refresh()
        raise AssertionError("the last attempt returns or raises")

    async def _swap(self, operation: Operation, shown: Sequence[str], is_fresh: bool) -> str:
        if operation.state == "done":
            return operation.result
        inputs = [
            proof.to_dict() | ({"witness": witness} if witness else {})
            for proof, witness in zip(operation.inputs, shown, strict=True)
        ]
        messages = blind_all(operation.outputs)
        return await self.settle(operation, lambda: self._api.swap(inputs, messages), is_fresh)

    async def settle(
        self,
        operation: Operation,
        ask: Callable[[], Awaitable[list[BlindSignature]]],
        is_fresh: bool,
    ) -> str:
        """Bring a planned operation to its end; return its result. Raises WalletError.

        is_fresh: it was planned just now, so the mint cannot have seen it.
        """
        messages = blind_all(operation.outputs)
        signatures = None if is_fresh else await self._api.restore(messages)
        if signatures is None:
            try:
                signatures = await ask()
            except MintRefusedError:
                signatures = await self._api.restore(messages)  # an earlier request may have won
                if signatures is None:
                    raise
        return await self._finish(operation, signatures)

    async def resume(self) -> int:
        """Fetch what the mint already answered to operations that a crash cut off; how many.

        Those that it never saw stay planned: whoever asked for them asks again with the same key.
        """
        planned = self._store.list_planned()
        return sum([await self.find_end(operation) for operation in planned])

    async def find_end(self, operation: Operation) -> bool:
        """Fetch what the mint already answered to one operation; False if it never saw it."""
        signatures = await self._api.restore(blind_all(operation.outputs))
        if signatures is not None:
            await self._finish(operation, signatures)
        return signatures is not None

    async def retry(self, operation: Operation) -> str:
        """Bring a token that was planned, and perhaps never asked for, to its end."""
        try:
            return await self._swap(operation, [""] * len(operation.inputs), is_fresh=False)
        except MintRefusedError as refusal:
            if not refusal.is_retriable:
                await self.drop(operation)
            raise

    async def make_blanks(self, count: int) -> tuple[Output, ...]:
        """Return outputs for change whose amounts the mint chooses (NUT-08)."""
        keyset = await self.get_active()
        return tuple(_make_output(0, keyset, secrets.token_hex(32)) for _ in range(count))

    async def make_outputs(self, amount: int) -> tuple[Output, ...]:
        """Return outputs with fresh plain secrets, worth `amount` together."""
        keyset = await self.get_active()
        return tuple(
            _make_output(part, keyset, secrets.token_hex(32)) for part in _try_split(amount, keyset)
        )

    def _get(self, key: str, kind: str, request: str) -> Operation | None:
        operation = self._store.get(key)
        if operation is not None and (operation.kind, operation.request) != (kind, request):
            raise WalletError("OTHER", f"key {key!r} was used for another movement of money")
        return operation

    async def _plan_send(
        self,
        key: str,
        request: str,
        amount: int,
        make_secret: Callable[[], str],
        count_max: int,
    ) -> Operation:
        keyset = await self.get_active()
        try:
            parts = split_with_fee(amount, keyset, count_max)
        except ValueError as error:
            raise WalletError("OTHER", str(error)) from error
        inputs, change = await self.choose(sum(parts))  # nothing is awaited below: it stays free
        outputs = [_make_output(part, keyset, make_secret(), is_for_token=True) for part in parts]
        outputs += [
            _make_output(part, keyset, secrets.token_hex(32)) for part in _try_split(change, keyset)
        ]
        outputs.sort(key=lambda output: output.amount)  # the order tells the mint nothing
        operation = Operation(key, "lock", request, "planned", tuple(inputs), tuple(outputs))
        self._store.plan(operation)
        return operation

    async def choose(self, wanted: int) -> tuple[list[Proof], int]:
        """Return proofs worth `wanted` and their own fee, as few as possible, and the change."""
        if any(proof.keyset not in self._keysets for proof in self._store.list_free()):
            await self.refresh()
        inputs: list[Proof] = []
        total = 0
        known = [proof for proof in self._store.list_free() if proof.keyset in self._keysets]
        for proof in known[:INPUT_COUNT_MAX]:
            inputs.append(proof)
            total += proof.amount
            fee = compute_fee([self._keysets[item.keyset].input_fee_ppk for item in inputs])
            if total >= wanted + fee:
                return inputs, total - fee - wanted
        held = self._store.compute_sums()[1]
        raise WalletError(
            "INSUFFICIENT_BALANCE",
            f"{wanted} {self._unit} and the fee are wanted: {total} are there, {held} set aside",
            is_retriable=total + held > wanted,  # once what is under way has ended
        )

    async def _plan_receive(self, key: str, request: str, inputs: tuple[Proof, ...]) -> Operation:
        fee = await self.compute_fee(inputs)
        gained = sum(proof.amount for proof in inputs) - fee
        if gained <= 0:
            raise WalletError("OTHER", f"the mint's fee of {fee} {self._unit} takes all of it")
        operation = Operation(
            key, "redeem", request, "planned", inputs, await self.make_outputs(gained)
        )
        self._store.plan(operation)
        return operation

    async def _finish(self, operation: Operation, signatures: Sequence[BlindSignature]) -> str:
        ours: list[Proof] = []
        theirs: list[Proof] = []
        for output, signature in zip(operation.outputs, signatures, strict=True):
            keyset = await self.get_keyset(output.keyset)
            proof = unblind(output, signature, keyset)
            (theirs if output.is_for_token else ours).append(proof)
        if operation.kind == "lock":
            result = encode_token(Token(self._api.url, self._unit, tuple(theirs)))
        else:  # of an invoice the result stays its quote
            result = operation.result or str(sum(proof.amount for proof in ours))
        self._store.finish(operation, ours, result)
        return result

    async def drop(self, operation: Operation) -> None:
        """After a refusal: free the inputs, but for those that the mint calls spent."""
        states = await self._api.fetch_states([proof.y for proof in operation.inputs])
        if any(state.state == "PENDING" for state in states):
            raise WalletError("OTHER", "the mint is not done with its ecash", is_retriable=True)
        spent = {
            proof.secret
            for proof, state in zip(operation.inputs, states, strict=True)
            if state.state == "SPENT"
        }
        self._store.drop(operation, frozenset(spent))


def _make_output(amount: int, keyset: Keyset, secret: str, *, is_for_token: bool = False) -> Output:
    return Output(amount, keyset.id, secret, _draw_scalar(), is_for_token)


def _draw_scalar() -> str:
    while True:
        scalar = secrets.token_hex(32)
        try:
            points.blind("", scalar)
        except ValueError:
            continue  # above the order of the curve: one in 2**128
        return scalar


def blind_all(outputs: Sequence[Output]) -> list[dict[str, Any]]:
    """Return the blinded messages that the mint signs for these outputs."""
    return [
        {
            "amount": output.amount,
            "id": output.keyset,
            "B_": points.blind(output.secret, output.factor),
        }
        for output in outputs
    ]


def unblind(output: Output, signature: BlindSignature, keyset: Keyset) -> Proof:
    """Return the ecash of a signature; WalletError unless it proves to be the key's (NUT-12)."""
    key = keyset.keys[output.amount]
    blinded = points.blind(output.secret, output.factor)
    if (signature.amount, signature.keyset) != (output.amount, output.keyset) or not points.is_dleq(
        blinded, signature.point, key, signature.e, signature.s
    ):
        raise WalletError("INTERNAL", "the mint's signature does not prove to be its key's")
    return Proof(
        amount=output.amount,
        keyset=output.keyset,
        secret=output.secret,
        signature=points.unblind(signature.point, output.factor, key),
        dleq=to_dleq(signature, output.factor),
    )


def _try_split(amount: int, keyset: Keyset) -> list[int]:
    try:
        return split_amount(amount, keyset)
    except ValueError as error:
        raise WalletError("OTHER", str(error)) from error
