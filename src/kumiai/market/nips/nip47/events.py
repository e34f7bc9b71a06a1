"""Requests, responses, notifications and a wallet's info as events, encrypted with NIP-44."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from kumiai.base.events import Event, Tags
from kumiai.base.keys import SigningKey
from kumiai.market.nips import nip44
from kumiai.market.nips.drafts import Draft, check_count, get_needed, read_hash
from kumiai.market.nips.nip01 import get_value
from kumiai.market.nips.nip40 import get_expiration, make_expiration
from kumiai.market.nips.nip47.fields import WORD_COUNT_MAX, read_value, write_value
from kumiai.market.nips.nip47.methods import (
    METHOD_NAMES,
    METHODS,
    ErrorCode,
    Fault,
    Request,
    Result,
    Transaction,
)

INFO_KIND: Final = 13_194
REQUEST_KIND: Final = 23_194
RESPONSE_KIND: Final = 23_195
OLD_NOTIFICATION_KIND: Final = 23_196  # encrypted with NIP-04
NOTIFICATION_KIND: Final = 23_197
ENCRYPTION: Final = "nip44_v2"
NOTIFICATIONS: Final = ("payment_received", "payment_sent", "hold_invoice_accepted")
MESSAGE_CHARS_MAX: Final = 1_024

_NO_NIP04: Final = f"NIP-04 encryption is broken and not spoken here, only {ENCRYPTION}"
_OLD: Final = "nip04"


class RequestRefusedError(ValueError):
    """A request that a wallet answers with `code` instead of doing it."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Info:
    """What a wallet service can do; encryptions: absent means NIP-04 alone."""

    methods: tuple[str, ...]
    notifications: tuple[str, ...] = ()
    encryptions: tuple[str, ...] = (ENCRYPTION,)

    def find_flaw(self) -> str | None:
        """Return why this wallet cannot be talked to; None if it can."""
        return None if ENCRYPTION in self.encryptions else f"the wallet: {_NO_NIP04}"


@dataclass(frozen=True, slots=True)
class Notification:
    """Something that happened at the wallet: one of `NOTIFICATIONS`."""

    type: str
    transaction: Transaction


def encode_info(info: Info) -> Draft:
    """Return a wallet service's info, a replaceable event."""
    tags = [("encryption", " ".join(info.encryptions))]
    if info.notifications:
        tags.append(("notifications", " ".join(info.notifications)))
    return Draft(INFO_KIND, tuple(tags), " ".join(info.methods))


def decode_info(event: Event) -> Info:
    """Read a wallet's info; see `Info.find_flaw` for whether it can be used."""
    if event.kind != INFO_KIND:
        raise ValueError(f"kind {event.kind} is not a wallet's info ({INFO_KIND})")
    encryptions = get_value(event.tags, "encryption")
    info = Info(
        methods=tuple(event.content.split()),
        notifications=tuple((get_value(event.tags, "notifications") or "").split()),
        encryptions=tuple((encryptions or _OLD).split()),
    )
    for words in (info.methods, info.notifications, info.encryptions):
        check_count(words, "info", WORD_COUNT_MAX)
    return info


def encode_request(
    key: SigningKey, wallet: str, request: Request, nonce: bytes, expires_at_s: int | None = None
) -> Draft:
    """Return a request to `wallet`, to be signed with the connection's `key`."""
    document = {"method": METHOD_NAMES[type(request)], "params": write_value(request)}
    tags: Tags = (("p", wallet), ("encryption", ENCRYPTION))
    if expires_at_s is not None:
        tags = (*tags, make_expiration(expires_at_s))
    return Draft(REQUEST_KIND, tags, _encrypt(key, wallet, document, nonce))


def decode_request(key: SigningKey, event: Event, now_s: int) -> Request:
    """Read a request to the wallet of `key`.

    RequestRefusedError: answer with its code. Other ValueError: not for us or expired, no answer.
    """
    _check_kind(event, REQUEST_KIND, key)
    expires_at_s = get_expiration(event.tags)
    if expires_at_s is not None and now_s >= expires_at_s:
        raise ValueError(f"the request expired at {expires_at_s}")
    if (get_value(event.tags, "encryption") or _OLD) != ENCRYPTION:
        raise RequestRefusedError(ErrorCode.UNSUPPORTED_ENCRYPTION, _NO_NIP04)
    try:
        document = _decrypt(key, event.pubkey, event.content)
    except ValueError as error:
        raise RequestRefusedError(ErrorCode.OTHER, str(error)) from error
    method = document.get("method")
    if not isinstance(method, str) or method not in METHODS:
        raise RequestRefusedError(ErrorCode.NOT_IMPLEMENTED, f"no method {str(method)[:40]!r}")
    try:
        request: Request = read_value(METHODS[method][0], document.get("params") or {})
    except ValueError as error:
        raise RequestRefusedError(ErrorCode.OTHER, str(error)) from error
    return request


def encode_response(
    key: SigningKey, request: Event, method: str, outcome: Result | Fault, nonce: bytes
) -> Draft:
    """Return the wallet's answer to a request event; `method` as it was asked."""
    document: dict[str, Any] = {"result_type": method, "error": None, "result": None}
    if isinstance(outcome, Fault):
        message = outcome.message[:MESSAGE_CHARS_MAX]
        document["error"] = {"code": outcome.code.value, "message": message}
    else:
        document["result"] = write_value(outcome)
    tags = (("p", request.pubkey), ("e", request.id))
    return Draft(RESPONSE_KIND, tags, _encrypt(key, request.pubkey, document, nonce))


def decode_response(key: SigningKey, wallet: str, request: Event, event: Event) -> Result | Fault:
    """Read the answer of `wallet` to our `request` event; ValueError if it is none.

    The method is read from the request itself, which only we and the wallet can open.
    """
    _check_kind(event, RESPONSE_KIND, key)
    if event.pubkey != wallet:
        raise ValueError(f"signed by {event.pubkey}, the wallet is {wallet}")
    if read_hash(get_needed(event.tags, "e"), "e") != request.id:
        raise ValueError("it answers another request")
    method = _decrypt(key, wallet, request.content).get("method")
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"the request's method {str(method)[:40]!r} is none of ours")
    document = _decrypt(key, wallet, event.content)
    if document.get("result_type") != method:
        raise ValueError(f"it answers {str(document.get('result_type'))[:40]!r}, not {method!r}")
    fault = document.get("error")
    if fault is not None:
        return _read_fault(fault)
    outcome: Result = read_value(METHODS[method][1], document.get("result") or {})
    return outcome


def encode_notification(
    key: SigningKey, client: str, notification: Notification, nonce: bytes
) -> Draft:
    """Return what a wallet tells its client unasked."""
    body = write_value(notification.transaction)
    document = {"notification_type": notification.type, "notification": body}
    return Draft(NOTIFICATION_KIND, (("p", client),), _encrypt(key, client, document, nonce))


def decode_notification(key: SigningKey, wallet: str, event: Event) -> Notification:
    """Read what our `wallet` tells; ValueError for another author, or a type that is unknown."""
    if event.kind == OLD_NOTIFICATION_KIND:
        raise ValueError(f"kind {OLD_NOTIFICATION_KIND}: {_NO_NIP04}")
    _check_kind(event, NOTIFICATION_KIND, key)
    if event.pubkey != wallet:
        raise ValueError(f"signed by {event.pubkey}, the wallet is {wallet}")
    document = _decrypt(key, wallet, event.content)
    kind = document.get("notification_type")
    if kind not in NOTIFICATIONS:
        raise ValueError(f"unknown notification {str(kind)[:40]!r}")
    return Notification(kind, read_value(Transaction, document.get("notification")))


def _check_kind(event: Event, kind: int, key: SigningKey) -> None:
    if event.kind != kind:
        raise ValueError(f"kind {event.kind}, not {kind}")
    if get_needed(event.tags, "p") != key.pubkey:
        raise ValueError("it is for somebody else")


def _read_fault(fault: Any) -> Fault:
    if not isinstance(fault, dict):
        raise ValueError("error is not a JSON object")
    code, message = fault.get("code"), fault.get("message")
    text = message[:MESSAGE_CHARS_MAX] if isinstance(message, str) else ""
    text = text.encode(errors="replace").decode()  # JSON can spell half a surrogate pair
    if isinstance(code, str) and code in {each.value for each in ErrorCode}:
        return Fault(ErrorCode(code), text)
    return Fault(ErrorCode.OTHER, f"{str(code)[:40]}: {text}"[:MESSAGE_CHARS_MAX])


def _encrypt(key: SigningKey, peer: str, document: dict[str, Any], nonce: bytes) -> str:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return nip44.encrypt(key, peer, text, nonce)


def _decrypt(key: SigningKey, peer: str, payload: str) -> dict[str, Any]:
    if "?iv=" in payload:  # NIP-04's form: base64, then the initialisation vector
        raise ValueError(_NO_NIP04)
    text = nip44.decrypt(key, peer, payload)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document
