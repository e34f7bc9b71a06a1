"""The world's faults on the market: relays, blob servers, wallets. All exit with code 7."""

from __future__ import annotations

from kumiai.base.errors import KumiaiError


class MarketError(KumiaiError):
    """A service of the market failed; `is_retriable`: the same call may help later."""

    exit_code = 7

    def __init__(self, message: str, *, is_retriable: bool = False) -> None:
        super().__init__(message)
        self.is_retriable = is_retriable


class RelayError(MarketError):
    """No relay took an event or answered."""


class BlobError(MarketError):
    """A blob could not be put or fetched, or is not what its name says.

    code: market.kinds.Code's word for it: not-there, too-big or wrong-hash.
    """

    def __init__(
        self, message: str, *, is_retriable: bool = False, code: str | None = None
    ) -> None:
        super().__init__(message, is_retriable=is_retriable)
        self.code = code or ("not-there" if is_retriable else "wrong-hash")


class WalletError(MarketError):
    """A wallet or mint refused or did not answer.

    code: NIP-47's word (INSUFFICIENT_BALANCE, QUOTA_EXCEEDED, NOT_IMPLEMENTED, PAYMENT_FAILED,
    NOT_FOUND, RATE_LIMITED, UNAUTHORIZED, INTERNAL, OTHER) or one of ours: AMOUNT_DIFFERS,
    PAYEE_DIFFERS, FEE_TOO_HIGH, EXPIRED, TOO_LATE, ALREADY_PAID, LOCK_DIFFERS, SPENT.
    """

    def __init__(self, code: str, message: str, *, is_retriable: bool = False) -> None:
        super().__init__(f"{code}: {message}", is_retriable=is_retriable)
        self.code = code
