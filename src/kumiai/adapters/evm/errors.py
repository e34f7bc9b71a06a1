"""What can go wrong between Kumiai and a chain: one tree, each error retriable or permanent.

::

    ChainError (exit code 6)                 something between this program and the chain
      +- RetriableChainError                 trying again can help; nothing was decided
      |    +- NodeUnreachableError           no connection, a time-out, HTTP 429 or 5xx
      |    +- MalformedAnswerError           no JSON-RPC in what came back
      |    +- RateLimitedError               the node asks for fewer requests
      |    +- InsufficientFundsError         resumes when the account was paid
      |    +- FeeCapError                    the chain's fee is above the cap
      +- PermanentChainError                 the same request fails again
           +- WrongChainIdError, LyingNodeError, AnswerTooBigError, TooManyResultsError,
           |  MethodMissingError
           +- RevertedError                  a contract refused; `error` is its decoded reason
           |    +- RefusedError              the same, as it was written down earlier
           +- NonceTooLowError, UnderpricedError, AlreadyKnownError,
           |  InvalidTransactionError: the outbox acts on them

Every message is a sentence that says what happened and one that says what to do.
"""

from __future__ import annotations

from typing import Any

from kumiai.base.errors import KumiaiError

REVERT_BYTES_MAX = 65_536
MESSAGE_CHARS_MAX = 500


class ChainError(KumiaiError):
    """Something between this program and the chain; `advice` says what to do about it."""

    exit_code = 6
    advice = ""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        self.detail, self.code = message[:MESSAGE_CHARS_MAX], code
        super().__init__(f"{self.detail}. {self.advice}" if self.advice else self.detail)


class RetriableChainError(ChainError):
    """Trying again can help."""

    is_retriable = True


class NodeUnreachableError(RetriableChainError):
    """No connection, a time-out, or a server that cannot answer now."""

    advice = "Check that the node runs and that its URL is right; the request is tried again."


class MalformedAnswerError(RetriableChainError):
    """What came back is not the JSON-RPC answer to what was asked."""

    advice = "The URL may belong to something else than an Ethereum node."


class RateLimitedError(RetriableChainError):
    """The node asks for fewer requests."""

    advice = "Wait, or use a node with a higher limit."


class InsufficientFundsError(RetriableChainError):
    """The sender cannot pay value and gas; its queue waits until it can."""

    advice = "Send the chain's coin to the sender's address; the queue then goes on by itself."


class FeeCapError(RetriableChainError):
    """The chain's base fee is above what the policy allows."""

    advice = "Wait for cheaper blocks, or raise the fee cap."


class PermanentChainError(ChainError):
    """The same request will fail again."""


class WrongChainIdError(PermanentChainError):
    """The node serves another chain than the one that was configured."""

    advice = "Nothing was signed. Use a node of the configured chain, or correct the chain id."

    def __init__(self, expected: int, given: int) -> None:
        self.expected, self.given = expected, given
        super().__init__(f"chain id {given} where {expected} was expected")


class LyingNodeError(PermanentChainError):
    """The node's answers contradict each other, or the question."""

    advice = "Do not act on this node's answers; use another one."


class AnswerTooBigError(PermanentChainError):
    """The answer is larger than this program reads."""

    advice = "Ask for less at once."


class TooManyResultsError(PermanentChainError):
    """The node refuses so wide a question."""

    advice = "Ask for fewer blocks at once."


class MethodMissingError(PermanentChainError):
    """The node does not know the method."""

    advice = "Use a node that serves the standard eth_ methods."


class NonceTooLowError(PermanentChainError):
    """The nonce was used already."""

    advice = "Another transaction of this sender was mined; the outbox finds out which."


class UnderpricedError(PermanentChainError):
    """The fee is too low for the pool, or to replace what has the same nonce."""

    advice = "Offer a higher fee."


class InvalidTransactionError(PermanentChainError):
    """No node will ever take these bytes: too little gas to begin with, or too much for a block."""

    advice = "Correct the gas limit or shorten the data, then submit it again."


class AlreadyKnownError(PermanentChainError):
    """The node has this very transaction already: nothing is wrong."""


class RevertedError(PermanentChainError):
    """A contract refused. `error`: its decoded custom error, or None; `data`: what it returned."""

    def __init__(
        self, message: str, data: bytes = b"", *, error: object = None, advice: str = ""
    ) -> None:
        self.data, self.error = data, error
        self.advice = advice or "Nothing was changed; correct the arguments or wait for the state."
        super().__init__(message)


class UnexplainedError(RevertedError):
    """It failed on chain, and the states around it do not tell why: another try may pass."""

    def __init__(self, why: str) -> None:
        super().__init__(f"failed on chain{why}", advice="Nothing was changed. Try it again.")


class RefusedError(RevertedError):
    """A refusal that was written down earlier, whole: the text has its advice already."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.advice, self.args = "", (self.detail,)


# Texts of geth, reth, erigon, nethermind, anvil, hardhat and the embedded chain, lower case; the
# first line that fits decides.
_BY_TEXT: tuple[tuple[tuple[str, ...], type[ChainError]], ...] = (
    (("already known", "already imported", "known transaction", "alreadyknown"), AlreadyKnownError),
    (("nonce too low", "nonce is too low", "oldnonce"), NonceTooLowError),
    (("insufficient funds", "insufficient balance for transfer"), InsufficientFundsError),
    (
        (
            "underpriced",
            "feetoolow",
            "fee too low",
            "less than block base fee",
            "lower than the current base fee",
        ),
        UnderpricedError,
    ),
    (
        (
            "intrinsic gas",
            "exceeds block gas limit",
            "oversized data",
            "initcode size",
            "gas required exceeds",
            "out of gas",
        ),
        InvalidTransactionError,
    ),
    (("rate limit", "too many requests", "request limit", "capacity"), RateLimitedError),
    (
        ("too many results", "query returned more", "block range", "range too", "response size"),
        TooManyResultsError,
    ),
    (("more than", "results", "logs matched", "limit exceeded"), TooManyResultsError),
    (("header not found", "unknown block", "timeout", "timed out"), RetriableChainError),
)


def error_from_rpc(code: object, message: object, data: object = None) -> ChainError:
    """Return the typed error for a JSON-RPC error object; nothing in it is trusted."""
    number = code if isinstance(code, int) else None
    text = message[:MESSAGE_CHARS_MAX] if isinstance(message, str) else "error without a message"
    low = text.lower()
    revert = _revert_bytes(data)
    if number == 3 or "revert" in low or (number == -32000 and revert):
        return RevertedError(text, revert)
    if number == -32601:
        return MethodMissingError(text, code=number)
    for words, kind in _BY_TEXT:
        if any(word in low for word in words):
            return kind(text, code=number)
    if number == -32005:
        return TooManyResultsError(text, code=number)
    if number in {-32603, -32002, -32097}:  # internal, resource unavailable
        return RetriableChainError(text, code=number)
    return PermanentChainError(text, code=number)


def _revert_bytes(data: Any) -> bytes:
    """Find the returned bytes in the shapes nodes give them: "0x..", or an object with `data`."""
    for _ in range(3):
        if not isinstance(data, dict):
            break
        data = data.get("data", data.get("result"))
    if not isinstance(data, str) or not data.startswith("0x"):
        return b""
    try:
        return bytes.fromhex(data[2 : 2 + 2 * REVERT_BYTES_MAX])
    except ValueError:
        return b""
