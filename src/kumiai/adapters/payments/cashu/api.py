"""A mint over HTTP (NUT-02 to NUT-07, NUT-09): requests out, answers checked for form and size.

Nothing is believed but the form: keysets are checked against their ids, signatures by the wallet. A
mint that does not answer, or answers with something else, is a retriable WalletError: the wallet
knows how to ask again without paying twice. A mint that says no is a `MintRefusedError`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from kumiai.adapters.payments.cashu.answers import (
    BlindSignature,
    MeltQuote,
    ProofState,
    Quote,
    read_keyset,
    read_keyset_list,
    read_melt_quote,
    read_nuts,
    read_quote,
    read_restored,
    read_signatures,
    read_states,
)
from kumiai.adapters.payments.cashu.keysets import Keyset
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

SPENT, PROOFS_PENDING, SIGNED, OUTPUTS_PENDING = 11001, 11002, 11003, 11004
KEYSET_INACTIVE, QUOTE_UNPAID, QUOTE_ISSUED = 12002, 20001, 20002
PAYMENT_FAILED, QUOTE_PENDING, INVOICE_PAID, QUOTE_EXPIRED = 20004, 20005, 20006, 20007
_RETRIABLE = frozenset({PROOFS_PENDING, OUTPUTS_PENDING, QUOTE_UNPAID, QUOTE_PENDING})
_WORDS = {
    SPENT: "SPENT",
    PAYMENT_FAILED: "PAYMENT_FAILED",
    INVOICE_PAID: "ALREADY_PAID",
    QUOTE_EXPIRED: "EXPIRED",
}

_T = TypeVar("_T")


class MintRefusedError(WalletError):
    """The mint said no to a request; `mint_code` is its number (NUT-00's error codes)."""

    def __init__(self, mint_code: int, detail: str) -> None:
        code = _WORDS.get(mint_code, "OTHER")
        if 10_000 <= mint_code <= 11_000:  # the proofs, or what was shown with them
            code = "UNAUTHORIZED"
        plain = "".join(c if c.isprintable() else " " for c in detail[:200])
        super().__init__(
            code,
            f"the mint refused: {plain} ({mint_code})",
            is_retriable=mint_code in _RETRIABLE,
        )
        self.mint_code = mint_code


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
        return self._read(read_nuts, info)

    async def fetch_keysets(self, unit: str) -> dict[str, Keyset]:
        """Return this unit's keysets by id, retired ones too, with their keys checked."""
        listed = self._read(read_keyset_list, await self._request("GET", "/v1/keysets"))
        keysets = {}
        for entry in listed:
            if entry["unit"] != unit or not str(entry["id"]).startswith(("00", "01")):
                continue  # ids of before 2023 are no hash that could be checked
            answer = await self._request("GET", f"/v1/keys/{entry['id']}")
            keyset = self._read(partial(read_keyset, entry), answer)
            keysets[keyset.id] = keyset
        return keysets

    async def request_quote(self, amount: int, unit: str) -> Quote:
        """Ask for an invoice over `amount` units."""
        body = {"amount": amount, "unit": unit}
        return self._read(read_quote, await self._request("POST", "/v1/mint/quote/bolt11", body))

    async def fetch_quote(self, quote: str) -> Quote:
        """Ask whether the invoice was paid."""
        return self._read(read_quote, await self._request("GET", f"/v1/mint/quote/bolt11/{quote}"))

    async def mint(self, quote: str, outputs: Sequence[dict[str, Any]]) -> list[BlindSignature]:
        """Fetch the ecash of a paid quote."""
        answer = await self._request(
            "POST", "/v1/mint/bolt11", {"quote": quote, "outputs": list(outputs)}
        )
        return self._read(lambda answer: read_signatures(answer, len(outputs)), answer)

    async def request_melt_quote(self, bolt11: str, unit: str) -> MeltQuote:
        """Ask what paying this invoice would cost (NUT-05); nothing moves yet."""
        body = {"request": bolt11, "unit": unit}
        answer = await self._request("POST", "/v1/melt/quote/bolt11", body)
        return self._read(read_melt_quote, answer)

    async def fetch_melt_quote(self, quote: str) -> MeltQuote:
        """Ask what became of a payment."""
        answer = await self._request("GET", f"/v1/melt/quote/bolt11/{quote}")
        return self._read(read_melt_quote, answer)

    async def melt(
        self, quote: str, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]
    ) -> MeltQuote:
        """Spend the inputs for the payment; what is too much comes back on the blank `outputs`."""
        body = {"quote": quote, "inputs": list(inputs), "outputs": list(outputs)}
        answer = await self._request("POST", "/v1/melt/bolt11", body)
        return self._read(read_melt_quote, answer)

    async def swap(
        self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]
    ) -> list[BlindSignature]:
        """Spend the inputs for signatures on the outputs, all or nothing (NUT-03)."""
        answer = await self._request(
            "POST", "/v1/swap", {"inputs": list(inputs), "outputs": list(outputs)}
        )
        return self._read(lambda answer: read_signatures(answer, len(outputs)), answer)

    async def restore(self, outputs: Sequence[dict[str, Any]]) -> list[BlindSignature] | None:
        """Return what the mint once answered to these outputs (NUT-09), None if it never did."""
        known = await self.restore_some(outputs)
        if not known:
            return None
        if any(output["B_"] not in known for output in outputs):
            raise self._unwell("only some of the outputs were signed")
        return [known[output["B_"]] for output in outputs]

    async def restore_some(self, outputs: Sequence[dict[str, Any]]) -> dict[str, BlindSignature]:
        """Return what the mint once answered, by the blinded point; of change it may be a part."""
        answer = await self._request("POST", "/v1/restore", {"outputs": list(outputs)})
        return self._read(lambda answer: read_restored(answer, outputs), answer)

    async def fetch_states(self, ys: Sequence[str]) -> list[ProofState]:
        """Ask what became of proofs, in the order asked."""
        answer = await self._request("POST", "/v1/checkstate", {"Ys": list(ys)})
        return self._read(lambda answer: read_states(answer, ys), answer)

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
