"""A mint over HTTP (NUT-02 to NUT-07, NUT-09): requests out, answers checked for form and size.

Nothing is believed but the form: keysets are checked against their ids, signatures by the wallet. A
mint that does not answer, or answers with something else, is a retriable WalletError: the wallet
knows how to ask again without paying twice. A mint that says no is a `MintRefusedError`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from kumiai.adapters.payments.cashu import points
from kumiai.adapters.payments.cashu.keysets import KEYSET_COUNT_MAX, Keyset, check_keyset
from kumiai.adapters.payments.cashu.tokens import Dleq
from kumiai.adapters.payments.checks import check_address
from kumiai.base.errors import InputError, KumiaiError
from kumiai.nodes.market.errors import WalletError

try:
    import aiohttp
except ModuleNotFoundError as missing:  # the extra's package, not ours
    raise KumiaiError(
        f"{missing.name} is not installed: `pip install 'kumiai[market]'` brings it"
    ) from missing

TIMEOUT_S = 20.0
KEPT_S = 2.0  # an idle connection; servers drop them after 5 s, in the middle of a request
ANSWER_BYTES_MAX = 1 << 20
QUOTE_CHARS_MAX = 256
INVOICE_CHARS_MAX = 4_096

SPENT, PROOFS_PENDING, SIGNED, OUTPUTS_PENDING = 11001, 11002, 11003, 11004
KEYSET_INACTIVE, QUOTE_UNPAID, QUOTE_ISSUED = 12002, 20001, 20002
_RETRIABLE = frozenset({PROOFS_PENDING, OUTPUTS_PENDING, QUOTE_UNPAID, 20005})

_T = TypeVar("_T")


class MintRefusedError(WalletError):
    """The mint said no to a request; `mint_code` is its number (NUT-00's error codes)."""

    def __init__(self, mint_code: int, detail: str) -> None:
        code = "SPENT" if mint_code == SPENT else "OTHER"
        if 10_000 <= mint_code <= 11_000:  # the proofs, or what was shown with them
            code = "UNAUTHORIZED"
        plain = "".join(c if c.isprintable() else " " for c in detail[:200])
        super().__init__(
            code,
            f"the mint refused: {plain} ({mint_code})",
            is_retriable=mint_code in _RETRIABLE,
        )
        self.mint_code = mint_code


@dataclass(frozen=True, slots=True)
class BlindSignature:
    """The mint's answer to one blinded message; e and s prove it (NUT-12)."""

    amount: int
    keyset: str
    point: str
    e: str
    s: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What the mint asks for ecash: pay `bolt11`, then `id` fetches it (NUT-04)."""

    id: str
    bolt11: str
    amount: int
    state: str  # UNPAID | PAID | ISSUED


@dataclass(frozen=True, slots=True)
class ProofState:
    """What the mint says of one proof (NUT-07): UNSPENT, PENDING or SPENT."""

    y: str
    state: str
    witness: str | None


class MintApi:
    """One mint by its base URL. Not for several event loops at once."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        if not url.startswith(("http://", "https://")) or len(url) > 512:
            raise InputError("mint", url, "give the mint's address, http:// or https://")
        check_address("mint", url)
        self.url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def fetch_nuts(self) -> frozenset[int]:
        """Return the numbers of the documents that the mint says it follows (NUT-06)."""
        info = await self._request("GET", "/v1/info")
        return self._read(_read_nuts, info)

    async def fetch_keysets(self, unit: str) -> dict[str, Keyset]:
        """Return this unit's keysets by id, retired ones too, with their keys checked."""
        listed = self._read(_read_keyset_list, await self._request("GET", "/v1/keysets"))
        keysets = {}
        for entry in listed:
            if entry["unit"] != unit or not str(entry["id"]).startswith(("00", "01")):
                continue  # ids of before 2023 are no hash that could be checked
            answer = await self._request("GET", f"/v1/keys/{entry['id']}")
            keyset = self._read(partial(_read_keyset, entry), answer)
            keysets[keyset.id] = keyset
        return keysets

    async def request_quote(self, amount: int, unit: str) -> Quote:
        """Ask for an invoice over `amount` units."""
        body = {"amount": amount, "unit": unit}
        return self._read(_read_quote, await self._request("POST", "/v1/mint/quote/bolt11", body))

    async def fetch_quote(self, quote: str) -> Quote:
        """Ask whether the invoice was paid."""
        return self._read(_read_quote, await self._request("GET", f"/v1/mint/quote/bolt11/{quote}"))

    async def mint(self, quote: str, outputs: Sequence[dict[str, Any]]) -> list[BlindSignature]:
        """Fetch the ecash of a paid quote."""
        answer = await self._request(
            "POST", "/v1/mint/bolt11", {"quote": quote, "outputs": list(outputs)}
        )
        return self._read(lambda answer: _read_signatures(answer, len(outputs)), answer)

    async def swap(
        self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]
    ) -> list[BlindSignature]:
        """Spend the inputs for signatures on the outputs, all or nothing (NUT-03)."""
        answer = await self._request(
            "POST", "/v1/swap", {"inputs": list(inputs), "outputs": list(outputs)}
        )
        return self._read(lambda answer: _read_signatures(answer, len(outputs)), answer)

    async def restore(self, outputs: Sequence[dict[str, Any]]) -> list[BlindSignature] | None:
        """Return what the mint once answered to these outputs (NUT-09), None if it never did."""
        answer = await self._request("POST", "/v1/restore", {"outputs": list(outputs)})
        return self._read(lambda answer: _read_restored(answer, outputs), answer)

    async def fetch_states(self, ys: Sequence[str]) -> list[ProofState]:
        """Ask what became of proofs, in the order asked."""
        answer = await self._request("POST", "/v1/checkstate", {"Ys": list(ys)})
        return self._read(lambda answer: _read_states(answer, ys), answer)

    async def close(self) -> None:
        """End the connections; the next request opens new ones."""
        session, self._session = self._session, None
        if session is not None and self._loop is asyncio.get_running_loop():
            await session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _request(self, method: str, path: str, body: object = None) -> Any:
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            connector = aiohttp.TCPConnector(keepalive_timeout=KEPT_S)
            self._session = aiohttp.ClientSession(timeout=self._timeout, connector=connector)
            self._loop = loop
        try:
            async with self._session.request(
                method, self.url + path, json=body, allow_redirects=False
            ) as response:
                raw = await _read_capped(response)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unwell(f"no answer: {type(error).__name__} {error}") from error
        if status == 429:
            raise WalletError("RATE_LIMITED", "the mint asks to slow down", is_retriable=True)
        if raw is None or (status != 200 and not 400 <= status < 500):
            raise self._unwell(f"status {status}" if raw is not None else "an answer too big")
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise self._unwell(f"status {status} and no JSON") from error
        if status == 200:
            return answer
        code = answer.get("code") if isinstance(answer, dict) else None
        if not isinstance(code, int):  # not the mint's own words: something between us, perhaps
            raise self._unwell(f"status {status} without the mint's code")
        raise MintRefusedError(code, str(answer.get("detail", "")))

    def _read(self, parse: Callable[[Any], _T], answer: Any) -> _T:
        try:
            return parse(answer)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise self._unwell(f"a malformed answer: {error}") from error

    def _unwell(self, what: str) -> WalletError:
        return WalletError("INTERNAL", f"mint {self.url}: {what}", is_retriable=True)


async def _read_capped(response: aiohttp.ClientResponse) -> bytes | None:
    """Return the body, or None if it is longer than any answer needs to be."""
    parts = bytearray()
    async for part in response.content.iter_chunked(1 << 16):
        parts += part
        if len(parts) > ANSWER_BYTES_MAX:
            return None
    return bytes(parts)


def _read_nuts(info: Any) -> frozenset[int]:
    """A document counts unless it is switched off; 4 and 5 list methods, others `supported`."""
    numbers = set()
    for name, value in info["nuts"].items():
        if not name.isdecimal() or len(name) > 4 or not isinstance(value, dict):
            continue
        if value.get("disabled") is not True and value.get("supported", True) is not False:
            numbers.add(int(name))
    return frozenset(numbers)


def _read_keyset_list(answer: Any) -> list[dict[str, Any]]:
    entries = answer["keysets"]
    if not isinstance(entries, list) or len(entries) > KEYSET_COUNT_MAX:
        raise ValueError(f"not a list of at most {KEYSET_COUNT_MAX} keysets")
    for entry in entries:
        if not isinstance(entry["id"], str) or not entry["id"].isprintable():
            raise ValueError("a keyset without an id")
        if not isinstance(entry["unit"], str):
            raise ValueError("a keyset without a unit")
    return entries


def _read_keyset(entry: dict[str, Any], answer: Any) -> Keyset:
    found = [item for item in answer["keysets"] if item["id"] == entry["id"]]
    keys = {int(amount): str(key) for amount, key in found[0]["keys"].items()} if found else {}
    expiry = entry.get("final_expiry")
    keyset = Keyset(
        id=entry["id"],
        unit=str(entry["unit"]),
        is_active=entry["active"] is True,
        input_fee_ppk=int(entry.get("input_fee_ppk") or 0),
        final_expiry_s=None if expiry is None else int(expiry),
        keys=keys,
    )
    check_keyset(keyset)
    return keyset


def _read_quote(answer: Any) -> Quote:
    quote, bolt11, state = answer["quote"], answer["request"], answer["state"]
    if not isinstance(quote, str) or not 0 < len(quote) <= QUOTE_CHARS_MAX or not quote.isascii():
        raise ValueError("a quote without an id")
    if not quote.replace("-", "").replace("_", "").isalnum():
        raise ValueError("a quote id that is no part of an address")
    if not isinstance(bolt11, str) or len(bolt11) > INVOICE_CHARS_MAX:
        raise ValueError("a quote without an invoice")
    amount = answer.get("amount")
    return Quote(quote, bolt11, amount if isinstance(amount, int) else 0, str(state))


def _read_signatures(answer: Any, count: int) -> list[BlindSignature]:
    entries = answer["signatures"]
    if not isinstance(entries, list) or len(entries) != count:
        raise ValueError(f"not {count} signatures")
    return [_read_signature(entry) for entry in entries]


def _read_restored(answer: Any, outputs: Sequence[dict[str, Any]]) -> list[BlindSignature] | None:
    pairs = zip(answer["outputs"], answer["signatures"], strict=True)
    known = {item["B_"]: entry for item, entry in pairs}
    if not known:
        return None
    if any(output["B_"] not in known for output in outputs):
        raise ValueError("only some of the outputs were signed")
    return [_read_signature(known[output["B_"]]) for output in outputs]


def _read_signature(entry: Any) -> BlindSignature:
    amount, point = entry["amount"], entry["C_"]
    if not isinstance(amount, int) or not isinstance(point, str):
        raise ValueError("a signature without amount or point")
    points.read_point(point)
    dleq = entry.get("dleq") or {}
    e, s = str(dleq.get("e", "")), str(dleq.get("s", ""))
    return BlindSignature(amount, str(entry["id"]), point, e, s)


def _read_states(answer: Any, ys: Sequence[str]) -> list[ProofState]:
    known = {entry["Y"]: entry for entry in answer["states"]}
    states = []
    for y in ys:
        state, witness = known[y]["state"], known[y].get("witness")
        if state not in {"UNSPENT", "PENDING", "SPENT"}:
            raise ValueError(f"state {str(state)[:20]!r} is unknown")
        states.append(ProofState(y, state, witness if isinstance(witness, str) else None))
    return states


def to_dleq(signature: BlindSignature, factor: str) -> Dleq:
    """Return what a token must carry so that its receiver can check this signature."""
    return Dleq(signature.e, signature.s, factor)
