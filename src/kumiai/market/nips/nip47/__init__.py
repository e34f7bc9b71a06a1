"""NIP-47, Nostr Wallet Connect: a member asks its own wallet over a relay, encrypted.

Source: nostr-protocol/nips, 47.md, with the hold-invoice methods. Deviations: only NIP-44
encryption (`nip44_v2`) is spoken, and what asks for NIP-04 is refused by name; keysend is read and
written, offers (bolt12) and the former `multi_` methods are not; `metadata` is not read.

Guarantee: what is read came from the key that the reader expects, answers the request that it
names, and is within the caps. Amounts are msat, times are seconds. A wallet's answer is believed as
far as the wallet is: this codec checks no invoice and no preimage.
"""

from __future__ import annotations

from kumiai.market.nips.nip47.events import (
    ENCRYPTION,
    INFO_KIND,
    NOTIFICATION_KIND,
    REQUEST_KIND,
    RESPONSE_KIND,
    Info,
    Notification,
    RequestRefusedError,
    decode_info,
    decode_notification,
    decode_request,
    decode_response,
    encode_info,
    encode_notification,
    encode_request,
    encode_response,
)
from kumiai.market.nips.nip47.methods import (
    CancelHoldInvoice,
    Direction,
    Done,
    ErrorCode,
    Fault,
    GetBalance,
    GetInfo,
    ListTransactions,
    LookupInvoice,
    MakeHoldInvoice,
    MakeInvoice,
    NodeInfo,
    Paid,
    PayInvoice,
    PayKeysend,
    Request,
    Result,
    SettleHoldInvoice,
    State,
    Transaction,
    Transactions,
    WalletBalance,
)
from kumiai.market.nips.nip47.uri import Connection, encode_uri, parse_uri

__all__ = [
    "ENCRYPTION", "INFO_KIND", "NOTIFICATION_KIND", "REQUEST_KIND", "RESPONSE_KIND",
    "CancelHoldInvoice", "Connection", "Direction", "Done", "ErrorCode", "Fault", "GetBalance",
    "GetInfo", "Info", "ListTransactions", "LookupInvoice", "MakeHoldInvoice", "MakeInvoice",
    "NodeInfo", "Notification", "Paid", "PayInvoice", "PayKeysend", "Request",
    "RequestRefusedError", "Result", "SettleHoldInvoice", "State", "Transaction", "Transactions",
    "WalletBalance", "decode_info", "decode_notification", "decode_request", "decode_response",
    "encode_info", "encode_notification", "encode_request", "encode_response", "encode_uri",
    "parse_uri",
]  # fmt: skip
